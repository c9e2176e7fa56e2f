//! The segments: a VLAN, a subnet, and the addresses that belong to it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use pipewright_api::net::{LinkName, VlanId, usable};
use pipewright_api::spec::SwitchKind;

use super::{Known, Segment, Switch, in_order, unknown};
use crate::fleet::{self, FleetFile};
use crate::name::Name;
use crate::place::{At, Notes};

pub(super) fn read(
    file: &FleetFile,
    known: &Known,
    switches: &BTreeMap<LinkName, Switch>,
    notes: &mut Notes,
) -> BTreeMap<Name, Segment> {
    let mut read: BTreeMap<Name, Segment> = BTreeMap::new();
    for (key, at) in in_order(&file.segments) {
        let path = format!("segments.{key}");
        let name = notes.take(at.place, &*path, key.parse::<Name>());
        let segment = segment(at, &path, known, switches, notes);
        if let (Some(name), Some(segment)) = (name, segment) {
            let is_linux = switches.get(&segment.switch).is_some_and(|on| on.kind == SwitchKind::LinuxBridge);
            // A VLAN that is missing, or cannot be, was noted; what it would share is not known.
            let is_untagged = is_linux && at.value.vlan.is_none();
            apart(&segment, at, &path, is_untagged, &read, notes);
            if is_linux && at.value.vlan.is_some() == segment.vlan.is_some() {
                alike(&segment, at, &path, &read, notes);
            }
            read.insert(name, segment);
        }
    }
    read
}

fn segment(
    at: &At<fleet::Segment>,
    path: &str,
    known: &Known,
    switches: &BTreeMap<LinkName, Switch>,
    notes: &mut Notes,
) -> Option<Segment> {
    let segment = &at.value;
    let switch = &segment.switch;
    if !known.switches.contains(&switch.value) {
        unknown(notes, switch, &format!("{path}.switch"), "switch", "switches", &known.switches);
    }
    let found = switch.value.parse::<LinkName>().ok().and_then(|name| switches.get_key_value(&name));
    let vlan = match found {
        Some((_, found)) => vlan(at, path, found.kind, notes),
        None => None,
    };
    let subnet = subnet(&segment.subnet, &format!("{path}.subnet"), notes);
    let range = subnet.zip(segment.range.as_ref());
    let range = range.and_then(|(subnet, at)| range_in(subnet, at, &format!("{path}.range"), notes));
    let gateway = subnet.zip(segment.gateway.as_ref());
    let gateway = gateway.and_then(|(subnet, at)| gateway_in(subnet, at, &format!("{path}.gateway"), notes));
    let duplicate_check = segment.check_duplicates.as_ref().map(|at| at.value.into()).unwrap_or_default();
    Some(Segment { switch: found?.0.clone(), vlan, subnet: subnet?, range, gateway, duplicate_check })
}

fn vlan(at: &At<fleet::Segment>, path: &str, kind: SwitchKind, notes: &mut Notes) -> Option<VlanId> {
    let path = format!("{path}.vlan");
    match (kind, &at.value.vlan) {
        (SwitchKind::Ovs | SwitchKind::LinuxBridge, Some(vlan)) => {
            notes.take(vlan.place, path, VlanId::try_from(vlan.value))
        }
        (SwitchKind::Ovs, None) => {
            let message = "an Open vSwitch port without a tag is a trunk of every VLAN: give one, 1 to 4094";
            notes.add(at.place, path, message);
            None
        }
        (SwitchKind::LinuxBridge, None) => None,
    }
}

fn subnet(at: &At<String>, path: &str, notes: &mut Notes) -> Option<IpNet> {
    let text = &at.value;
    let Ok(net) = text.parse::<IpNet>() else {
        let message = format!("{text:?} is not a subnet: write it as 192.0.2.0/24 or 2001:db8::/64");
        notes.add(at.place, path, message);
        return None;
    };
    if net.addr() != net.network() {
        let message = format!("{net} has bits after its prefix: did you mean {}?", net.trunc());
        notes.add(at.place, path, message);
        return None;
    }
    if net.prefix_len() == 0 {
        notes.add(at.place, path, format!("{net} takes in every address: give the segment's own subnet"));
        return None;
    }
    Some(net)
}

