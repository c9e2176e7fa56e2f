//! What the host interface is, in pipework's order, and the attachment that follows.

use pipewright_api::attachment::GuestIdentity;
use pipewright_api::host::HostFacts;
use pipewright_api::labels::Labels;
use pipewright_api::net::{LinkName, VlanId};
use pipewright_api::spec::{
    Addressing as Wanted, AttachmentSpec, DuplicateCheck, Kind, PartitionKey, Peer, SwitchKind, Uplink, Vlan,
};

use super::form::{Addressing, Attach, HostInterface, Refused};
use super::parse::{IFNAME, IPOIB_IFNAME};
use super::{dhcp, names};

/// What a host interface is to pipework.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostKind {
    LinuxBridge,
    Ovs,
    Infiniband,
    Physical,
}

/// Looks a name up: a linux bridge, an Open vSwitch bridge, a link of InfiniBand, another link; then what its first letters say shall be made.
///
/// # Errors
/// It is nothing of that.
fn kind(name: &LinkName, facts: &HostFacts) -> Result<HostKind, Refused> {
    let bridge = facts.bridges.iter().find(|bridge| bridge.name == name.as_str());
    let link = facts.links.iter().find(|link| link.name == name.as_str());
    let has_ovs = facts.capabilities.iter().any(|capability| capability.name == "ovs" && capability.present);
    match (bridge.map(|bridge| bridge.kind), name.as_str()) {
        (Some(SwitchKind::LinuxBridge), _) => Ok(HostKind::LinuxBridge),
        (Some(SwitchKind::Ovs), _) => Ok(HostKind::Ovs),
        (None, _) if link.is_some_and(|link| link.hardware == "infiniband") => Ok(HostKind::Infiniband),
        (None, _) if link.is_some() => Ok(HostKind::Physical),
        (None, name) if name.starts_with("br") => Ok(HostKind::LinuxBridge),
        (None, name) if name.starts_with("ovs") && has_ovs => Ok(HostKind::Ovs),
        (None, name) if name.starts_with("ovs") => Err(Refused::because(format!(
            "Need OVS installed on the system to create an ovs bridge: {name} is not there, and no Open vSwitch answers"
        ))),
        (None, _) => {
            let why = "there is no such link or bridge; one whose name begins with br or ovs is made when it is missing, and \
                       `dummy` is a link that leads nowhere";
            Err(unknown(name, why))
        }
    }
}

/// What pipework says of a name that is nothing, and scripts look for; and why it is nothing.
pub fn unknown(name: &LinkName, why: &str) -> Refused {
    Refused::because(format!("I do not know how to setup interface {name}.\n{why}"))
}

/// What is asked of the agent.
///
/// # Errors
/// What this agent cannot do, and what does not fit together.
pub fn spec(form: &Attach, facts: &HostFacts, guest: &GuestIdentity) -> Result<AttachmentSpec, Refused> {
    let (uplink, kind) = uplink(form, facts)?;
    let (addressing, gateway) = match &form.addressing {
        Addressing::Static(address, gateway) => (Wanted::Static(vec![*address]), *gateway),
        Addressing::None(gateway) => (Wanted::None, *gateway),
        Addressing::Dhcp(dhcp) => (Wanted::Dhcp(dhcp::wanted(dhcp, &form.guest)?), None),
    };
    if kind == Kind::Ipoib && form.mac.is_some() {
        let why =
            "a link of InfiniBand has a hardware address of 20 bytes, which the fabric gives; leave it out";
        return Err(Refused::because(format!(
            "MACADDR configuration unsupported for IPoIB interfaces.\n{why}"
        )));
    }
    let vlan = vlan(kind, form.tag.as_deref())?;
    let pkey = form.tag.as_deref().filter(|_| kind == Kind::Ipoib).map(pkey).transpose()?;
    let ifname = match &form.ifname {
        Some(name) => name.clone(),
        None => if kind == Kind::Ipoib { IPOIB_IFNAME } else { IFNAME }
            .parse()
            .map_err(|why| Refused::because(format!("{why}")))?,
    };
    let labels = match uplink.link().filter(|_| kind == Kind::Ovs) {
        Some(bridge) => names::labels(&ifname, bridge, guest, form.tag.as_deref()),
        None => Labels::default(),
    };
    let host_ifname = || form.host_ifname.clone().or_else(|| names::host_end(&ifname, guest));
    let spec = AttachmentSpec {
        guest: form.guest.clone(),
        // -l is for bridges; pipework reads it and has no use for it otherwise.
        host_ifname: if kind.has_host_end(&uplink) { host_ifname() } else { None },
        ifname,
        uplink,
        kind: Some(kind),
        mode: None,
        mac: form.mac,
        mtu: None,
        vlan,
        pkey,
        addressing,
        slaac: false,
        dhcp6: None,
        gateways: gateway.into_iter().collect(),
        routes: Vec::new(),
        duplicate_check: DuplicateCheck::Off,
        host_reach: false,
        peer: Peer::default(),
        labels,
        follow: None,
    };
    spec.check().map_err(|failure| Refused::because(failure.message()))?;
    Ok(spec)
}

