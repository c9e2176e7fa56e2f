//! A veth pair whose host end is a port of a linux bridge.

use pipewright_api::net::LinkName;
use pipewright_api::reason::Failure;
use pipewright_api::spec::{Kind, SwitchKind};

use super::{Decision, Filtering, Link};
use crate::step::{Ends, Step};

/// `ip link add … master BRIDGE type veth …`, `bridge vlan add …`, and the guest's side.
pub(super) fn plan(
    link: &Link<'_>,
    bridge_is_ours: bool,
    filtering: Filtering,
    uplink: Option<&LinkName>,
) -> Result<Decision, Failure> {
    let bridge = link.bridge()?;
    let mut plan = Vec::new();
    if bridge_is_ours {
        plan.extend(link.ensure_bridge(bridge, SwitchKind::LinuxBridge));
    }
    if link.spec.vlan.is_some() {
        plan.extend(filter_vlans(bridge, bridge_is_ours, filtering, uplink)?);
    } else if filtering == (Filtering::On { default: None }) {
        let why = format!(
            "{bridge} filters VLANs and has no default one (vlan_default_pvid 0), so nothing passes a port without: \
             give one with --vlan VID, or some with --trunk VID,…"
        );
        return Err(Failure::field("spec.vlan", why));
    }
    let mut veth = link.veth(Some(bridge));
    veth.vlan.clone_from(&link.spec.vlan);
    plan.push(Step::CreateVeth(veth.clone()));
    plan.extend(link.spec.vlan.clone().map(|vlan| Step::JoinVlans { port: veth.host_end.clone(), vlan }));
    plan.extend(link.configure(false));
    plan.push(link.verify(Ends::Pair(veth.clone())));
    plan.push(Step::AwaitForwarding { host_end: veth.host_end.clone() });
    plan.extend(link.finish(Ends::Pair(veth)));
    Ok(link.decide(Kind::LinuxBridge, None, plan))
}

/// Filtering is switched on where that is ours to do; on somebody else's bridge it changes what other ports hear.
///
/// # Errors
/// INVALID_FIELD.
pub fn filter_vlans(
    bridge: &LinkName,
    is_ours: bool,
    filtering: Filtering,
    uplink: Option<&LinkName>,
) -> Result<Option<Step>, Failure> {
    match filtering {
        Filtering::Off | Filtering::ByUs if is_ours => {
            Ok(Some(Step::FilterVlans { bridge: bridge.clone(), uplink: uplink.cloned() }))
        }
        Filtering::On { .. } | Filtering::ByUs => Ok(None),
        Filtering::Off => {
            let why = format!(
                "{bridge} is somebody else's linux bridge and does not filter VLANs; switching that on changes what \
                 its other ports hear, so do it yourself: `ip link set {bridge} type bridge vlan_filtering 1`"
            );
            Err(Failure::field("spec.vlan", why))
        }
    }
}
