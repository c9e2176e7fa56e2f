//! IP over InfiniBand: one more interface on a link of InfiniBand, which carries neither a macvlan nor a bridge.

use pipewright_api::reason::Failure;
use pipewright_api::spec::{AttachmentSpec, IpoibMode, Kind, Mode};

use super::{Decision, Link, Parent};
use crate::step::{Ends, GuestLink, LinkType, Step};

/// `ip link add link NIC name IFNAME netns GUEST … type ipoib pkey PKEY mode MODE`. Nothing is announced: an interface that was not
/// there before has a hardware address that no neighbour knows yet, so each of them asks.
pub(super) fn plan(link: &Link<'_>, parent: &Parent) -> Result<Decision, Failure> {
    // Unless the kind was asked for, it was known only after a look at the uplink.
    AttachmentSpec { kind: Some(Kind::Ipoib), ..link.spec.clone() }.check()?;
    let mode = match link.spec.mode {
        Some(Mode::Ipoib(mode)) => mode,
        None | Some(Mode::Macvlan(_) | Mode::Ipvlan(_)) => IpoibMode::default(),
    };
    let single = GuestLink {
        id: link.id,
        name: link.spec.ifname.clone(),
        mac: None,
        mtu: None,
        what: LinkType::Ipoib { parent: parent.link.clone(), pkey: link.spec.pkey, mode },
    };
    let mut plan = parent.prepare();
    plan.push(Step::CreateLink(single.clone()));
    plan.extend(link.configure(false));
    plan.push(link.verify(Ends::Single(single.clone())));
    plan.push(Step::AwaitGuestForwarding { ifname: link.spec.ifname.clone() });
    plan.extend(link.late(Ends::Single(single)));
    Ok(Decision { mac: None, mtu: None, ..link.decide(Kind::Ipoib, Some(Mode::Ipoib(mode)), plan) })
}
