//! A veth pair whose host end is a port of an Open vSwitch bridge.

use pipewright_api::reason::Failure;
use pipewright_api::spec::{Kind, SwitchKind};

use super::{Decision, Link};
use crate::step::{Ends, Port, Step};
use crate::switches::ovs::Purpose;

/// `ip link add … type veth …`, `sysctl -w …`, `ovs-vsctl add-port BRIDGE …`, and the guest's side while ovs-vswitchd works.
pub(super) fn plan(link: &Link<'_>, bridge_is_ours: bool, userspace: bool) -> Result<Decision, Failure> {
    let Some(vlan) = link.spec.vlan.clone() else {
        let why = format!(
            "{} is an Open vSwitch bridge, where a port without a tag is a trunk of every VLAN; \
             say which with --vlan VID, --trunk VID,… or --trunk all",
            link.spec.uplink
        );
        return Err(Failure::field("spec.vlan", why));
    };
    let bridge = link.bridge()?;
    let veth = link.veth(None);
    let port = Port {
        id: veth.id,
        bridge: bridge.clone(),
        port: veth.host_end.clone(),
        vlan,
        purpose: Purpose::Guest,
        labels: link.spec.labels.clone(),
    };
    let mut plan = Vec::new();
    if bridge_is_ours {
        plan.extend(link.ensure_bridge(bridge, SwitchKind::Ovs));
    }
    plan.push(Step::CreateVeth(veth.clone()));
    // In the userspace datapath a port stays a link on which the host hears.
    plan.push(Step::IgnoreRouters { link: veth.host_end.clone(), switch: None, sets_up: true });
    plan.push(Step::PlugPort(port.clone()));
    plan.extend(link.configure(userspace));
    plan.extend([link.verify(Ends::Pair(veth.clone())), Step::AwaitPort(port)]);
    plan.push(Step::AwaitForwarding { host_end: veth.host_end.clone() });
    plan.extend(link.finish(Ends::Pair(veth)));
    Ok(link.decide(Kind::Ovs, None, plan))
}
