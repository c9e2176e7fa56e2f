//! Whether the parts of a host's document fit together.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::super::At;
use super::attachment::{attachment, vlan};
use super::not_reserved;
use crate::net::{LinkName, MacAddr};
use crate::reason::Failure;
use crate::spec::{AttachmentSpec, HostSpec, Kind, SwitchSpec, Uplink, Vlan};

pub(in crate::convert) fn host(spec: &HostSpec, at: &At<'_>) -> Result<(), Failure> {
    switches(&spec.switches, &at.field("switches"))?;
    let at = at.field("attachments");
    let mut seen = Seen::default();
    for (index, asked) in spec.attachments.iter().enumerate() {
        let at = at.item(index);
        attachment(asked, &at)?;
        if let Some(switch) = spec.switches.iter().find(|switch| asked.uplink.link() == Some(&switch.name)) {
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
    }
    Ok(())
}

/// What the switch that a document declares needs of an attachment, which may leave its kind open.
fn on_switch(asked: &AttachmentSpec, switch: &SwitchSpec, at: &At<'_>) -> Result<(), Failure> {
    match asked.kind {
        Some(kind) if kind != Kind::from(switch.kind) => {
            let why = format_args!("{kind} does not fit switch {}, which is {}", switch.name, switch.kind);
            Err(at.field("kind").refuse(why))
        }
        Some(_) | None => vlan(asked, switch.kind.into(), at),
    }
}

/// What the attachments of one document cannot share.
#[derive(Default)]
struct Seen {
    links: HashSet<(String, LinkName)>,
    host_ends: HashSet<LinkName>,
    macs: HashSet<(Uplink, MacAddr)>,
    addresses: HashSet<(Uplink, Option<Vlan>, IpAddr)>,
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
