//! Whether the parts of one attachment fit together.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::At;
use super::{ipoib, mode, not_reserved};
use crate::net::{InterfaceAddr, is_reserved_in, usable};
use crate::reason::Failure;
use crate::spec::{
    Addressing, AttachmentSpec, DuplicateCheck, Follow, IpvlanMode, Kind, MacvlanMode, Mode, Route,
    RouteDetails, RouteKind, RouteScope, TableId, Uplink, Vlan,
};

pub(in crate::convert) fn attachment(spec: &AttachmentSpec, at: &At<'_>) -> Result<(), Failure> {
    not_reserved(&spec.ifname, &at.field("ifname"))?;
    uplink(spec, at)?;
    if let Some(name) = &spec.host_ifname {
        let at = at.field("host_ifname");
        not_reserved(name, &at)?;
        if Some(name) == spec.uplink.link() {
            return Err(at.refuse(format_args!("{name} is the name of the bridge: use another")));
        }
    }
    mode::fits(spec, &at.field("mode"))?;
    peer(spec, at)?;
    host_reach(spec, &at.field("host_reach"))?;
    if let Some(kind) = spec.known_kind() {
        vlan(spec, kind, at)?;
        without_host_end(spec, kind, at)?;
    }
    ipoib::fits(spec, at)?;
    if matches!(&spec.vlan, Some(Vlan::Trunk(vlans)) if vlans.is_empty()) {
        // Open vSwitch takes an empty list for every VLAN.
        let why = "give at least one VLAN; for every VLAN ask for `every_vlan`";
        return Err(at.field("trunk_vlans").field("vlans").refuse(why));
    }
    addresses(&spec.addressing, &at.field("static_addresses").field("cidrs"))?;
    automatic(spec, at)?;
    duplicate_check(spec, &at.field("duplicate_check"))?;
    follow(spec, &at.field("follow"))?;
    gateways(spec, &at.field("gateways"))?;
    routes(spec, &at.field("routes"))
}

/// What a kind can be plugged into.
fn uplink(spec: &AttachmentSpec, at: &At<'_>) -> Result<(), Failure> {
    let at_kind = at.field("kind");
    let at = at.field("uplink");
    match (&spec.uplink, spec.kind) {
        (Uplink::Link(name), _) if name.is_derived() => {
            Err(at.refuse(format_args!("{name} is the host's end of a link of ours: give a bridge or a NIC")))
        }
        (Uplink::Link(name), Some(Kind::Dummy)) => {
            Err(at.refuse(format_args!("a dummy link is on no other: give dummy instead of {name}")))
        }
        (Uplink::Mac(_), Some(Kind::Dummy)) => {
            Err(at.refuse("a dummy link is on no other: give dummy instead of an address"))
        }
        (Uplink::Dummy, Some(kind)) if kind != Kind::Dummy => {
            Err(at_kind.refuse(format_args!("{kind} does not fit the uplink dummy: leave it out")))
        }
        (Uplink::Mac(_), Some(kind @ (Kind::LinuxBridge | Kind::Ovs))) => {
            Err(at_kind.refuse(format_args!("{kind} needs a bridge, which is given by its name")))
        }
        (Uplink::Link(_) | Uplink::Mac(_), Some(Kind::Ptp)) => {
            Err(at.refuse("a ptp leads to the host or to another guest: give host or guest:GUEST"))
        }
        (Uplink::Host | Uplink::Guest(_), Some(kind)) if kind != Kind::Ptp => {
            Err(at_kind.refuse(format_args!("{kind} does not fit the uplink {}: leave it out", spec.uplink)))
        }
        (Uplink::Guest(guest), _) if *guest == spec.guest => {
            Err(at.refuse(format_args!("{guest} is the guest itself: give another")))
        }
        (Uplink::Link(_) | Uplink::Mac(_) | Uplink::Dummy | Uplink::Host | Uplink::Guest(_), _) => Ok(()),
    }
}

/// Only some runtimes tell when a guest of that name starts.
fn follow(spec: &AttachmentSpec, at: &At<'_>) -> Result<(), Failure> {
    match (spec.follow, spec.not_to_be_followed()) {
        (Some(Follow::Restarts), Some(guest)) => Err(at.refuse(format_args!(
            "{guest} is no guest of Docker or Podman, which alone are followed: leave it out"
        ))),
        (Some(Follow::Restarts | Follow::Once) | None, _) => Ok(()),
    }
}

