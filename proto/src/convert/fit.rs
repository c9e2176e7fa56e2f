//! Whether the parts of what is asked fit together. The kernel and Open vSwitch take most of what is refused here.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::At;
use crate::net::{InterfaceAddr, LinkName, RESERVED_PREFIX, is_reserved_in, usable};
use crate::reason::Failure;
use crate::spec::{Addressing, AttachmentSpec, HostSpec, Kind, Route, SwitchSpec, Vlan};

/// Most addresses, gateways or routes of one link.
pub const LIST_MAX: usize = 64;
/// Most VLANs of one trunk: all that there are.
pub const TRUNK_MAX: usize = 4094;
/// Most attachments of one host's document.
pub const ATTACHMENTS_MAX: usize = 4096;
/// Most switches of one host's document.
pub const SWITCHES_MAX: usize = 256;

impl AttachmentSpec {
    /// Whether the parts fit together, for a spec that was not read from the wire. A spec out of an attachment carries
    /// the derived name of its host end, which nobody may ask for.
    ///
    /// # Errors
    /// INVALID_FIELD; paths begin with `spec`.
    pub fn check(&self) -> Result<(), Failure> {
        attachment(self, &At::top("spec"))
    }
}

impl HostSpec {
    /// Whether the parts fit together, for a document that was not read from the wire.
    ///
    /// # Errors
    /// INVALID_FIELD; paths begin with `spec`.
    pub fn check(&self) -> Result<(), Failure> {
        host(self, &At::top("spec"))
    }
}

pub(super) fn attachment(spec: &AttachmentSpec, at: &At<'_>) -> Result<(), Failure> {
    not_reserved(&spec.ifname, &at.field("ifname"))?;
    if spec.uplink.is_derived() {
        let why = format_args!("{} is the host's end of a link of ours: give a bridge", spec.uplink);
        return Err(at.field("uplink").refuse(why));
    }
    if let Some(name) = &spec.host_ifname {
        let at = at.field("host_ifname");
        not_reserved(name, &at)?;
        if *name == spec.uplink {
            return Err(at.refuse(format_args!("{name} is the name of the bridge: use another")));
        }
    }
    if let Some(kind) = spec.kind {
        vlan(spec, kind, at)?;
    }
    if matches!(&spec.vlan, Some(Vlan::Trunk(vlans)) if vlans.is_empty()) {
        // Open vSwitch takes an empty list for every VLAN.
        let why = "give at least one VLAN; for every VLAN ask for `every_vlan`";
        return Err(at.field("trunk_vlans").field("vlans").refuse(why));
    }
    addresses(&spec.addressing, &at.field("static_addresses").field("cidrs"))?;
    gateways(spec, &at.field("gateways"))?;
    routes(spec, &at.field("routes"))
}

/// Names of our own form are ours: an operator can tell by the name what may be deleted by hand.
fn not_reserved(name: &LinkName, at: &At<'_>) -> Result<(), Failure> {
    match name.as_str().starts_with(RESERVED_PREFIX) {
        true => Err(at.refuse(format_args!(
            "{name} begins with \"{RESERVED_PREFIX}\", which marks names that the agent makes: use another"
        ))),
        false => Ok(()),
    }
}

/// What a kind of port needs of its VLAN.
fn vlan(spec: &AttachmentSpec, kind: Kind, at: &At<'_>) -> Result<(), Failure> {
    match (kind, &spec.vlan) {
        (Kind::LinuxBridge, None) | (Kind::Ovs, Some(_)) => Ok(()),
        (Kind::Ovs, None) => Err(at.field("vlan").refuse(
            "a port without a tag is a trunk of every VLAN: ask for one with --vlan, --trunk VID,… or --trunk all",
        )),
        (Kind::LinuxBridge, Some(vlan)) => {
            let field = match vlan {
                Vlan::Access(_) => "access_vlan",
                Vlan::Trunk(_) => "trunk_vlans",
                Vlan::Every => "every_vlan",
            };
            Err(at.field(field).refuse(
                "this agent has no VLANs on linux bridges yet: leave it out, or use an Open vSwitch bridge",
            ))
        }
    }
}

