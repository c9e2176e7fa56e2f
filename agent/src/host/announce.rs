//! Telling the neighbours where an address is now: gratuitous ARP (RFC 5227 §3) and unsolicited neighbour advertisements
//! (RFC 4861 §7.2.6). A neighbour that knew the address by another MAC would send there until its entry expires.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use pipewright_api::net::{LinkName, MacAddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::host::kernel::Kernel;
use crate::host::netlink::{KernelError, Requests};
use crate::host::netns::Netns;
use crate::host::{arp, link, ndp, sys};

/// Announces addresses on a link of the calling thread's network namespace.
///
/// The socket is handed back because closing it waits for an RCU grace period, 8 to 16 ms: let somebody do it for whom
/// nobody waits.
///
/// # Errors
/// What socket(2) and sendto(2) say, such as ENETDOWN.
pub(super) fn announce(index: u32, mac: MacAddr, addresses: &[IpAddr]) -> io::Result<OwnedFd> {
    // Without a protocol the socket receives nothing.
    let socket =
        rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    for address in addresses {
        match *address {
            IpAddr::V4(v4) => {
                sys::send_frame(&socket, index, arp::ETHERTYPE, arp::EVERYBODY, &arp::announcement(mac, v4))?;
            }
            IpAddr::V6(v6) => {
                let packet = ndp::advertisement(mac, v6);
                sys::send_frame(&socket, index, ndp::ETHERTYPE, ndp::ALL_NODES_MAC, &packet)?;
            }
        }
    }
    Ok(socket)
}

impl Kernel {
    /// Announces addresses on a link of a guest, once more. The guest's namespace is held for as long.
    ///
    /// # Errors
    /// What the link says, such as ENODEV and ENETDOWN.
    pub async fn announce(&self, guest: &Netns, ifname: &LinkName, addresses: Vec<IpAddr>) -> io::Result<()> {
        let ifname = ifname.clone();
        let visit = move || {
            let gone = || KernelError::from(io::Error::from_raw_os_error(libc::ENODEV));
            let link = link::find(&mut Requests::open()?, ifname.as_str())?.ok_or_else(gone)?;
            announce(link.index, link.mac.ok_or_else(gone)?, &addresses).map(drop)
        };
        self.in_guest(guest, visit).await
    }
}
