//! The 802.1Q sub-interface of a link of the host, in the guest itself.

use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{Kind, Vlan};

use super::{Decision, Link, Parent};
use crate::step::LinkType;

/// `ip link add link NIC name IFNAME netns GUEST … type vlan id VID`
pub(super) fn plan(link: &Link<'_>, parent: &Parent) -> Result<Decision, Failure> {
    let Some(Vlan::Access(vlan)) = link.spec.vlan else {
        return Err(Failure::field("spec.vlan", "a sub-interface is of one VLAN: give it with --vlan"));
    };
    if let Some(there) = parent.vlan.as_ref().filter(|there| there.is_there) {
        let text = format!(
            "VLAN {vlan} of {} is link {} of the host already, and there can be but one; attach a macvlan on that",
            parent.link, there.link
        );
        return Err(Failure::new(Reason::UplinkBusy, text).with("holder", format!("link {}", there.link)));
    }
    let alone = Parent { vlan: None, ..parent.clone() };
    alone.plan(link, Kind::Vlan, None, LinkType::Vlan { parent: parent.link.clone(), vlan })
}
