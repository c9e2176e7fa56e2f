//! A macvlan: a station of its own, with its own MAC address, on a link of the host.

use pipewright_api::reason::Failure;
use pipewright_api::spec::{Kind, MacvlanMode, Mode};

use super::{Decision, Link, Parent};
use crate::step::LinkType;

/// `ip link add link PARENT name IFNAME netns GUEST … type macvlan mode MODE`
pub(super) fn plan(link: &Link<'_>, parent: &Parent) -> Result<Decision, Failure> {
    let mode = match link.spec.mode {
        Some(Mode::Macvlan(mode)) => mode,
        None => MacvlanMode::default(),
        Some(mode @ (Mode::Ipvlan(_) | Mode::Ipoib(_))) => {
            let why = format!("{mode} is no mode of macvlan: use bridge, private, vepa or passthru");
            return Err(Failure::field("spec.mode", why));
        }
    };
    let what = LinkType::Macvlan { parent: parent.below(link.spec)?.clone(), mode };
    parent.plan(link, Kind::Macvlan, Some(Mode::Macvlan(mode)), what)
}