fn addresses(addressing: &Addressing, at: &At<'_>) -> Result<(), Failure> {
    let Addressing::Static(addresses) = addressing else { return Ok(()) };
    if addresses.is_empty() {
        return Err(at.refuse("give at least one address; for none ask for `no_address`"));
    }
    let mut seen = HashSet::new();
    for (index, address) in addresses.iter().map(|address| address.addr()).enumerate() {
        if !seen.insert(address) {
            return Err(at.item(index).refuse(format_args!("{address} is there twice; leave one out")));
        }
    }
    Ok(())
}

/// An IPv6 router is named by its link-local address more often than not (RFC 4861 §4.2).
fn next_hop(address: IpAddr) -> Result<(), &'static str> {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Ok(()),
        address => usable(address),
    }
}

fn is_same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// A next hop is another host on the link: neither this one, nor what stands for all of the subnet.
fn neighbour(address: IpAddr, own: &[InterfaceAddr], at: &At<'_>) -> Result<(), Failure> {
    next_hop(address).map_err(|why| at.refuse(format_args!("{address} is no router: {why}")))?;
    for own in own {
        if own.addr() == address {
            return Err(at.refuse(format_args!("{address} is the link's own address: give the router's")));
        }
        let in_subnet = IpNet::new(address, own.net().prefix_len());
        if own.net().contains(&address) && in_subnet.is_ok_and(is_reserved_in) {
            return Err(at.refuse(format_args!(
                "{address} is the number or the broadcast address of {}: give the router's address",
                own.net().trunc()
            )));
        }
    }
    Ok(())
}

fn gateways(spec: &AttachmentSpec, at: &At<'_>) -> Result<(), Failure> {
    let own = spec.addressing.addresses();
    for (index, &gateway) in spec.gateways.iter().enumerate() {
        let at = at.item(index);
        let (before, _) = spec.gateways.split_at(index);
        if before.iter().any(|&other| is_same_family(other, gateway)) {
            let family = family(gateway);
            return Err(at.refuse(format_args!("{gateway} is a second {family} gateway; leave one out")));
        }
        neighbour(gateway, own, &at)?;
        // pipework's `0/0@GATEWAY` has a gateway and no address: the guest's own client brings one.
        if !own.is_empty() && !own.iter().any(|own| is_same_family(own.addr(), gateway)) {
            let family = family(gateway);
            return Err(at.refuse(format_args!("the link has no {family} address to reach {gateway} from")));
        }
    }
    Ok(())
}

fn routes(spec: &AttachmentSpec, at: &At<'_>) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    for (index, route) in spec.routes.iter().enumerate() {
        let at = at.item(index);
        destination(route.destination, spec.addressing.addresses(), &at.field("destination"))?;
        if !seen.insert(route.destination) {
            let why = format_args!("there is a route to {} already; leave one out", route.destination);
            return Err(at.field("destination").refuse(why));
        }
        via(route, spec.addressing.addresses(), &at.field("via"))?;
    }
    Ok(())
}

