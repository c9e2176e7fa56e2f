//! An ipvlan: addresses of its own behind the MAC address of a link of the host, for networks that take one MAC address a
//! port.

use pipewright_api::reason::Failure;
use pipewright_api::spec::{IpvlanMode, Kind, Mode};

use super::{Decision, Link, Parent};
use crate::step::LinkType;

/// `ip link add link PARENT name IFNAME netns GUEST … type ipvlan mode MODE`
pub(super) fn plan(link: &Link<'_>, parent: &Parent) -> Result<Decision, Failure> {
    if link.spec.mac.is_some() {
        let why = "an ipvlan has the MAC address of its parent: leave it out, or use macvlan";
        return Err(Failure::field("spec.mac", why));
    }
    let mode = match link.spec.mode {
        Some(Mode::Ipvlan(mode)) => mode,
        None => IpvlanMode::default(),
        Some(mode @ (Mode::Macvlan(_) | Mode::Ipoib(_))) => {
            return Err(Failure::field(
                "spec.mode",
                format!("{mode} is no mode of ipvlan: use l2, l3 or l3s"),
            ));
        }
    };
    let what = LinkType::Ipvlan { parent: parent.below(link.spec)?.clone(), mode };
    parent.plan(link, Kind::Ipvlan, Some(Mode::Ipvlan(mode)), what)
}
