//! A socket for requests to rtnetlink(7), which blocks for as long as the kernel needs.
//!
//! The kernel answers within the send, so a socket of its own for each thread costs less than sharing one, and a batch
//! in one send gives one answer a message. Replies are read attribute by attribute: a newer kernel's attributes must not
//! make a whole message unreadable.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::{NETLINK_GENERIC, NETLINK_NETFILTER, NETLINK_ROUTE};
use rtnetlink::sys::{Socket, SocketAddr};

use crate::host::message::{HEADER, NLMSG_DONE, NLMSG_ERROR, messages};

/// `NLM_F_DUMP_INTR` of linux/netlink.h.
const NLM_F_DUMP_INTR: u16 = 0x10;

/// Messages in one send: the kernel queues an answer to each before we read the first.
const BATCH: usize = 64;
/// Of the socket's queue, in bytes: room for a batch of answers, each of which counts as a whole page or more.
const QUEUE: usize = 2 << 20;
/// The largest datagram of a dump is 32 KiB.
const BUFFER: usize = 64 << 10;
/// Buffers of closed sockets, for the next ones: to give one back to the kernel stops every thread for a moment.
static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
const IDLE_BUFFERS: usize = 8;
/// How often a dump that was overtaken by a change is begun again.
const DUMPS: usize = 5;

/// Why the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct KernelError {
    /// Positive errno.
    pub errno: i32,
    /// The kernel's own words where it has some, or the errno's.
    pub text: String,
}

impl KernelError {
    /// An errno with a text that says more than its name.
    pub fn new(errno: i32, text: impl Into<String>) -> Self {
        Self { errno, text: text.into() }
    }
}

impl From<io::Error> for KernelError {
    fn from(error: io::Error) -> Self {
        let text = error.to_string();
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        let text = text.strip_suffix(&format!(" (os error {errno})")).unwrap_or(&text).to_owned();
        Self { errno, text }
    }
}

impl From<rustix::io::Errno> for KernelError {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl From<KernelError> for io::Error {
    fn from(error: KernelError) -> Self {
        let plain = Self::from_raw_os_error(error.errno);
        match KernelError::from(Self::from_raw_os_error(error.errno)).text == error.text {
            true => plain,
            false => Self::new(plain.kind(), error.text),
        }
    }
}

/// One message to the kernel.
#[derive(Debug, Clone)]
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A message that is answered with an acknowledgement; `flags` such as `NLM_F_CREATE` come on top.
    pub fn new(message: RouteNetlinkMessage, flags: u16) -> Self {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        Self { bytes }
    }

    /// A message whose body was kept from a reply.
    pub fn raw(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        let length = u32::try_from(HEADER + body.len()).expect("bodies come from messages, which are short");
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        Self { bytes }
    }

    /// The message as it is sent, but for its number.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn append_to(&self, buffer: &mut Vec<u8>, sequence: u32) {
        let start = buffer.len();
        buffer.extend(&self.bytes);
        buffer[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
        buffer.resize(buffer.len().next_multiple_of(4), 0);
    }
}

/// One message from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its type, such as `RTM_NEWLINK`.
    pub kind: u16,
    /// What comes after the netlink header.
    pub body: Vec<u8>,
}

/// What the kernel answered to one request.
pub type Answer = Result<Vec<Reply>, KernelError>;

/// A socket for requests in the network namespace in which it was opened.
pub struct Requests {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
    /// An answer may still be under way, so the next one to use the socket could take it for theirs.
    is_spent: bool,
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl AsFd for Requests {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let mut idle = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_BUFFERS {
            idle.push(std::mem::take(&mut self.buffer));
        }
    }
}

impl Requests {
    /// Opens one in the calling thread's network namespace.
    ///
    /// # Errors
    /// What socket(2) says.
    pub fn open() -> io::Result<Self> {
        Self::open_to(NETLINK_ROUTE)
    }

    /// As [`Requests::open`], for generic netlink: messages of another kind, answered in the same way.
    ///
    /// # Errors
    /// What socket(2) says.
    pub(super) fn open_generic() -> io::Result<Self> {
        Self::open_to(NETLINK_GENERIC)
    }

    /// As [`Requests::open`], for netfilter.
    ///
    /// # Errors
    /// What socket(2) says.
    pub(super) fn open_netfilter() -> io::Result<Self> {
        Self::open_to(NETLINK_NETFILTER)
    }

