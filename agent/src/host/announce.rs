//! Telling the neighbours where an address is now: gratuitous ARP (RFC 5227 §3) and unsolicited neighbour advertisements
//! (RFC 4861 §7.2.6). A neighbour that knew the address by another MAC would send there until its entry expires.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use pipewright_api::net::MacAddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::host::sys;

const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const BROADCAST: [u8; 6] = [0xff; 6];
/// All nodes on the link (RFC 4291 §2.7.1), and the MAC address that goes with it (RFC 2464 §7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;

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
                sys::send_frame(&socket, index, ETHERTYPE_ARP, BROADCAST, &gratuitous_arp(mac, v4))?;
            }
            IpAddr::V6(v6) => {
                let packet = neighbour_advertisement(mac, v6);
                sys::send_frame(&socket, index, ETHERTYPE_IPV6, ALL_NODES_MAC, &packet)?;
            }
        }
    }
    Ok(socket)
}

/// A request for one's own address: both sender and target are the announced one (RFC 5227 §3).
fn gratuitous_arp(mac: MacAddr, address: Ipv4Addr) -> Vec<u8> {
    let ethernet_ipv4_request = [0, 1, 8, 0, 6, 4, 0, 1];
    [&ethernet_ipv4_request[..], &mac.octets(), &address.octets(), &[0; 6], &address.octets()].concat()
}

/// Override set, solicited not (RFC 4861 §4.4), with the link-layer address as option 2.
fn neighbour_advertisement(mac: MacAddr, address: Ipv6Addr) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    let mut message =
        [&[136, 0, 0, 0, OVERRIDE, 0, 0, 0][..], &address.octets(), &[2, 1], &mac.octets()].concat();
    let length = message.len() as u16;
    let checksum = checksum(address, ALL_NODES, &message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());

    // Receivers drop a hop limit below 255: such a packet came through a router.
    let [high, low] = length.to_be_bytes();
    let header = [0x60, 0, 0, 0, high, low, ICMPV6, 255];
    [&header[..], &address.octets(), &ALL_NODES.octets(), &message].concat()
}

/// The Internet checksum over the pseudo-header and the message (RFC 8200 §8.1).
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let length = (message.len() as u32).to_be_bytes();
    let all = [&from.octets()[..], &to.octets(), &length, &[0, 0, 0, ICMPV6], message].concat();
    let words =
        all.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_an_advertisement_verifies() {
        let mac = "02:00:5e:10:00:01".parse().unwrap();
        let address: Ipv6Addr = "2001:db8::10".parse().unwrap();

        let packet = neighbour_advertisement(mac, address);

        // Summed over with the checksum in place, the result is zero.
        assert_eq!(packet.len(), 40 + 32);
        assert_eq!(checksum(address, ALL_NODES, &packet[40..]), 0);
    }

    #[test]
    fn a_gratuitous_arp_asks_for_its_own_address() {
        let packet = gratuitous_arp("02:00:5e:10:00:01".parse().unwrap(), Ipv4Addr::new(192, 0, 2, 10));

        assert_eq!(packet.len(), 28);
        assert_eq!((&packet[14..18], &packet[24..28]), (&[192, 0, 2, 10][..], &[192, 0, 2, 10][..]));
    }
}
