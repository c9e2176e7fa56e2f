//! What the host interface is, in pipework's order, and the attachment that follows.

use pipewright_api::attachment::GuestIdentity;
use pipewright_api::host::HostFacts;
use pipewright_api::labels::Labels;
use pipewright_api::net::{LinkName, VlanId};
use pipewright_api::spec::{Addressing as Wanted, AttachmentSpec, Kind, SwitchKind, Vlan};

use super::form::{Addressing, Attach, HostInterface, Refused};
use super::parse::IFNAME;
use super::{dhcp, names};

/// What a host interface is to pipework.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostKind {
    LinuxBridge,
    Ovs,
    Physical,
}

/// Looks a name up: a linux bridge, an Open vSwitch bridge, another link; then what its first letters say shall be made.
///
/// # Errors
/// It is nothing of that.
fn kind(name: &LinkName, facts: &HostFacts) -> Result<HostKind, Refused> {
    let bridge = facts.bridges.iter().find(|bridge| bridge.name == name.as_str());
    let has_link = facts.links.iter().any(|link| link.name == name.as_str());
    let has_ovs = facts.capabilities.iter().any(|capability| capability.name == "ovs" && capability.present);
    match (bridge.map(|bridge| bridge.kind), name.as_str()) {
        (Some(SwitchKind::LinuxBridge), _) => Ok(HostKind::LinuxBridge),
        (Some(SwitchKind::Ovs), _) => Ok(HostKind::Ovs),
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
pub(super) fn spec(
    form: &Attach,
    facts: &HostFacts,
    guest: &GuestIdentity,
) -> Result<AttachmentSpec, Refused> {
    let not_yet = |what: &str| Err(Refused::because(format!("{what}: this agent cannot do that yet")));
    let (uplink, kind) = match &form.host {
        HostInterface::Named(uplink) => (uplink, kind(uplink, facts)?),
        HostInterface::Mac(mac) => return not_yet(&format!("a link of the host by its address, mac:{mac}")),
        HostInterface::Dummy => return not_yet("a dummy link"),
    };
    let kind = match kind {
        // --direct-phys says nothing of a bridge, as in pipework.
        HostKind::LinuxBridge => Kind::LinuxBridge,
        HostKind::Ovs => Kind::Ovs,
        HostKind::Physical if form.direct => return not_yet(&format!("to move {uplink} into a guest")),
        HostKind::Physical => return not_yet(&format!("macvlan on {uplink}")),
    };
    let (addressing, gateway) = match &form.addressing {
        Addressing::Static(address, gateway) => (Wanted::Static(vec![*address]), *gateway),
        Addressing::None(gateway) => (Wanted::None, *gateway),
        Addressing::Dhcp(dhcp) => (Wanted::Dhcp(dhcp::wanted(dhcp, &form.guest)?), None),
    };
    let vlan = vlan(kind, form.tag.as_deref())?;
    let ifname = match &form.ifname {
        Some(name) => name.clone(),
        None => IFNAME.parse().map_err(|why| Refused::because(format!("{why}")))?,
    };
    let labels = match kind {
        Kind::Ovs => names::labels(&ifname, uplink, guest, form.tag.as_deref()),
        Kind::LinuxBridge | Kind::Macvlan | Kind::Ipvlan | Kind::Vlan | Kind::Dummy => Labels::default(),
    };
    let spec = AttachmentSpec {
        guest: form.guest.clone(),
        host_ifname: form.host_ifname.clone().or_else(|| names::host_end(&ifname, guest)),
        ifname,
        uplink: uplink.clone().into(),
        kind: Some(kind),
        mode: None,
        mac: form.mac,
        mtu: None,
        vlan,
        addressing,
        gateways: gateway.into_iter().collect(),
        routes: Vec::new(),
        labels,
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
