//! A veth pair that is plugged into nothing: between the guest and the host, or between two guests.

use std::net::IpAddr;

use pipewright_api::net::LinkName;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::Kind;

use super::{Decision, Link, Peer, uncovered};
use crate::step::{End, Ends, Expected, Far, GuestRoute, Pair, Step};

/// `ip link add IFNAME netns GUEST … type veth peer name NAME`, and both sides.
pub(super) fn to_host(link: &Link<'_>) -> Decision {
    // Whether new links of the host have IPv6 is not asked: an address that was asked for is to work.
    plan(link, Far::Host, link.host_end.clone(), true)
}

/// `ip link add IFNAME netns GUEST … type veth peer name NAME netns OTHER`, and both sides.
///
/// # Errors
/// INVALID_FIELD, IFNAME_TAKEN.
pub(super) fn to_guest(link: &Link<'_>, peer: &Peer) -> Result<Decision, Failure> {
    if peer.guest.netns_cookie == link.ground.guest.netns_cookie {
        let why = format!("{} is the guest itself: give another", link.spec.uplink);
        return Err(Failure::field("spec.uplink", why));
    }
    if peer.ifname_taken {
        let text = format!(
            "{} has a link {} already; choose another name with --peer-ifname",
            link.spec.uplink, peer.ifname
        );
        return Err(Failure::new(Reason::IfnameTaken, text));
    }
    Ok(plan(link, Far::Guest, peer.ifname.clone(), peer.ipv6_disabled))
}

fn plan(link: &Link<'_>, whither: Far, far_name: LinkName, enable_ipv6: bool) -> Decision {
    let (id, mtu) = (link.id, link.mtu);
    let near = End { id, name: link.spec.ifname.clone(), mac: link.mac, mtu };
    let far = End { id, name: far_name.clone(), mac: link.host_mac, mtu };
    let there = |what| Step::There { whither, what: Box::new(what) };
    let (own, others) = (&link.spec.peer.addresses, link.spec.addressing.addresses());
    let route = |destination| GuestRoute::new(destination, None, far_name.clone());
    let routes: Vec<GuestRoute> = uncovered(own, others).map(route).collect();

    let mut plan = vec![Step::CreatePair(Pair { id, near: near.clone(), far: far.clone(), whither })];
    if whither == Far::Host {
        plan.push(Step::IgnoreRouters { link: far_name.clone(), switch: None, sets_up: false });
    }
    if enable_ipv6 && own.iter().any(|address| address.addr().is_ipv6()) {
        plan.push(there(Step::EnableIpv6 { ifname: far_name.clone() }));
    }
    plan.push(there(Step::SetUp { ifname: far_name.clone() }));
    let add = |&address| there(Step::AddAddress { ifname: far_name.clone(), address, is_checked: false });
    plan.extend(own.iter().map(add));
    plan.extend(routes.iter().cloned().map(Step::AddRoute).map(there));
    plan.push(there(Step::Verify(Expected {
        ends: Ends::Either(far.clone()),
        addresses: own.clone(),
        routes,
    })));
    plan.extend(link.configure(false));
    plan.push(link.verify(Ends::Either(near.clone())));
    plan.push(Step::AwaitGuestForwarding { ifname: link.spec.ifname.clone() });
    let addresses: Vec<IpAddr> = own.iter().map(|address| address.addr()).collect();
    if !addresses.is_empty() {
        plan.push(there(Step::Announce { ifname: far_name, mac: far.mac, addresses }));
    }
    plan.extend(link.finish(Ends::Either(near)));
    link.decide(Kind::Ptp, None, plan)
}
