//! A veth pair whose host end is a port of an Open vSwitch bridge.

use pipewright_api::reason::Failure;
use pipewright_api::spec::Kind;

use super::{Decision, Link};
use crate::step::{Port, Step};
use crate::switches::ovs::Purpose;

/// `ip link add … type veth …`, `ovs-vsctl add-port BRIDGE …`, and the guest's side while ovs-vswitchd works.
pub(super) fn plan(link: &Link<'_>, bridge_is_ours: bool, userspace: bool) -> Result<Decision, Failure> {
    let Some(vlan) = link.spec.vlan.clone() else {
        let why = format!(
            "{} is an Open vSwitch bridge, where a port without a tag is a trunk of every VLAN; \
             say which with --vlan VID, --trunk VID,… or --trunk all",
            link.spec.uplink
        );
        return Err(Failure::field("spec.vlan", why));
    };
    let port = Port {
        id: link.veth.id,
        bridge: link.spec.uplink.clone(),
        port: link.veth.host_end.clone(),
        vlan,
        purpose: Purpose::Guest,
        labels: link.spec.labels.clone(),
    };
    let mut plan = Vec::new();
    if bridge_is_ours {
        plan.push(link.ensure_bridge(Kind::Ovs));
    }
    plan.extend([Step::CreateVeth(link.veth.clone()), Step::PlugPort(port.clone())]);
    plan.extend(link.configure(userspace));
    plan.extend([link.verify(), Step::AwaitPort(port)]);
    plan.push(Step::AwaitForwarding { host_end: link.veth.host_end.clone() });
    plan.extend(link.announce());
    Ok(link.decide(Kind::Ovs, plan))
}
