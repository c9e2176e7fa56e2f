//! What the host interface is, in pipework's order, and the attachment that follows.

use pipewright_api::host::HostFacts;
use pipewright_api::labels::Labels;
use pipewright_api::net::LinkName;
use pipewright_api::net::VlanId;
use pipewright_api::spec::{Addressing as Wanted, AttachmentSpec, Kind, Vlan};

use super::form::{Addressing, Attach, HostInterface, Refused};
use super::parse::IFNAME;

/// What a host interface is to pipework.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostKind {
    LinuxBridge,
    Ovs,
    Physical,
}

/// Looks a name up: a linux bridge, an Open vSwitch bridge, another link; then what its first letters say shall be made.
///
/// # Errors
/// It is nothing of that.
pub(super) fn kind(name: &LinkName, facts: &HostFacts) -> Result<HostKind, Refused> {
    let bridge = facts.bridges.iter().find(|bridge| bridge.name == name.as_str());
    let has_link = facts.links.iter().any(|link| link.name == name.as_str());
    let has_ovs = facts.capabilities.iter().any(|capability| capability.name == "ovs" && capability.present);
    match (bridge.map(|bridge| bridge.kind), name.as_str()) {
        (Some(Kind::LinuxBridge), _) => Ok(HostKind::LinuxBridge),
        (Some(Kind::Ovs), _) => Ok(HostKind::Ovs),
        (None, _) if has_link => Ok(HostKind::Physical),
        (None, name) if name.starts_with("br") => Ok(HostKind::LinuxBridge),
        (None, name) if name.starts_with("ovs") && has_ovs => Ok(HostKind::Ovs),
        (None, name) if name.starts_with("ovs") => Err(Refused::because(format!(
            "Need OVS installed on the system to create an ovs bridge: {name} is not there, and no Open vSwitch answers"
        ))),
        (None, name) => Err(Refused::because(format!(
            "I do not know how to setup interface {name}.\nthere is no such link or bridge; one whose name begins with br or \
             ovs is made when it is missing, and `dummy` is a link that leads nowhere"
        ))),
    }
}

/// What is asked of the agent.
///
/// # Errors
/// What this agent cannot do, and what does not fit together.
pub(super) fn spec(form: &Attach, facts: &HostFacts) -> Result<AttachmentSpec, Refused> {
    let HostInterface::Named(uplink) = &form.host else {
        return Err(Refused::because(
            "this agent has neither dummy links nor links found by their MAC address yet",
        ));
    };
    let kind = match kind(uplink, facts)? {
        // Ignored on bridges, as pipework does.
        HostKind::LinuxBridge => Kind::LinuxBridge,
        HostKind::Ovs => Kind::Ovs,
        HostKind::Physical => {
            return Err(Refused::because(format!(
                "{uplink} is no bridge: this agent knows only bridges yet"
            )));
        }
    };
    let (addressing, gateway) = match &form.addressing {
        Addressing::Static(address, gateway) => (Wanted::Static(vec![*address]), *gateway),
        Addressing::None(gateway) => (Wanted::None, *gateway),
        Addressing::Dhcp(dhcp) => {
            let (client, options) = (dhcp.client, dhcp.options.join(" "));
            return Err(Refused::because(format!("this agent has no DHCP yet ({client:?} {options})")));
        }
    };
    let vlan = vlan(kind, form.tag.as_deref())?;
    let ifname = match &form.ifname {
        Some(name) => name.clone(),
        None => IFNAME.parse().map_err(|why| Refused::because(format!("{why}")))?,
    };
    let spec = AttachmentSpec {
        guest: form.guest.clone(),
        ifname,
        uplink: uplink.clone(),
        kind: Some(kind),
        host_ifname: form.host_ifname.clone(),
        mac: form.mac,
        mtu: None,
        vlan,
        addressing,
        gateways: gateway.into_iter().collect(),
        routes: Vec::new(),
        labels: Labels::default(),
    };
    spec.check().map_err(|failure| Refused::because(failure.message()))?;
    Ok(spec)
}

/// pipework's port without a tag is a trunk of every VLAN.
fn vlan(kind: Kind, tag: Option<&str>) -> Result<Option<Vlan>, Refused> {
    let id = |tag: &str| tag.parse::<VlanId>().map_err(|why| Refused::because(format!("{why}")));
    match (kind, tag) {
        (Kind::Ovs, None) => Ok(Some(Vlan::Every)),
        (_, tag) => Ok(tag.map(id).transpose()?.map(Vlan::Access)),
    }
}
