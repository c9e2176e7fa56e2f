//! rtnetlink(7): a socket for requests, one for events, and messages read attribute by attribute, without trust in their
//! lengths; a newer kernel's attributes must not make a message unreadable.

use std::io;
use std::time::Instant;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use pipewright_api::condition::Condition;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Size of `struct nlmsghdr`, in bytes.
const HEADER: usize = 16;
/// Room for the largest datagram of a dump, which has 32 KiB.
const BUFFER: usize = 64 << 10;
const ERROR: u16 = libc::NLMSG_ERROR as u16;
const DONE: u16 = libc::NLMSG_DONE as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;

/// Asks the kernel.
#[derive(Debug)]
pub(crate) struct Requests {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Requests {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// The one object that is meant, or `None` when there is no such object.
    pub(crate) fn get(&mut self, kind: u16, body: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match self.ask(kind, libc::NLM_F_ACK as u16, body) {
            Ok((mut bodies, _)) => Ok(bodies.pop()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a type.
    pub(crate) fn dump(&mut self, kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        loop {
            // A list that was overtaken by a change is begun again: half a list is worse than none.
            if let (bodies, true) = self.ask(kind, DUMP, body)? {
                return Ok(bodies);
            }
        }
    }

    /// Bodies of the answers, and whether no change overtook them.
    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<(Vec<Vec<u8>>, bool)> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(kind, flags, self.sequence, body);
        self.socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;

        let (mut bodies, mut is_whole) = (Vec::new(), true);
        loop {
            let length = match self.socket.recv_from(&mut &mut self.buffer[..], 0) {
                // Anybody in the guest can send to the socket; only the kernel answers.
                Ok((_, from)) if from.port_number() != 0 => continue,
                Ok((length, _)) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for message in messages(&self.buffer[..length]) {
                if message.sequence != self.sequence {
                    continue;
                }
                is_whole &= u32::from(message.flags) & libc::NLM_F_DUMP_INTR as u32 == 0;
                match message.kind {
                    ERROR | DONE => match message.errno() {
                        0 => return Ok((bodies, is_whole)),
                        errno => return Err(io::Error::from_raw_os_error(errno)),
                    },
                    _ => bodies.push(message.body.to_vec()),
                }
            }
        }
    }
}

fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((libc::NLM_F_REQUEST as u16 | flags).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

/// Hears that something changed. What it was is looked up.
#[derive(Debug)]
pub(crate) struct Events {
    socket: Socket,
}

impl Events {
    /// Listens to what can change whether a condition holds.
    pub(crate) fn about(condition: Condition) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        let addresses = [libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR];
        let routes = [libc::RTNLGRP_IPV4_ROUTE, libc::RTNLGRP_IPV6_ROUTE, libc::RTNLGRP_NEIGH];
        let mut groups = vec![libc::RTNLGRP_LINK];
        groups.extend(addresses.iter().filter(|_| condition >= Condition::Address));
        groups.extend(routes.iter().filter(|_| condition >= Condition::Gateway));
        for group in groups {
            socket.add_membership(group)?;
        }
        Ok(Self { socket })
    }

    /// Throws away what was heard so far.
    pub(crate) fn forget(&self) -> io::Result<()> {
        let mut start = [0; HEADER];
        loop {
            match self.socket.recv_from(&mut &mut start[..], 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Lost events are events.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the next one; false when the deadline came first.
    pub(crate) fn next(&self, deadline: Option<Instant>) -> io::Result<bool> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map(|left| Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            });
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], left.as_ref()) {
                Ok(count) => return Ok(count > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// One message in a datagram.
#[derive(Debug, Clone, Copy)]
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Message<'_> {
    /// What an error or the end of a list says; 0 is success.
    fn errno(&self) -> i32 {
        self.body.first_chunk().map_or(0, |bytes| -i32::from_ne_bytes(*bytes))
    }
}

fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        let message = Message {
            kind: u16_at(datagram, 4)?,
            flags: u16_at(datagram, 6)?,
            sequence: u32_at(datagram, 8)?,
            body: datagram.get(HEADER..length)?,
        };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The first attribute of a type.
pub(crate) fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    self::attributes(attributes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// Attributes as type and value; whatever is cut short ends them.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & libc::NLA_TYPE_MASK as u16;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// An attribute for a request.
pub(crate) fn with_attribute(mut body: Vec<u8>, kind: u16, value: &[u8]) -> Vec<u8> {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
    body
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_is_no_message_and_no_panic() {
        let whole =
            request(libc::RTM_GETLINK, 0, 7, &with_attribute(vec![0; 16], libc::IFLA_IFNAME, b"eth1\0"));

        assert_eq!(messages(&whole).map(|message| message.sequence).collect::<Vec<_>>(), [7]);
        for length in 0..whole.len() {
            assert_eq!(messages(&whole[..length]).count(), 0, "{length} bytes");
        }
        assert_eq!(messages(&[0; 64]).count(), 0);
    }

    #[test]
    fn attributes_with_impossible_lengths_end_the_list() {
        for bytes in [&[0, 0, 1, 0][..], &[3, 0, 1, 0], &[255, 255, 1, 0, 9], &[8, 0]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
        let two = with_attribute(with_attribute(Vec::new(), 3, b"eth1\0"), 9, &[42]);
        assert_eq!(
            (attribute(&two, 3), attribute(&two, 9), attribute(&two, 4)),
            (Some(&b"eth1\0"[..]), Some(&[42][..]), None)
        );
    }
}
