//! A veth pair whose host end is a port of a linux bridge.

use pipewright_api::reason::Failure;
use pipewright_api::spec::{Kind, SwitchKind};

use super::{Decision, Link};
use crate::step::{Ends, Step};

/// `ip link add … master BRIDGE type veth …`, and the guest's side.
pub(super) fn plan(link: &Link<'_>, bridge_is_ours: bool) -> Result<Decision, Failure> {
    if link.spec.vlan.is_some() {
        let why = format!(
            "{} is a linux bridge, whose VLAN filtering this agent does not have yet; use an Open vSwitch bridge",
            link.spec.uplink
        );
        return Err(Failure::field("spec.vlan", why));
    }
    let bridge = link.bridge()?;
    let veth = link.veth(Some(bridge));
    let mut plan = Vec::new();
    if bridge_is_ours {
        plan.push(link.ensure_bridge(bridge, SwitchKind::LinuxBridge));
    }
    plan.push(Step::CreateVeth(veth.clone()));
    plan.extend(link.configure(false));
    plan.push(link.verify(Ends::Pair(veth.clone())));
    plan.push(Step::AwaitForwarding { host_end: veth.host_end });
    plan.extend(link.announce());
    Ok(link.decide(Kind::LinuxBridge, None, plan))
}
