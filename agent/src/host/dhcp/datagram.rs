//! A UDP socket of a guest's link that speaks DHCPv6, from the link-local address. It keeps the guest's network namespace
//! alive, so it lives as long as one exchange.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use pipewright_api::net::LinkName;
use rtnetlink::packet_route::AddressFamily;
use tokio::net::UdpSocket;

use super::speak::Line;
use crate::dhcp::v6;
use crate::dhcp::v6::message::{ALL_SERVERS, CLIENT_PORT, Message, SERVER_PORT};
use crate::host::guest_events::{GuestEvents, IPV6_ADDRESSES};
use crate::host::kernel::Kernel;
use crate::host::netlink::{KernelError, Requests};
use crate::host::netns::Netns;
use crate::host::{address, link};

/// How long the kernel may take to check the link-local address: up to a second before it asks, and a second after.
const LINK_LOCAL: Duration = Duration::from_secs(5);
/// More than a message that fits into an Ethernet frame.
const BUFFER: usize = 2048;

/// An open socket.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: UdpSocket,
    index: u32,
}

impl Datagrams {
    /// Opens one on a link of a guest, once that has a link-local address.
    ///
    /// # Errors
    /// ENODEV when there is no such link; EADDRNOTAVAIL when it has no link-local address; EADDRINUSE when the guest has a
    /// client of its own; EPERM for the host itself.
    pub(super) async fn open(kernel: &Kernel, guest: &Netns, ifname: &LinkName) -> io::Result<Self> {
        let ifname = ifname.clone();
        let visit = move || {
            let mut requests = Requests::open()?;
            let index = link::index(&requests, &ifname)?;
            let from = link_local(&mut requests, index)?;
            let socket = std::net::UdpSocket::bind(SocketAddrV6::new(from, CLIENT_PORT, 0, index))?;
            socket.set_nonblocking(true)?;
            Ok((socket, index))
        };
        let (socket, index) = kernel.in_guest(guest, visit).await?;
        Ok(Self { socket: UdpSocket::from_std(socket)?, index })
    }
}

impl Line for Datagrams {
    type Client = v6::client::Client;

    async fn send(&self, message: &Message, (): ()) -> io::Result<()> {
        let to = SocketAddrV6::new(ALL_SERVERS, SERVER_PORT, 0, self.index);
        self.socket.send_to(&message.encode(), to).await.map(drop)
    }

    async fn receive(&self) -> io::Result<(Message, Ipv6Addr)> {
        let mut buffer = [0; BUFFER];
        loop {
            let (length, from) = self.socket.recv_from(&mut buffer).await?;
            if let (Some(message), SocketAddr::V6(from)) = (Message::decode(&buffer[..length]), from) {
                return Ok((message, *from.ip()));
            }
        }
    }
}

/// The link-local address, once the kernel has checked it.
fn link_local(requests: &mut Requests, index: u32) -> Result<Ipv6Addr, KernelError> {
    let until = Instant::now() + LINK_LOCAL;
    let events = GuestEvents::open(IPV6_ADDRESSES)?;
    loop {
        let there = address::list(requests, AddressFamily::Inet6, index)?;
        let usable = there.iter().filter(|address| !address.tentative && !address.duplicate);
        let found = usable.filter_map(|address| match address.net.addr() {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(v6),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        });
        if let Some(found) = found.reduce(|_, later| later) {
            return Ok(found);
        }
        if !events.wait(until)? {
            return Err(KernelError::new(libc::EADDRNOTAVAIL, "the link has no IPv6 link-local address"));
        }
    }
}