fn range_in(subnet: IpNet, at: &At<String>, path: &str, notes: &mut Notes) -> Option<(IpAddr, IpAddr)> {
    let ends = at.value.split_once('-');
    let ends = ends.and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    let Some((first, last)) = ends else {
        let message =
            format!("{:?} is not a range: write it as FIRST-LAST, such as 192.0.2.10-192.0.2.99", at.value);
        notes.add(at.place, path, message);
        return None;
    };
    let ends: [IpAddr; 2] = [first, last];
    let outside: Vec<String> =
        ends.iter().filter(|end| !subnet.contains(*end)).map(ToString::to_string).collect();
    if !outside.is_empty() {
        let message = format!("{} is outside the subnet {subnet}", outside.join(" and "));
        notes.add(at.place, path, message);
        return None;
    }
    if first > last {
        notes.add(at.place, path, format!("it ends before it begins: write {last}-{first}"));
        return None;
    }
    Some((first, last))
}

fn gateway_in(subnet: IpNet, at: &At<String>, path: &str, notes: &mut Notes) -> Option<IpAddr> {
    let address = address(at, path, notes)?;
    match stands_for_a_host(address, subnet) {
        Ok(()) => Some(address),
        Err(why) => {
            notes.add(at.place, path, why);
            None
        }
    }
}

/// Reads an address without a prefix length.
pub(super) fn address(at: &At<String>, path: &str, notes: &mut Notes) -> Option<IpAddr> {
    let text = &at.value;
    let read = text.parse::<IpAddr>();
    let read = read.map_err(|_| format!("{text:?} is not an address: write it as 192.0.2.1 or 2001:db8::1"));
    notes.take(at.place, path, read)
}

/// Whether an address is one that a host of the subnet can have.
pub(super) fn stands_for_a_host(address: IpAddr, subnet: IpNet) -> Result<(), String> {
    usable(address).map_err(|why| format!("{address} cannot be a host's: {why}"))?;
    if !subnet.contains(&address) {
        return Err(format!("{address} is outside the subnet {subnet}"));
    }
    // A /31 and a /32 have neither (RFC 3021), and IPv6 has no broadcast.
    let has_reserved = matches!(subnet, IpNet::V4(net) if net.prefix_len() <= 30);
    if has_reserved && address == subnet.network() {
        return Err(format!("{address} is the number of the subnet {subnet}: use one after it"));
    }
    if has_reserved && address == subnet.broadcast() {
        return Err(format!("{address} is the broadcast address of {subnet}: use one before it"));
    }
    Ok(())
}

/// An uplink that carries tagged frames carries no others.
fn alike(
    segment: &Segment,
    at: &At<fleet::Segment>,
    path: &str,
    others: &BTreeMap<Name, Segment>,
    notes: &mut Notes,
) {
    let differs =
        |other: &Segment| other.switch == segment.switch && other.vlan.is_some() != segment.vlan.is_some();
    if let Some((name, other)) = others.iter().find(|(_, other)| differs(other)) {
        let (has, path) = (if other.vlan.is_some() { "has a" } else { "has no" }, format!("{path}.vlan"));
        let message = format!(
            "segment {name} on {} {has} VLAN: the segments of a linux bridge all have one, or none",
            segment.switch
        );
        notes.add(at.value.vlan.as_ref().map_or(at.place, |vlan| vlan.place), path, message);
    }
}

/// Two segments of one VLAN are one layer 2 network, which the file says they are not.
fn apart(
    segment: &Segment,
    at: &At<fleet::Segment>,
    path: &str,
    is_untagged: bool,
    others: &BTreeMap<Name, Segment>,
    notes: &mut Notes,
) {
    let same = |other: &Segment| other.switch == segment.switch && other.vlan == segment.vlan;
    for (name, other) in others.iter().filter(|(_, other)| same(other)) {
        let Segment { switch, subnet, .. } = segment;
        if let Some(vlan) = segment.vlan {
            let message = format!("VLAN {vlan} on {switch} is segment {name} already: use another");
            let place = at.value.vlan.as_ref().map_or(at.place, |vlan| vlan.place);
            notes.add(place, format!("{path}.vlan"), message);
        } else if is_untagged && (subnet.contains(&other.subnet) || other.subnet.contains(subnet)) {
            let message = format!(
                "{subnet} overlaps {} of segment {name}, and both are on {switch} without a VLAN: use another",
                other.subnet
            );
            notes.add(at.value.subnet.place, format!("{path}.subnet"), message);
        }
    }
}
