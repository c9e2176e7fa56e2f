//! Pairs that are plugged into nothing, made by one request from within the guest.
//!
//! The kernel looks for the name of the first end where the socket is (6.1 does, 6.18 looks where the end is to be), so the
//! socket is the guest's.

use std::os::fd::{AsFd, AsRawFd};

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};

use crate::host::netlink::{KernelError, Request, Requests};
use crate::host::{link, mark};
use crate::step::{End, Far, Pair};

/// Makes a pair: both ends whole, or none.
///
/// # Errors
/// EEXIST when one of the names is taken, and which.
pub(super) fn create(guest: &mut Requests, far: impl AsFd, pair: &Pair) -> Result<(), KernelError> {
    let Err(error) = guest.request(&request(far, pair)) else { return Ok(()) };
    if error.errno != libc::EEXIST {
        return Err(error);
    }
    let text = match (link::find(guest, pair.near.name.as_str())?, pair.whither) {
        (Some(_), _) => format!("link {} exists in the guest", pair.near.name),
        (None, Far::Host) => format!("link {} exists in the host", pair.far.name),
        (None, Far::Guest) => format!("link {} exists in the other guest", pair.far.name),
    };
    Err(KernelError::new(libc::EEXIST, text))
}

fn request(far: impl AsFd, pair: &Pair) -> Request {
    let mut peer = LinkMessage::default();
    peer.attributes = attributes(&pair.far);
    peer.attributes.push(LinkAttribute::NetNsFd(far.as_fd().as_raw_fd()));
    let mut near = LinkMessage::default();
    near.attributes = attributes(&pair.near);
    near.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    Request::new(RouteNetlinkMessage::NewLink(near), NLM_F_CREATE | NLM_F_EXCL)
}

fn attributes(end: &End) -> Vec<LinkAttribute> {
    vec![
        LinkAttribute::IfName(end.name.to_string()),
        LinkAttribute::Address(end.mac.octets().to_vec()),
        LinkAttribute::Mtu(end.mtu.get()),
        LinkAttribute::Group(mark::group(end.id)),
        // More than one queue costs two RCU grace periods.
        LinkAttribute::NumTxQueues(1),
        LinkAttribute::NumRxQueues(1),
    ]
}
