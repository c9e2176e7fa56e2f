//! Has the kernel ask gateways for their link-layer addresses, as `ping` would: with a datagram for them. Unlike `ip neigh replace
//! … use`, that takes no privilege.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use pipewright_api::net::LinkName;

/// The port of which RFC 863 says that it throws away what it gets.
const DISCARD: u16 = 9;

/// Asks all of them. What comes of it shows in the neighbour's state, and its coming as an event; a datagram that cannot be
/// sent yet, for want of a route or of a source address, is tried again with the event that changes that.
pub(crate) fn ask(gateways: &[IpAddr], ifname: &LinkName, index: u32) {
    for gateway in gateways {
        // Only that the state is as it is would be known by the error, and that is what is looked at.
        let _ = send(*gateway, ifname, index);
    }
}

fn send(gateway: IpAddr, ifname: &LinkName, index: u32) -> io::Result<()> {
    let (own, to): (IpAddr, SocketAddr) = match gateway {
        IpAddr::V4(v4) => (Ipv4Addr::UNSPECIFIED.into(), (v4, DISCARD).into()),
        IpAddr::V6(v6) => (Ipv6Addr::UNSPECIFIED.into(), SocketAddrV6::new(v6, DISCARD, 0, index).into()),
    };
    let socket = UdpSocket::bind((own, 0))?;
    socket.set_nonblocking(true)?;
    // Another link may lead there as well. Kernels before 5.7 take a privilege for it; there the routes decide.
    let _ = socket2::SockRef::from(&socket).bind_device(Some(ifname.as_str().as_bytes()));
    socket.send_to(&[], to).map(|_| ())
}
