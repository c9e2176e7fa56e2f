//! Neighbours: whether a guest's gateway answers (ARP, or neighbour discovery of RFC 4861), and guests as neighbours of
//! the host.

use std::net::IpAddr;

use pipewright_api::net::MacAddr;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::host::address::{family, read_ip};
use crate::host::message::{attribute, read_u32};
use crate::host::netlink::{KernelError, Request, Requests};

/// Offset of the state in `struct ndmsg`.
const STATE: usize = 8;
/// Offset of the link's number.
const INDEX: usize = 4;
/// Size of it, in bytes.
const BODY: usize = 12;
/// Of linux/neighbour.h.
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

/// What is known of an address on a link, as `ip neigh` calls it; `None` when nobody has asked for it yet.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn state(
    requests: &mut Requests,
    index: u32,
    address: IpAddr,
) -> Result<Option<&'static str>, KernelError> {
    let known = known(requests, index, address)?;
    let number = known.and_then(|body| Some([*body.get(STATE)?, *body.get(STATE + 1)?]));
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

/// The MAC address that is known of an address on a link.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn mac(
    requests: &mut Requests,
    index: u32,
    address: IpAddr,
) -> Result<Option<MacAddr>, KernelError> {
    Ok(known(requests, index, address)?.and_then(|body| read_mac(&body)))
}

/// The addresses on a link that are known to be at a MAC address: `ip neigh show dev INDEX`.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn at(
    requests: &mut Requests,
    family: AddressFamily,
    index: u32,
    mac: MacAddr,
) -> Result<Vec<IpAddr>, KernelError> {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    let replies = requests.dump(RouteNetlinkMessage::GetNeighbour(message))?;
    let is_meant =
        |body: &[u8]| body.get(INDEX..).and_then(read_u32) == Some(index) && read_mac(body) == Some(mac);
    let bodies = replies.iter().map(|reply| reply.body.as_slice()).filter(|body| is_meant(body));
    Ok(bodies.filter_map(|body| read_ip(attribute(body.get(BODY..)?, NDA_DST)?)).collect())
}

fn read_mac(body: &[u8]) -> Option<MacAddr> {
    let octets = <[u8; 6]>::try_from(attribute(body.get(BODY..)?, NDA_LLADDR)?).ok()?;
    MacAddr::try_from(octets).ok()
}

/// The body of the kernel's answer.
fn known(requests: &mut Requests, index: u32, address: IpAddr) -> Result<Option<Vec<u8>>, KernelError> {
    let request = Request::new(RouteNetlinkMessage::GetNeighbour(message(index, address)), 0);
    match requests.request(&request) {
        Ok(replies) => Ok(replies.into_iter().next().map(|reply| reply.body)),
        Err(error) if error.errno == libc::ENOENT => Ok(None),
        Err(error) => Err(error),
    }
}

/// `ip neigh add ADDRESS lladdr MAC dev INDEX`, for ever
pub(super) fn add(index: u32, address: IpAddr, mac: MacAddr) -> Request {
    let mut message = message(index, address);
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    Request::new(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// `ip neigh del ADDRESS dev INDEX`
pub(super) fn remove(index: u32, address: IpAddr) -> Request {
    Request::new(RouteNetlinkMessage::DelNeighbour(message(index, address)), 0)
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
