//! A packet socket of a guest's link that speaks DHCP. It keeps the guest's network namespace alive, so it lives as long
//! as one exchange.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use pipewright_api::net::LinkName;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::speak::Line;
use crate::dhcp::client::{Client, To};
use crate::dhcp::message::Message;
use crate::dhcp::packet;
use crate::host::kernel::Kernel;
use crate::host::netns::Netns;
use crate::host::sys;

const ETHERTYPE_IPV4: u16 = 0x0800;
const EVERYBODY: [u8; 6] = [0xff; 6];
/// More than a message that fits into an Ethernet frame.
const BUFFER: usize = 2048;

/// An open socket.
#[derive(Debug)]
pub(super) struct Socket {
    fd: AsyncFd<OwnedFd>,
    index: u32,
}

impl Socket {
    /// Opens one on a link of a guest.
    ///
    /// # Errors
    /// ENODEV when there is no such link; EPERM without CAP_NET_RAW, and for the host itself.
    pub(super) async fn open(kernel: &Kernel, guest: &Netns, ifname: &LinkName) -> io::Result<Self> {
        let ifname = ifname.clone();
        let visit = move || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // Without a protocol it receives nothing until it is bound, so nothing passes the filter by.
            let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
            let index = rustix::net::netdevice::name_to_index(&socket, ifname.as_str())?;
            sys::attach_filter(&socket, &answers_only())?;
            sys::bind_packet(&socket, index, ETHERTYPE_IPV4)?;
            Ok((socket, index))
        };
        let (socket, index) = kernel.in_guest(guest, visit).await?;
        Ok(Self { fd: sys::await_input(socket)?, index })
    }

    /// Closing a packet socket waits for an RCU grace period, 8 to 16 ms: it is done where nobody waits for it.
    pub(super) fn close(self) {
        let fd = self.fd.into_inner();
        drop(tokio::task::spawn_blocking(move || drop(fd)));
    }
}

impl Line for Socket {
    type Client = Client;

    /// From the client's address, if it has one.
    async fn send(&self, message: &Message, to: To) -> io::Result<()> {
        let (address, mac) = match to {
            To::All => (Ipv4Addr::BROADCAST, EVERYBODY),
            To::One { server, mac } => (server, mac),
        };
        let packet = packet::wrap(message.ciaddr, address, &message.encode());
        sys::send_frame(self.fd.get_ref(), self.index, ETHERTYPE_IPV4, mac, &packet)
    }

    async fn receive(&self) -> io::Result<(Message, [u8; 6])> {
        let mut buffer = [0; BUFFER];
        loop {
            let received =
                self.fd.async_io(Interest::READABLE, |fd| sys::receive_frame(fd, &mut buffer)).await;
            let (length, from) = received?;
            if let Some(message) = packet::unwrap(&buffer[..length]).and_then(Message::decode) {
                return Ok((message, from));
            }
        }
    }
}

/// `ip and udp dst port 68`, of whole datagrams, as tcpdump(1) would compile it for a socket without link header.
fn answers_only() -> [libc::sock_filter; 9] {
    let code = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let (byte, half) =
        (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, libc::BPF_LD | libc::BPF_H | libc::BPF_ABS);
    let (equal, any) =
        (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K);
    [
        code(byte, 0, 0, 9),
        code(equal, 0, 6, 17),
        code(half, 0, 0, 6),
        code(any, 4, 0, 0x3fff),
        code(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0),
        code(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, 2),
        code(equal, 0, 1, packet::CLIENT_PORT.into()),
        code(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        code(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ]
}