/// The kernel passes frames between a macvlan and the host only over a second macvlan in the host.
fn host_reach(spec: &AttachmentSpec, at: &At<'_>) -> Result<(), Failure> {
    if !spec.host_reach {
        return Ok(());
    }
    match (spec.known_kind(), spec.mode) {
        (Some(Kind::Ipvlan), _) => {
            return Err(at.refuse(
                "what an ipvlan answers goes to its parent itself, past the host's own: use macvlan",
            ));
        }
        (Some(kind), _) if kind != Kind::Macvlan => {
            return Err(
                at.refuse(format_args!("only a macvlan keeps the host away, not {kind}: leave it out"))
            );
        }
        (_, Some(mode)) if mode != Mode::Macvlan(MacvlanMode::Bridge) => {
            return Err(
                at.refuse(format_args!("in mode {mode} no other macvlan reaches the guest: use bridge"))
            );
        }
        (_, _) => {}
    }
    match &spec.addressing {
        Addressing::None if spec.dhcp6.is_none() => {
            Err(at.refuse("there is no address to reach: give one with --ip, --dhcp or --dhcp6"))
        }
        Addressing::Static(_) | Addressing::Dhcp(_) | Addressing::None => Ok(()),
    }
}

/// What is said of the other end, which has its name in the other guest.
fn peer(spec: &AttachmentSpec, at: &At<'_>) -> Result<(), Failure> {
    let (at_ifname, at_cidrs) = (at.field("peer_ifname"), at.field("peer_cidrs"));
    match (&spec.peer.ifname, &spec.uplink) {
        (Some(name), Uplink::Guest(_)) => not_reserved(name, &at_ifname)?,
        (Some(_), Uplink::Host) => return Err(at_ifname.refuse("the host's end is named by host_ifname")),
        (Some(_), _) => return Err(at_ifname.refuse("only a link to another guest has a named other end")),
        (None, _) => {}
    }
    let is_ptp = matches!(spec.uplink, Uplink::Host | Uplink::Guest(_));
    if !is_ptp && !spec.peer.addresses.is_empty() {
        return Err(
            at_cidrs.refuse("only a link to the host or to another guest gives its other end addresses")
        );
    }
    if is_ptp && matches!(spec.addressing, Addressing::Dhcp(_)) {
        let why = "no DHCP server is on a link before it is made: give addresses, or none";
        return Err(at.field("dhcp").refuse(why));
    }
    let mut seen: HashSet<IpAddr> = spec.addressing.addresses().iter().map(|own| own.addr()).collect();
    for (index, address) in spec.peer.addresses.iter().map(|address| address.addr()).enumerate() {
        if !seen.insert(address) {
            let why = format_args!("{address} is an address of this link already; leave one out");
            return Err(at_cidrs.item(index).refuse(why));
        }
    }
    Ok(())
}

/// What cannot be chosen of a link that is not one of a pair.
fn without_host_end(spec: &AttachmentSpec, kind: Kind, at: &At<'_>) -> Result<(), Failure> {
    if !kind.has_host_end(&spec.uplink) && spec.host_ifname.is_some() {
        return Err(at.field("host_ifname").refuse(format_args!("{kind} has no host's end: leave it out")));
    }
    let is_passthru = spec.mode == Some(Mode::Macvlan(MacvlanMode::Passthru));
    if spec.mac.is_some() && (kind == Kind::Ipvlan || is_passthru) {
        let why = format_args!("this {kind} has the MAC address of its parent: leave it out");
        return Err(at.field("mac").refuse(why));
    }
    Ok(())
}

/// What a kind of port needs of its VLAN.
pub(super) fn vlan(spec: &AttachmentSpec, kind: Kind, at: &At<'_>) -> Result<(), Failure> {
    match (kind, &spec.vlan) {
        (
            Kind::LinuxBridge
            | Kind::Macvlan
            | Kind::Ipvlan
            | Kind::Dummy
            | Kind::Ptp
            | Kind::Direct
            | Kind::Ipoib,
            None,
        )
        | (Kind::LinuxBridge | Kind::Ovs, Some(_))
        | (Kind::Macvlan | Kind::Ipvlan | Kind::Vlan | Kind::Direct, Some(Vlan::Access(_))) => Ok(()),
        (Kind::Vlan, None) => Err(at.field("vlan").refuse("a sub-interface is of one VLAN: give it with --vlan")),
        (Kind::Macvlan | Kind::Ipvlan | Kind::Vlan | Kind::Direct, Some(Vlan::Trunk(_))) => Err(at
            .field("trunk_vlans")
            .refuse(format_args!("{kind} is on one VLAN at most: give it with --vlan, or leave it out for all"))),
        (Kind::Macvlan | Kind::Ipvlan | Kind::Vlan | Kind::Direct, Some(Vlan::Every)) => Err(at
            .field("every_vlan")
            .refuse(format_args!("{kind} is on one VLAN at most: give it with --vlan, or leave it out for all"))),
        (Kind::Dummy | Kind::Ptp, Some(vlan)) => {
            Err(at.field(field_of(vlan)).refuse(format_args!("{kind} carries no VLAN: leave it out")))
        }
        (Kind::Ipoib, Some(vlan)) => Err(at
            .field(field_of(vlan))
            .refuse("InfiniBand has partitions instead of VLANs: give one with --pkey, or leave it out")),
        (Kind::Ovs, None) => Err(at.field("vlan").refuse(
            "a port without a tag is a trunk of every VLAN: ask for one with --vlan, --trunk VID,… or --trunk all",
        )),
    }
}

