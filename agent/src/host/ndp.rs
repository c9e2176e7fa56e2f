//! Packets of neighbour discovery (RFC 4861).

use std::net::Ipv6Addr;

use pipewright_api::net::MacAddr;

pub(super) const ETHERTYPE: u16 = 0x86dd;
/// All nodes on the link (RFC 4291 §2.7.1), and the MAC address that goes with it (RFC 2464 §7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub(super) const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Length of the header of IPv6, and of a message up to its options, in bytes.
const HEADER: usize = 40;
const MESSAGE: usize = 24;

/// Override set, solicited not (RFC 4861 §4.4), with the link-layer address as option 2.
pub(super) fn advertisement(mac: MacAddr, address: Ipv6Addr) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    let start = [ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    let message = [&start[..], &address.octets(), &[2, 1], &mac.octets()].concat();
    packet(address, ALL_NODES, message)
}

/// A question that teaches nobody who asks: the sender has no address yet (RFC 4861 §4.3); and the MAC address of those
/// who may have the target (RFC 4291 §2.7.1, RFC 2464 §7).
pub(super) fn solicitation(address: Ipv6Addr) -> (Vec<u8>, [u8; 6]) {
    let [.., a, b, c] = address.octets();
    let mut group = [0; 16];
    group[..2].copy_from_slice(&[0xff, 0x02]);
    group[11..].copy_from_slice(&[1, 0xff, a, b, c]);
    let message = [&[SOLICITATION, 0, 0, 0, 0, 0, 0, 0][..], &address.octets()].concat();
    (packet(Ipv6Addr::UNSPECIFIED, group.into(), message), [0x33, 0x33, 0xff, a, b, c])
}

/// Whether a packet is a neighbour's word that an address is its own.
pub(super) fn is_advertised(packet: &[u8], address: Ipv6Addr) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 6)
        && packet.get(6..8) == Some(&[ICMPV6, 255])
        && packet.get(HEADER) == Some(&ADVERTISEMENT)
        && packet.get(HEADER + 8..HEADER + MESSAGE) == Some(&address.octets())
}

fn packet(from: Ipv6Addr, to: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(from, to, &message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    // Receivers drop a hop limit below 255: such a packet came through a router.
    let [high, low] = (message.len() as u16).to_be_bytes();
    let header = [0x60, 0, 0, 0, high, low, ICMPV6, 255];
    [&header[..], &from.octets(), &to.octets(), &message].concat()
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

        let packet = advertisement(mac, address);

        // Summed over with the checksum in place, the result is zero.
        assert_eq!(packet.len(), HEADER + 32);
        assert_eq!(checksum(address, ALL_NODES, &packet[HEADER..]), 0);
    }

    #[test]
    fn an_advertisement_is_known_for_its_own_address_alone() {
        let mac = "02:00:5e:10:00:01".parse().unwrap();
        let address: Ipv6Addr = "2001:db8::10".parse().unwrap();
        let packet = advertisement(mac, address);
        let (question, to) = solicitation(address);

        assert!(is_advertised(&packet, address) && !is_advertised(&packet, ALL_NODES));
        assert!(!is_advertised(&question, address) && to == [0x33, 0x33, 0xff, 0, 0, 0x10]);
        assert!((0..packet.len() - 8).all(|cut| !is_advertised(&packet[..cut], address)));
    }
}
