//! Neighbours of guests: whether a gateway answers (ARP, or neighbour discovery of RFC 4861).

use std::net::IpAddr;

use rtnetlink::packet_core::NLM_F_CREATE;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};

use crate::host::address::family;
use crate::host::netlink::{KernelError, Request, Requests};

/// Offset of the state in `struct ndmsg`.
const STATE: usize = 8;

/// What is known of an address on a link, as `ip neigh` calls it; `None` when nobody has asked for it yet.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn state(
    requests: &mut Requests,
    index: u32,
    address: IpAddr,
) -> Result<Option<&'static str>, KernelError> {
    let request = Request::new(RouteNetlinkMessage::GetNeighbour(message(index, address)), 0);
    let replies = match requests.request(&request) {
        Ok(replies) => replies,
        Err(error) if error.errno == libc::ENOENT => return Ok(None),
        Err(error) => return Err(error),
    };
    let number =
        replies.first().and_then(|reply| Some([*reply.body.get(STATE)?, *reply.body.get(STATE + 1)?]));
    Ok(number.map(|number| match u16::from_ne_bytes(number) {
        0x01 => "incomplete",
        0x02 => "reachable",
        0x04 => "stale",
        0x08 => "delay",
        0x10 => "probe",
        0x20 => "failed",
        0x40 => "noarp",
        0x80 => "permanent",
        _ => "none",
    }))
}

/// `ip neigh replace ADDRESS dev INDEX use`: has the kernel itself ask for it, as if there were a packet to send.
pub(super) fn ask(index: u32, address: IpAddr) -> Request {
    let mut message = message(index, address);
    message.header.flags = NeighbourFlags::Use;
    Request::new(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE)
}

fn message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index;
    message.attributes = vec![NeighbourAttribute::Destination(match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    })];
    message
}