    fn open_to(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        socket.set_netlink_get_strict_chk(true)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE)?;
        let idle = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let buffer = idle.unwrap_or_else(|| vec![0; BUFFER]);
        Ok(Self { socket, sequence: 0, buffer, is_spent: false })
    }

    /// Whether the socket can be used again.
    pub fn is_reusable(&self) -> bool {
        !self.is_spent
    }

    /// Sends one request.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn request(&mut self, request: &Request) -> Answer {
        let mut answers = self.batch(std::slice::from_ref(request))?;
        answers.pop().unwrap_or_else(|| Err(KernelError::new(libc::EIO, "the kernel gave no answer")))
    }

    /// Sends requests together; the kernel takes them in order, and a refused one does not stop those after it.
    ///
    /// # Errors
    /// When the socket fails: what was done is unknown.
    pub fn batch(&mut self, requests: &[Request]) -> Result<Vec<Answer>, KernelError> {
        let mut answers = Vec::with_capacity(requests.len());
        for chunk in requests.chunks(BATCH) {
            self.is_spent = true;
            answers.extend(self.exchange(chunk)?);
            self.is_spent = false;
        }
        Ok(answers)
    }

    fn exchange(&mut self, requests: &[Request]) -> Result<Vec<Answer>, KernelError> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(requests.iter().map(|request| request.bytes.len() + 4).sum());
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            request.append_to(&mut bytes, self.sequence);
        }
        self.send(&bytes)?;

        let mut replies: HashMap<usize, Vec<Reply>> = HashMap::new();
        let mut answers: Vec<Option<Answer>> = vec![None; requests.len()];
        let mut missing = requests.len();
        while missing > 0 {
            let received = self.receive()?;
            for message in messages(&self.buffer[..received]) {
                let message = message?;
                let place = message.sequence.wrapping_sub(first) as usize;
                let Some(answer) = answers.get_mut(place) else { continue };
                if message.kind != NLMSG_ERROR {
                    let reply = Reply { kind: message.kind, body: message.body.to_vec() };
                    replies.entry(place).or_default().push(reply);
                } else if answer.is_none() {
                    missing -= 1;
                    *answer = Some(
                        message.refusal().map_or_else(|| Ok(replies.remove(&place).unwrap_or_default()), Err),
                    );
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Asks for all objects that fit a request, each as one reply.
    ///
    /// # Errors
    /// The kernel's refusal; EINTR when changes overtook it each of 5 times: half a list is worse than none.
    pub fn dump(&mut self, message: RouteNetlinkMessage) -> Result<Vec<Reply>, KernelError> {
        self.dump_raw(&Request::new(message, NLM_F_DUMP))
    }

    /// As [`Requests::dump`], for a request that has NLM_F_DUMP already.
    ///
    /// # Errors
    /// As there.
    pub fn dump_raw(&mut self, request: &Request) -> Result<Vec<Reply>, KernelError> {
        for _ in 0..DUMPS {
            self.is_spent = true;
            let whole = self.dump_once(request)?;
            self.is_spent = false;
            if let Some(replies) = whole {
                return Ok(replies);
            }
        }
        Err(KernelError::new(
            libc::EINTR,
            "the kernel's tables changed during each of 5 attempts to list them",
        ))
    }

    fn dump_once(&mut self, request: &Request) -> Result<Option<Vec<Reply>>, KernelError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(request.bytes.len());
        request.append_to(&mut bytes, self.sequence);
        self.send(&bytes)?;

        let mut replies = Vec::new();
        let mut is_whole = true;
        loop {
            let received = self.receive()?;
            for message in messages(&self.buffer[..received]) {
                let message = message?;
                if message.sequence != self.sequence {
                    continue;
                }
                is_whole &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match message.refusal() {
                            Some(error) => Err(error),
                            None => Ok(is_whole.then_some(replies)),
                        };
                    }
                    kind => replies.push(Reply { kind, body: message.body.to_vec() }),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), KernelError> {
        let sent = self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0)?;
        match sent == bytes.len() {
            true => Ok(()),
            false => Err(KernelError::new(libc::EMSGSIZE, "a request was cut short")),
        }
    }

    /// Receives one datagram of the kernel. Root in a guest can send to a socket there, too: theirs are dropped.
    fn receive(&mut self) -> Result<usize, KernelError> {
        loop {
            match self.socket.recv_from(&mut &mut self.buffer[..], libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
                Ok((_, from)) if from.port_number() != 0 => {}
                Ok((length, _)) if length > self.buffer.len() => {
                    return Err(KernelError::new(libc::EMSGSIZE, format!("a reply has {length} bytes")));
                }
                Ok((length, _)) => return Ok(length),
            }
        }
    }
}
