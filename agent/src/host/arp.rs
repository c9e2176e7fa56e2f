//! Packets of ARP (RFC 826) for IPv4 over Ethernet: what RFC 5227 sends, and what it listens for.

use std::net::Ipv4Addr;

use pipewright_api::net::MacAddr;

/// Of ARP.
pub const ETHERTYPE: u16 = 0x0806;
/// The broadcast address.
pub const EVERYBODY: [u8; 6] = [0xff; 6];
/// Ethernet (1), IPv4, and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u8 = 1;

/// A request for one's own address: both sender and target are the announced one (RFC 5227 §3).
#[must_use]
pub fn announcement(mac: MacAddr, address: Ipv4Addr) -> Vec<u8> {
    request(mac, address, address)
}

/// A question that teaches nobody who asks: the sender has no address yet (RFC 5227 §2.1.1).
pub(super) fn probe(mac: MacAddr, address: Ipv4Addr) -> Vec<u8> {
    request(mac, Ipv4Addr::UNSPECIFIED, address)
}

fn request(mac: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let operation = [0, REQUEST];
    [&ETHERNET_IPV4[..], &operation, &mac.octets(), &sender.octets(), &[0; 6], &target.octets()].concat()
}

/// Who uses an address, or is about to, as a packet that was heard tells; `None` when it tells nothing of it. The sender
/// has it, or asks for it just as we do (RFC 5227 §2.1.1).
pub(super) fn holder(packet: &[u8], own: MacAddr, address: Ipv4Addr) -> Option<[u8; 6]> {
    let rest = packet.strip_prefix(&ETHERNET_IPV4)?;
    let ([_, operation], rest) = rest.split_first_chunk()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (sender, rest) = rest.split_first_chunk::<4>()?;
    let target = rest.get(6..10)?;
    let sender = Ipv4Addr::from(*sender);
    let asks_likewise = *operation == REQUEST && sender.is_unspecified() && target == address.octets();
    (*mac != own.octets() && (sender == address || asks_likewise)).then_some(*mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    fn mac(last: u8) -> MacAddr {
        MacAddr::try_from([2, 0, 0x5e, 0x10, 0, last]).unwrap()
    }

    #[test]
    fn an_announcement_asks_for_its_own_address() {
        let packet = announcement(mac(1), ADDRESS);

        assert_eq!(packet.len(), 28);
        assert_eq!((&packet[14..18], &packet[24..28]), (&[192, 0, 2, 10][..], &[192, 0, 2, 10][..]));
    }

    #[test]
    fn an_address_is_held_by_its_sender_and_by_who_probes_for_it_and_never_by_ourselves() {
        let gateway = Ipv4Addr::new(192, 0, 2, 1);
        let said = [announcement(mac(2), ADDRESS), probe(mac(2), ADDRESS), request(mac(2), ADDRESS, gateway)];
        let unsaid = [
            announcement(mac(1), ADDRESS),
            probe(mac(1), ADDRESS),
            request(mac(2), gateway, ADDRESS),
            probe(mac(2), gateway),
        ];

        for packet in said {
            assert_eq!(holder(&packet, mac(1), ADDRESS), Some(mac(2).octets()));
            for cut in 0..packet.len() {
                assert_eq!(holder(&packet[..cut], mac(1), ADDRESS), None, "cut at {cut}");
            }
        }
        for packet in unsaid {
            assert_eq!(holder(&packet, mac(1), ADDRESS), None);
        }
    }
}
