//! The attachments: which guest is where, and under which address.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

use ipnet::IpNet;
use pipewright_api::labels::Labels;
use pipewright_api::net::{InterfaceAddr, LinkName, MacAddr, Mtu};
use pipewright_api::spec::{Addressing, AttachmentSpec, GuestRef, Peer, Route, Vlan};

use super::segments::{address, stands_for_a_host};
use super::{Attachment, Known, Segment, Switch, listed, unknown};
use crate::fleet::{self, FleetFile};
use crate::name::Name;
use crate::place::{At, Notes};

/// Name of a link in a guest when the file does not say.
const IFNAME_DEFAULT: &str = "eth1";

pub(super) fn read(
    file: &FleetFile,
    known: &Known,
    switches: &BTreeMap<LinkName, Switch>,
    segments: &BTreeMap<Name, Segment>,
    notes: &mut Notes,
) -> Vec<Attachment> {
    let mut seen = Seen::default();
    let mut read = Vec::new();
    for (index, at) in file.attachments.iter().enumerate() {
        let reader = Reader { at, path: format!("attachments[{index}]"), known, switches, segments };
        read.extend(reader.attachment(&mut seen, notes));
    }
    read
}

/// Reads one attachment of the file.
struct Reader<'a> {
    at: &'a At<fleet::Attachment>,
    path: String,
    known: &'a Known,
    switches: &'a BTreeMap<LinkName, Switch>,
    segments: &'a BTreeMap<Name, Segment>,
}

