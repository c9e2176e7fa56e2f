//! Has the kernel ask gateways for their link-layer addresses, as `ping` would: with a datagram for them. Unlike `ip neigh replace
//! … use`, that takes no privilege.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use pipewright_api::net::LinkName;

/// The port of which RFC 863 says that it throws away what it gets.
const DISCARD: u16 = 9;

/// Asks all of them. What comes of it shows in the neighbour's state, and its coming as an event. One that cannot be asked, for
/// want of a route or of a source address, is asked again after the event that changes that.
///
/// # Errors
/// Why the last of those that cannot be asked cannot; the others were.
pub(crate) fn ask(gateways: &[IpAddr], ifname: &LinkName, index: u32) -> io::Result<()> {
    let mut asked = Ok(());
    for gateway in gateways {
        if let Err(why) = send(*gateway, ifname, index) {
            asked = Err(why);
        }
    }
    asked
}

fn send(gateway: IpAddr, ifname: &LinkName, index: u32) -> io::Result<()> {
    let (own, to): (IpAddr, SocketAddr) = match gateway {
        IpAddr::V4(v4) => (Ipv4Addr::UNSPECIFIED.into(), (v4, DISCARD).into()),
        IpAddr::V6(v6) => (Ipv6Addr::UNSPECIFIED.into(), SocketAddrV6::new(v6, DISCARD, 0, index).into()),
    };
    let socket = UdpSocket::bind((own, 0))?;
    socket.set_nonblocking(true)?;
    // Another link may lead there as well.
    match socket2::SockRef::from(&socket).bind_device(Some(ifname.as_str().as_bytes())) {
        // Kernels before 5.7 take a privilege for it; there the routes decide.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        bound => bound?,
    }
    socket.send_to(&[], to).map(|_| ())
}
