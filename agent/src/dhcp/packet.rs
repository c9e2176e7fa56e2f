//! The IPv4 and UDP headers around a message: a client without an address cannot leave them to the kernel.

use std::net::Ipv4Addr;

/// Ports of RFC 2131 §4.1.
pub const SERVER_PORT: u16 = 67;
/// Where clients listen.
pub const CLIENT_PORT: u16 = 68;

const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;
const TIME_TO_LIVE: u8 = 64;
/// More fragments, and the offset of one.
const FRAGMENT: u16 = 0x3fff;

/// A client's datagram to a server, from the IPv4 header on.
pub fn wrap(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let udp_length = (UDP_HEADER + payload.len()) as u16;
    let mut udp = Vec::with_capacity(UDP_HEADER + payload.len());
    for word in [CLIENT_PORT, SERVER_PORT, udp_length, 0] {
        udp.extend(word.to_be_bytes());
    }
    udp.extend(payload);
    // Zero says that there is no checksum; a sum of zero is sent as its other form (RFC 768).
    let checksum = match !fold(pseudo_header(from, to, udp_length) + sum(&udp)) {
        0 => 0xffff,
        checksum => checksum,
    };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());

    let mut ip = vec![0x45, 0];
    ip.extend((IP_HEADER as u16 + udp_length).to_be_bytes());
    // No id, since it may not be fragmented (RFC 6864 §4.1).
    ip.extend([0, 0, 0x40, 0, TIME_TO_LIVE, UDP, 0, 0]);
    ip.extend(from.octets());
    ip.extend(to.octets());
    let checksum = !fold(sum(&ip));
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    [ip, udp].concat()
}

/// The payload of a datagram from a server to a client; `None` for anything else, and for what got damaged.
pub fn unwrap(packet: &[u8]) -> Option<&[u8]> {
    let word = |bytes: &[u8], at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let address = |at: usize| -> Option<Ipv4Addr> {
        Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?))
    };
    let first = *packet.first()?;
    let header = usize::from(first & 0xf) * 4;
    let total = usize::from(word(packet, 2)?);
    let is_whole = first >> 4 == 4
        && header >= IP_HEADER
        && word(packet, 6)? & FRAGMENT == 0
        && packet.get(9) == Some(&UDP)
        && fold(sum(packet.get(..header)?)) == 0xffff;
    // Ethernet pads short frames.
    let udp = packet.get(header..total).filter(|_| is_whole)?;
    let length = word(udp, 4)?;
    let is_ours = word(udp, 0)? == SERVER_PORT && word(udp, 2)? == CLIENT_PORT;
    let udp = udp.get(..length.into()).filter(|udp| is_ours && udp.len() >= UDP_HEADER)?;
    let pseudo = pseudo_header(address(12)?, address(16)?, length);
    let is_intact = match word(udp, 6)? {
        0 => true,
        // A server on this machine leaves the sum to a network card that the packet never meets: the field holds that of
        // the pseudo-header alone (CHECKSUM_PARTIAL of linux/skbuff.h).
        checksum if checksum == fold(pseudo) => true,
        _ => fold(pseudo + sum(udp)) == 0xffff,
    };
    udp.get(UDP_HEADER..).filter(|_| is_intact)
}

fn pseudo_header(from: Ipv4Addr, to: Ipv4Addr, udp_length: u16) -> u32 {
    sum(&from.octets()) + sum(&to.octets()) + u32::from(UDP) + u32::from(udp_length)
}

/// The words of at most 64 KiB, added up; such a sum fits.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum()
}

/// The Internet checksum before it is inverted (RFC 1071).
fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