impl Reader<'_> {
    fn path(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    /// Reads all of it, also when its beginning is wrong.
    fn attachment(&self, seen: &mut Seen, notes: &mut Notes) -> Option<Attachment> {
        let before = notes.count();
        let asked = &self.at.value;
        let host = self.host(notes);
        let guest = notes.take(asked.guest.place, self.path("guest"), asked.guest.value.parse::<GuestRef>());
        let segment = self.segment(notes);
        if let (Some(host), Some((name, segment))) = (&host, segment) {
            self.on_host(host, name, segment, notes);
        }
        let ip = self.ip(segment.map(|(_, segment)| segment), notes);
        let gateways = self.gateways(segment.map(|(_, segment)| segment), notes);
        let routes = self.routes(notes);
        let ifname = match &asked.ifname {
            Some(at) => notes.take(at.place, self.path("ifname"), at.value.parse::<LinkName>()),
            None => notes.take(self.at.place, self.path("ifname"), IFNAME_DEFAULT.parse::<LinkName>()),
        };
        let mac = asked.mac.as_ref();
        let mac = mac.and_then(|at| notes.take(at.place, self.path("mac"), at.value.parse::<MacAddr>()));
        let mtu = asked.mtu.as_ref();
        let mtu = mtu.and_then(|at| notes.take(at.place, self.path("mtu"), Mtu::try_from(at.value)));
        let link = host.clone().zip(guest.clone()).zip(ifname.clone());
        if let Some(((host, guest), ifname)) = link {
            self.own_link(host, &guest, ifname, seen, notes);
        }
        if let Some((name, _)) = segment {
            self.own_addresses(name, ip, mac, seen, notes);
        }
        if notes.count() > before {
            return None;
        }
        let (name, segment) = segment?;
        let duplicate_check = asked.check_duplicates.as_ref().map(|at| at.value.into());
        let spec = AttachmentSpec {
            guest: guest?,
            ifname: ifname?,
            uplink: segment.switch.clone().into(),
            kind: self.switches.get(&segment.switch).map(|switch| switch.kind.into()),
            mode: None,
            host_ifname: None,
            mac,
            mtu,
            pkey: None,
            vlan: segment.vlan.map(Vlan::Access),
            addressing: Addressing::Static(vec![ip?]),
            slaac: false,
            dhcp6: None,
            gateways,
            routes,
            duplicate_check: duplicate_check.unwrap_or(segment.duplicate_check),
            host_reach: false,
            peer: Peer::default(),
            labels: Labels::default(),
            follow: None,
        };
        self.fits_together(&spec, notes);
        Some(Attachment { host: host?, segment: name.clone(), spec })
    }

    /// The rules that an agent has for every attachment.
    fn fits_together(&self, spec: &AttachmentSpec, notes: &mut Notes) {
        if let Err(failure) = spec.check() {
            let field = failure.fact("field").unwrap_or_default().trim_start_matches("spec.").to_owned();
            let message = failure.message();
            let message = message.strip_prefix(&format!("spec.{field}: ")).unwrap_or(message);
            notes.add(self.at.place, self.path(&field), message);
        }
    }

    fn host(&self, notes: &mut Notes) -> Option<Name> {
        let host = &self.at.value.host;
        if !self.known.hosts.contains(&host.value) {
            unknown(notes, host, &self.path("host"), "host", "hosts", &self.known.hosts);
        }
        // A name that is defined and cannot be one was noted at its definition.
        host.value.parse().ok()
    }

    fn segment(&self, notes: &mut Notes) -> Option<(&Name, &Segment)> {
        let segment = &self.at.value.segment;
        if !self.known.segments.contains(&segment.value) {
            unknown(notes, segment, &self.path("segment"), "segment", "segments", &self.known.segments);
        }
        self.segments.get_key_value(&segment.value.parse::<Name>().ok()?)
    }

    fn on_host(&self, host: &Name, name: &Name, segment: &Segment, notes: &mut Notes) {
        let Some(switch) = self.switches.get(&segment.switch) else { return };
        if self.known.hosts.contains(host.as_str()) && !switch.uplinks.contains_key(host) {
            let there: Vec<String> = switch.uplinks.keys().map(ToString::to_string).collect();
            let message = format!(
                "segment {name} is on switch {0}, which {host} does not have (it is on {1}): add {host} to \
                 switches.{0}.hosts",
                segment.switch,
                listed(&there)
            );
            notes.add(self.at.value.segment.place, self.path("segment"), message);
        }
    }

    fn ip(&self, segment: Option<&Segment>, notes: &mut Notes) -> Option<InterfaceAddr> {
        let path = self.path("ip");
        let Some(at) = &self.at.value.ip else {
            let example =
                segment.map_or_else(|| "192.0.2.10/24".to_owned(), |segment| example(segment.subnet));
            notes.add(self.at.place, path, format!("give an address, such as {example}"));
            return None;
        };
        if at.value == "auto" {
            let example =
                segment.map_or_else(|| "192.0.2.10/24".to_owned(), |segment| example(segment.subnet));
            let message = format!("auto is not in this version: give an address, such as {example}");
            notes.add(at.place, path, message);
            return None;
        }
        // First against the subnet: "outside 10.0.0.0/24" helps more than "the broadcast address of 10.0.1.255/24".
        if let (Some(segment), Ok(net)) = (segment, at.value.parse::<IpNet>())
            && let Err(why) = of_subnet(net, segment)
        {
            notes.add(at.place, path, why);
            return None;
        }
        notes.take(at.place, path, at.value.parse::<InterfaceAddr>())
    }

    fn gateways(&self, segment: Option<&Segment>, notes: &mut Notes) -> Vec<IpAddr> {
        let path = self.path("gateway");
        match &self.at.value.gateway {
            Some(at) if at.value == "none" => Vec::new(),
            Some(at) => address(at, &path, notes).into_iter().collect(),
            None => segment.and_then(|segment| segment.gateway).into_iter().collect(),
        }
    }

    fn routes(&self, notes: &mut Notes) -> Vec<Route> {
        let routes = self.at.value.routes.iter().enumerate();
        let read = routes.filter_map(|(index, at)| {
            notes.take(at.place, self.path(&format!("routes[{index}]")), at.value.parse::<Route>())
        });
        read.collect()
    }

    /// A guest has one link of a name.
    fn own_link(&self, host: Name, guest: &GuestRef, ifname: LinkName, seen: &mut Seen, notes: &mut Notes) {
        let message = format!("{guest} on {host} has a link {ifname} already");
        if let Some(first) = first(&mut seen.links, (host, guest.to_string(), ifname), &self.path) {
            let asked = &self.at.value;
            let place = asked.ifname.as_ref().map_or(asked.guest.place, |at| at.place);
            notes.add(place, self.path("ifname"), format!("{message} ({first}): give another ifname"));
        }
    }

    /// An address, of either layer, is one link's on a segment.
    fn own_addresses(
        &self,
        segment: &Name,
        ip: Option<InterfaceAddr>,
        mac: Option<MacAddr>,
        seen: &mut Seen,
        notes: &mut Notes,
    ) {
        if let (Some(ip), Some(at)) = (ip, &self.at.value.ip)
            && let Some(first) = first(&mut seen.addresses, (segment.clone(), ip.addr()), &self.path)
        {
            let message = format!("{} is taken in segment {segment} ({first}): use another", ip.addr());
            notes.add(at.place, self.path("ip"), message);
        }
        if let (Some(mac), Some(at)) = (mac, &self.at.value.mac)
            && let Some(first) = first(&mut seen.macs, (segment.clone(), mac), &self.path)
        {
            let message = format!("{mac} is taken in segment {segment} ({first}): use another");
            notes.add(at.place, self.path("mac"), message);
        }
    }
}

/// Whether an address fits a segment.
fn of_subnet(net: IpNet, segment: &Segment) -> Result<(), String> {
    let subnet = segment.subnet;
    stands_for_a_host(net.addr(), subnet)?;
    if net.prefix_len() != subnet.prefix_len() {
        return Err(format!(
            "{net} has another prefix length than the subnet: write {}/{}",
            net.addr(),
            subnet.prefix_len()
        ));
    }
    if segment.gateway == Some(net.addr()) {
        return Err(format!("{} is the segment's gateway: use another", net.addr()));
    }
    Ok(())
}

/// An address of the subnet to show how one is written.
fn example(subnet: IpNet) -> String {
    let first = subnet.hosts().next().unwrap_or(subnet.network());
    format!("{first}/{}", subnet.prefix_len())
}

/// What attachments cannot share, with the path of the first that has it.
#[derive(Default)]
struct Seen {
    links: HashMap<(Name, String, LinkName), String>,
    addresses: HashMap<(Name, IpAddr), String>,
    macs: HashMap<(Name, MacAddr), String>,
}

/// The path that was kept for the key; keeps this one when there was none.
fn first<K: Eq + Hash>(seen: &mut HashMap<K, String>, key: K, path: &str) -> Option<String> {
    match seen.entry(key) {
        Entry::Occupied(first) => Some(first.get().clone()),
        Entry::Vacant(free) => {
            free.insert(path.to_owned());
            None
        }
    }
}
