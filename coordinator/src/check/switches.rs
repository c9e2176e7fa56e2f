//! The switches: which hosts have them, and what joins them.

use std::collections::BTreeMap;

use pipewright_api::net::LinkName;
use pipewright_api::spec;

use super::{Known, Switch, in_order, unknown};
use crate::fleet::{self, FleetFile, HostAddress, SwitchKind, Uplink};
use crate::name::Name;
use crate::place::{At, Notes};

pub(super) fn read(file: &FleetFile, known: &Known, notes: &mut Notes) -> BTreeMap<LinkName, Switch> {
    let mut read = BTreeMap::new();
    for (key, at) in in_order(&file.switches) {
        let path = format!("switches.{key}");
        let name = notes.take(at.place, &*path, key.parse::<LinkName>());
        let switch = switch(at, &path, known, notes);
        if let Some(name) = name {
            read.insert(name, switch);
        }
    }
    no_shared_uplink(file, &read, notes);
    read
}

fn switch(at: &At<fleet::Switch>, path: &str, known: &Known, notes: &mut Notes) -> Switch {
    let switch = &at.value;
    let kind = match switch.kind.value {
        SwitchKind::Linux => spec::SwitchKind::LinuxBridge,
        SwitchKind::Ovs => spec::SwitchKind::Ovs,
    };
    if let Some(At { value: HostAddress::Move, place }) = &switch.host_address {
        notes.add(
            *place,
            format!("{path}.host_address"),
            "move is not in this version: it would cut the host off without a confirmation; use an uplink that has no \
             address, and leave this out",
        );
    }
    let hosts = hosts(at, path, known, notes);
    let mut uplinks: BTreeMap<Name, Option<LinkName>> = hosts.into_iter().map(|host| (host, None)).collect();
    if let Some(uplink) = &switch.uplink {
        read_uplinks(uplink, &format!("{path}.uplink"), known, &mut uplinks, notes);
    }
    Switch { kind, uplinks }
}

fn hosts(at: &At<fleet::Switch>, path: &str, known: &Known, notes: &mut Notes) -> Vec<Name> {
    let path = format!("{path}.hosts");
    if at.value.hosts.is_empty() {
        notes.add(at.place, &*path, "a switch is on at least one host: name it here");
    }
    let mut hosts: Vec<Name> = Vec::new();
    for (index, host) in at.value.hosts.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if !known.hosts.contains(&host.value) {
            unknown(notes, host, &path, "host", "hosts", &known.hosts);
            continue;
        }
        // A name that is defined and cannot be one was noted at its definition.
        let Ok(name) = host.value.parse::<Name>() else { continue };
        if hosts.contains(&name) {
            notes.add(host.place, path, format!("{name} is there twice; leave one out"));
            continue;
        }
        hosts.push(name);
    }
    hosts
}

fn read_uplinks(
    uplink: &At<Uplink>,
    path: &str,
    known: &Known,
    uplinks: &mut BTreeMap<Name, Option<LinkName>>,
    notes: &mut Notes,
) {
    match &uplink.value {
        Uplink::Everywhere(link) => {
            let link = notes.take(uplink.place, path, link.parse::<LinkName>());
            uplinks.values_mut().for_each(|of_host| of_host.clone_from(&link));
        }
        Uplink::PerHost(links) => {
            for (host, link) in links {
                let path = format!("{path}.{host}");
                let name = notes.take(link.place, &*path, link.value.parse::<LinkName>());
                if !known.hosts.contains(host) {
                    let at = At { value: host.clone(), place: link.place };
                    unknown(notes, &at, &path, "host", "hosts", &known.hosts);
                    continue;
                }
                let Ok(host) = host.parse::<Name>() else { continue };
                match uplinks.get_mut(&host) {
                    Some(of_host) => *of_host = name,
                    None => {
                        let message =
                            format!("the switch is not on {host}: add it to `hosts`, or leave this out");
                        notes.add(link.place, path, message);
                    }
                }
            }
            for host in uplinks.keys().filter(|host| !links.contains_key(host.as_str())) {
                let message =
                    format!("there is no uplink for {host}: add `{host}: LINK`, or take it out of `hosts`");
                notes.add(uplink.place, path, message);
            }
        }
    }
}

/// A link is a port of one bridge, and no bridge of the fleet.
fn no_shared_uplink(file: &FleetFile, switches: &BTreeMap<LinkName, Switch>, notes: &mut Notes) {
    let mut holders: BTreeMap<(&Name, &LinkName), &LinkName> = BTreeMap::new();
    for (key, at) in in_order(&file.switches) {
        let found = key.parse::<LinkName>().ok().and_then(|name| switches.get_key_value(&name));
        let (Some((name, switch)), Some(at)) = (found, &at.value.uplink) else { continue };
        let path = format!("switches.{name}.uplink");
        for (host, link) in &switch.uplinks {
            let Some(link) = link else { continue };
            if let Some(holder) = holders.insert((host, link), name) {
                let message =
                    format!("{link} on {host} is the uplink of {holder} already; a link is in one switch");
                notes.add(at.place, &*path, message);
            }
            if switches.contains_key(link) {
                notes.add(
                    at.place,
                    &*path,
                    format!("{link} is a switch of this fleet, not a link of {host}"),
                );
            }
        }
    }
}