fn destination(net: IpNet, own: &[InterfaceAddr], at: &At<'_>) -> Result<(), Failure> {
    if net.addr() != net.network() {
        let whole = net.trunc();
        return Err(at.refuse(format_args!("{net} has bits after its prefix: did you mean {whole}?")));
    }
    if net.prefix_len() == 0 {
        return Err(at.refuse(format_args!("{net} is the default route: use gateway")));
    }
    let is_mapped = matches!(net.network(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    if net.network().is_loopback() || is_mapped {
        return Err(at.refuse(format_args!("{net} never leaves a host")));
    }
    match own.iter().find(|own| own.net().trunc() == net) {
        Some(own) => {
            let own = own.net();
            Err(at.refuse(format_args!("{net} is the subnet of {own}, whose route the kernel makes itself")))
        }
        None => Ok(()),
    }
}

fn via(route: &Route, own: &[InterfaceAddr], at: &At<'_>) -> Result<(), Failure> {
    let Some(via) = route.via else { return Ok(()) };
    if !is_same_family(via, route.destination.addr()) {
        let destination = route.destination;
        let why = format_args!("{via} is {}, and {destination} is not", family(via));
        return Err(at.refuse(why));
    }
    neighbour(via, own, at)
}

pub(super) fn host(spec: &HostSpec, at: &At<'_>) -> Result<(), Failure> {
    switches(&spec.switches, &at.field("switches"))?;
    let at = at.field("attachments");
    let mut seen = Seen::default();
    for (index, asked) in spec.attachments.iter().enumerate() {
        let at = at.item(index);
        attachment(asked, &at)?;
        if let Some(switch) = spec.switches.iter().find(|switch| switch.name == asked.uplink) {
            on_switch(asked, switch, &at)?;
        }
        if let Some(name) = asked.host_ifname.as_ref().filter(|name| is_taken(name, &spec.switches)) {
            let why = format_args!("{name} is a switch or an uplink of this document: use another name");
            return Err(at.field("host_ifname").refuse(why));
        }
        seen.add(asked, &at)?;
    }
    Ok(())
}

fn is_taken(name: &LinkName, switches: &[SwitchSpec]) -> bool {
    let is_it = |switch: &SwitchSpec| switch.uplink.as_ref().is_some_and(|uplink| uplink.link == *name);
    switches.iter().any(|switch| switch.name == *name || is_it(switch))
}

fn switches(switches: &[SwitchSpec], at: &At<'_>) -> Result<(), Failure> {
    let mut names = HashSet::new();
    let mut holders: HashMap<&LinkName, &LinkName> = HashMap::new();
    for (index, switch) in switches.iter().enumerate() {
        let at = at.item(index);
        not_reserved(&switch.name, &at.field("name"))?;
        if !names.insert(&switch.name) {
            let why = format_args!("switch {} is there twice; leave one out", switch.name);
            return Err(at.field("name").refuse(why));
        }
        let Some(uplink) = &switch.uplink else { continue };
        let at = at.field("uplink");
        let (link, at_link) = (&uplink.link, at.field("link"));
        not_reserved(link, &at_link)?;
        if let Some(holder) = holders.insert(link, &switch.name) {
            return Err(at_link.refuse(format_args!("{link} is the uplink of {holder} already")));
        }
        if switches.iter().any(|switch| switch.name == *link) {
            return Err(at_link.refuse(format_args!("{link} is a switch of this document, not a link")));
        }
        if switch.kind == Kind::LinuxBridge && !uplink.trunk.is_empty() {
            let why = "only an Open vSwitch bridge limits the VLANs of its uplink: leave them out";
            return Err(at.field("trunk_vlans").refuse(why));
        }
    }
    Ok(())
}

/// What the switch that a document declares needs of an attachment, which may leave its kind open.
fn on_switch(asked: &AttachmentSpec, switch: &SwitchSpec, at: &At<'_>) -> Result<(), Failure> {
    match asked.kind {
        Some(kind) if kind != switch.kind => {
            let why = format_args!("{kind} does not fit switch {}, which is {}", switch.name, switch.kind);
            Err(at.field("kind").refuse(why))
        }
        Some(_) | None => vlan(asked, switch.kind, at),
    }
}

/// What the attachments of one document cannot share.
#[derive(Default)]
struct Seen {
    links: HashSet<(String, LinkName)>,
    host_ends: HashSet<LinkName>,
    macs: HashSet<(LinkName, crate::net::MacAddr)>,
    addresses: HashSet<(LinkName, Option<Vlan>, IpAddr)>,
}

impl Seen {
    fn add(&mut self, asked: &AttachmentSpec, at: &At<'_>) -> Result<(), Failure> {
        let (guest, ifname, uplink) = (&asked.guest, &asked.ifname, &asked.uplink);
        if !self.links.insert((guest.to_string(), ifname.clone())) {
            return Err(at.field("ifname").refuse(format_args!("{guest} has a link {ifname} already")));
        }
        if let Some(name) = &asked.host_ifname
            && !self.host_ends.insert(name.clone())
        {
            return Err(at.field("host_ifname").refuse(format_args!("there is a link {name} already")));
        }
        if let Some(mac) = asked.mac
            && !self.macs.insert((uplink.clone(), mac))
        {
            return Err(at
                .field("mac")
                .refuse(format_args!("there is a link with {mac} on {uplink} already")));
        }
        let at = at.field("static_addresses");
        let at = at.field("cidrs");
        for (index, address) in asked.addressing.addresses().iter().map(|own| own.addr()).enumerate() {
            if !self.addresses.insert((uplink.clone(), asked.vlan.clone(), address)) {
                let why = format_args!("{address} is in use on {uplink} already");
                return Err(at.item(index).refuse(why));
            }
        }
        Ok(())
    }
}