/// What the link comes from, and what it is.
fn uplink(form: &Attach, facts: &HostFacts) -> Result<(Uplink, Kind), Refused> {
    // Of a NIC the guest gets a macvlan, or itself; likewise of its VLAN.
    let physical = if form.direct { Kind::Direct } else { Kind::Macvlan };
    match &form.host {
        HostInterface::Dummy => Ok((Uplink::Dummy, Kind::Dummy)),
        HostInterface::Mac(mac) => Ok((Uplink::Mac(*mac), physical)),
        HostInterface::Named(name) => {
            let kind = match kind(name, facts) {
                // --direct-phys says nothing of a bridge or of InfiniBand, as in pipework.
                Ok(HostKind::LinuxBridge) => Kind::LinuxBridge,
                Ok(HostKind::Ovs) => Kind::Ovs,
                Ok(HostKind::Infiniband) => Kind::Ipoib,
                Ok(HostKind::Physical) => physical,
                // In a guest already, perhaps: the agent knows. In pipework such a line cannot be repeated.
                Err(_) if form.direct && !name.as_str().starts_with("ovs") => Kind::Direct,
                Err(refused) => return Err(refused),
            };
            Ok((Uplink::Link(name.clone()), kind))
        }
    }
}

/// pipework's port without a tag is a trunk of every VLAN, and its dummies take no notice of one.
fn vlan(kind: Kind, tag: Option<&str>) -> Result<Option<Vlan>, Refused> {
    let id = |tag: &str| tag.parse::<VlanId>().map_err(|why| Refused::because(format!("{why}")));
    match (kind, tag) {
        (Kind::Ovs, None) => Ok(Some(Vlan::Every)),
        // Its tag is a partition.
        (Kind::Dummy | Kind::Ipoib, _) => Ok(None),
        (_, tag) => Ok(tag.map(id).transpose()?.map(Vlan::Access)),
    }
}

/// pipework writes its `0x` itself: `@8001`.
fn pkey(tag: &str) -> Result<PartitionKey, Refused> {
    let key = format!("0x{}", tag.strip_prefix("0x").unwrap_or(tag)).parse::<PartitionKey>();
    key.map_err(|why| Refused::because(format!("{why}")))
}

#[cfg(test)]
mod tests {
    use pipewright_api::attachment::Runtime;
    use pipewright_api::host::{Bridge, Capability, HostLink};

    use super::super::form::Form;
    use super::super::parse::parse;
    use super::*;

    /// A host with a bridge of each kind, a NIC, a port of InfiniBand, and a link that is called like a keyword.
    fn facts(has_ovs: bool) -> HostFacts {
        let bridge = |name: &str, kind| Bridge {
            name: name.to_owned(),
            kind,
            mtu: 1500,
            ports: Vec::new(),
            ours: false,
        };
        let link = |name: &str| HostLink {
            name: name.to_owned(),
            mac: String::new(),
            hardware: if name == "ib0" { "infiniband" } else { "ether" }.to_owned(),
            mtu: 1500,
            operstate: "up".to_owned(),
            addresses: Vec::new(),
            holder: String::new(),
        };
        HostFacts {
            // An Open vSwitch bridge called as a linux bridge would be, and the other way round.
            bridges: vec![bridge("ovsbr", SwitchKind::LinuxBridge), bridge("br-int", SwitchKind::Ovs)],
            links: vec![link("eth0"), link("dummy0"), link("br7"), link("ib0")],
            capabilities: vec![Capability {
                name: "ovs".to_owned(),
                present: has_ovs,
                detail: String::new(),
            }],
            ..HostFacts::default()
        }
    }