fn field_of(vlan: &Vlan) -> &'static str {
    match vlan {
        Vlan::Access(_) => "access_vlan",
        Vlan::Trunk(_) => "trunk_vlans",
        Vlan::Every => "every_vlan",
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

/// Why nobody hears a link's questions to all; `None` when somebody may.
fn hears_nobody(spec: &AttachmentSpec) -> Option<&'static str> {
    match (spec.known_kind(), spec.mode) {
        (Some(Kind::Dummy), _) => Some("a dummy link has no neighbours"),
        (_, Some(Mode::Ipvlan(IpvlanMode::L3 | IpvlanMode::L3s))) => {
            Some("an ipvlan in mode l3 or l3s hears no broadcasts")
        }
        _ => None,
    }
}

/// Routers and servers are asked by multicast.
fn automatic(spec: &AttachmentSpec, at: &At<'_>) -> Result<(), Failure> {
    let field = match (spec.slaac, &spec.dhcp6) {
        (true, _) => "slaac",
        (false, Some(_)) => "dhcp6",
        (false, None) => return Ok(()),
    };
    match hears_nobody(spec) {
        Some(why) => Err(at.field(field).refuse(format_args!("{why}: leave it out"))),
        None => Ok(()),
    }
}

/// Somebody must hear the question.
fn duplicate_check(spec: &AttachmentSpec, at: &At<'_>) -> Result<(), Failure> {
    let hears_nobody = hears_nobody(spec).filter(|_| spec.duplicate_check != DuplicateCheck::Off);
    let is_automatic = spec.slaac || spec.dhcp6.is_some();
    match (hears_nobody, &spec.addressing) {
        (Some(why), _) => Err(at.refuse(format_args!("{why}: leave it out"))),
        (None, Addressing::None) if spec.duplicate_check != DuplicateCheck::Off && !is_automatic => {
            Err(at.refuse("there is no address to look for: leave it out"))
        }
        (None, Addressing::Static(_) | Addressing::Dhcp(_) | Addressing::None) => Ok(()),
    }
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
        let is_automatic = gateway.is_ipv6() && (spec.slaac || spec.dhcp6.is_some());
        if !is_automatic && !own.is_empty() && !own.iter().any(|own| is_same_family(own.addr(), gateway)) {
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
        let table = route.details.table.unwrap_or(TableId::MAIN);
        if route.destination.prefix_len() == 0 && table == TableId::MAIN {
            let why = format_args!("{} is the default route: use gateway", route.destination);
            return Err(at.field("destination").refuse(why));
        }
        one_route(route, spec.addressing.addresses(), &at)?;
        if !seen.insert((route.destination, table, route.details.metric)) {
            let why = format_args!("there is a route to {} already; leave one out", route.destination);
            return Err(at.field("destination").refuse(why));
        }
    }
    Ok(())
}

/// A route that is added to a link later; what the link's addresses are, the guest knows.
pub(in crate::convert) fn added_route(route: &Route, at: &At<'_>) -> Result<(), Failure> {
    one_route(route, &[], at)
}

fn one_route(route: &Route, own: &[InterfaceAddr], at: &At<'_>) -> Result<(), Failure> {
    let own_in_main = if route.details.table.is_none_or(|table| table == TableId::MAIN) { own } else { &[] };
    destination(route.destination, own_in_main, &at.field("destination"))?;
    via(route, own, &at.field("via"))?;
    let RouteDetails { kind, source, scope, .. } = route.details;
    if kind != RouteKind::Unicast && route.via.is_some() {
        return Err(at
            .field("via")
            .refuse(format_args!("a route of type {kind} leads nowhere: leave it out")));
    }
    if let Some(source) = source
        && !is_same_family(source, route.destination.addr())
    {
        let why = format_args!("{source} is {}, and {} is not", family(source), route.destination);
        return Err(at.field("source").refuse(why));
    }
    let is_v4 = route.destination.addr().is_ipv4();
    match scope {
        Some(_) if !is_v4 || kind != RouteKind::Unicast => {
            Err(at.field("scope").refuse("only unicast routes of IPv4 have one: leave it out"))
        }
        Some(RouteScope::Link) if route.via.is_some() => {
            Err(at.field("scope").refuse("what is behind a next hop is not on the link: leave it out"))
        }
        Some(_) | None => Ok(()),
    }
}

fn destination(net: IpNet, own: &[InterfaceAddr], at: &At<'_>) -> Result<(), Failure> {
    if net.addr() != net.network() {
        let whole = net.trunc();
        return Err(at.refuse(format_args!("{net} has bits after its prefix: did you mean {whole}?")));
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
