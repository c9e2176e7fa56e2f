//! A veth pair whose host end is a port of a linux bridge.

use pipewright_api::reason::Failure;
use pipewright_api::spec::Kind;

use super::{Decision, Link};
use crate::step::{Step, Veth};

/// `ip link add … master BRIDGE type veth …`, and the guest's side.
pub(super) fn plan(link: &Link<'_>, bridge_is_ours: bool) -> Result<Decision, Failure> {
    if link.spec.vlan.is_some() {
        let why = format!(
            "{} is a linux bridge, whose VLAN filtering this agent does not have yet; use an Open vSwitch bridge",
            link.spec.uplink
        );
        return Err(Failure::field("spec.vlan", why));
    }
    let veth = Veth { bridge: Some(link.spec.uplink.clone()), ..link.veth.clone() };
    let link = &Link { veth, ..*link };
    let mut plan = Vec::new();
    if bridge_is_ours {
        plan.push(link.ensure_bridge(Kind::LinuxBridge));
    }
    plan.push(Step::CreateVeth(link.veth.clone()));
    plan.extend(link.configure(false));
    plan.push(link.verify());
    plan.push(Step::AwaitForwarding { host_end: link.veth.host_end.clone() });
    plan.extend(link.announce());
    Ok(link.decide(Kind::LinuxBridge, plan))
}