    fn asked(line: &str, has_ovs: bool) -> Result<AttachmentSpec, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let Ok(Form::Attach(form)) = parse(&words, line.starts_with("dummy0")) else { panic!("{line}") };
        let guest = GuestIdentity {
            runtime: Runtime::Docker,
            id: "0123456789ab".to_owned(),
            name: "web".to_owned(),
            pid: Some(7),
            netns_cookie: 1,
            started_at: String::new(),
        };
        spec(&form, &facts(has_ovs), &guest).map_err(|why| format!("{why:?}"))
    }

    #[test]
    fn a_host_interface_is_what_it_is_before_what_it_is_called() {
        let access = |number: u32| Some(Vlan::Access(VlanId::try_from(number).unwrap()));
        for (line, uplink, kind, vlan, host_end) in [
            ("ovsbr web 0/0", "ovsbr", Kind::LinuxBridge, None, Some("veth1pl7")),
            ("br-int web 0/0", "br-int", Kind::Ovs, Some(Vlan::Every), Some("veth1pl7")),
            ("br-int web 0/0 @5", "br-int", Kind::Ovs, access(5), Some("veth1pl7")),
            ("--direct-phys br-int web 0/0 @5", "br-int", Kind::Ovs, access(5), Some("veth1pl7")),
            ("br1 -l host1 web 0/0", "br1", Kind::LinuxBridge, None, Some("host1")),
            ("ovs1 -i eth2 web 0/0 @5", "ovs1", Kind::Ovs, access(5), Some("veth2pl7")),
            ("eth0 web 0/0", "eth0", Kind::Macvlan, None, None),
            ("eth0 -l host1 web 0/0 @5", "eth0", Kind::Macvlan, access(5), None),
            ("br7 web 0/0", "br7", Kind::Macvlan, None, None),
            ("ib0 -l host1 web 0/0 @8001", "ib0", Kind::Ipoib, None, None),
            ("--direct-phys ib0 web 0/0", "ib0", Kind::Ipoib, None, None),
            ("dummy0 web 0/0", "dummy0", Kind::Macvlan, None, None),
            ("dummy web 0/0 @5", "dummy", Kind::Dummy, None, None),
            ("dummyXYZ web 0/0", "dummy", Kind::Dummy, None, None),
            ("mac:02:00:5E:10:00:01 web 0/0", "mac:02:00:5e:10:00:01", Kind::Macvlan, None, None),
            ("--direct-phys eth0 web 0/0", "eth0", Kind::Direct, None, None),
            ("--direct-phys eth0 web 0/0 @5", "eth0", Kind::Direct, access(5), None),
            ("--direct-phys lent0 -l host1 web 0/0", "lent0", Kind::Direct, None, None),
            (
                "--direct-phys mac:02:00:5E:10:00:01 web 0/0",
                "mac:02:00:5e:10:00:01",
                Kind::Direct,
                None,
                None,
            ),
            ("--direct-phys br1 web 0/0", "br1", Kind::LinuxBridge, None, Some("veth1pl7")),
        ] {
            let spec = asked(line, true).unwrap_or_else(|why| panic!("{line}: {why}"));

            assert_eq!((spec.uplink.to_string().as_str(), spec.kind), (uplink, Some(kind)), "{line}");
            assert_eq!(spec.vlan, vlan, "{line}");
            assert_eq!(spec.host_ifname.as_ref().map(LinkName::as_str), host_end, "{line}");
            assert_eq!(spec.labels.is_empty(), kind != Kind::Ovs, "{line}");
        }
    }

    #[test]
    fn on_infiniband_the_tag_is_a_partition_and_the_link_is_called_ib0() {
        for (line, ifname, pkey) in [
            ("ib0 web 192.0.2.1/24 @8001", "ib0", Some("0x8001")),
            ("ib0 web 192.0.2.1/24 @0x1", "ib0", Some("0x8001")),
            ("ib0 -i eth5 web 192.0.2.1/24@192.0.2.2", "eth5", None),
        ] {
            let spec = asked(line, true).unwrap_or_else(|why| panic!("{line}: {why}"));

            assert_eq!((spec.kind, spec.ifname.as_str()), (Some(Kind::Ipoib), ifname), "{line}");
            assert_eq!(spec.pkey.map(|key| key.to_string()).as_deref(), pkey, "{line}");
        }
    }

    #[test]
    fn what_nobody_can_set_up_is_refused() {
        for (line, has_ovs, said) in [
            ("nosuch web 0/0", true, "I do not know how to setup interface nosuch."),
            ("ovs1 web 0/0", false, "Need OVS installed on the system to create an ovs bridge"),
            ("br-int web 0/0 @5000", true, "\\\"5000\\\" is not a VLAN: use 1 to 4094"),
            ("--direct-phys ovs1 web 0/0", false, "Need OVS installed on the system to create an ovs bridge"),
            (
                "ib0 web 192.0.2.1/24 02:00:5e:10:00:01",
                true,
                "MACADDR configuration unsupported for IPoIB interfaces.",
            ),
            ("ib0 web 192.0.2.1/24 @8000", true, "is not a partition key"),
            ("ib0 web dhcp", true, "DHCP over InfiniBand (RFC 4390) is not in this version"),
            ("br1 web 192.0.2.1/24@192.0.2.1", true, "is the link's own address"),
        ] {
            let why = asked(line, has_ovs).unwrap_err();

            assert!(why.contains(said), "{line}: {why}");
        }
    }
}
