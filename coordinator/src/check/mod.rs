//! From the fleet file to a fleet that is valid: every name is known, every address fits. All that is wrong is said at once.

mod attachments;
mod segments;
mod switches;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use pipewright_api::client::Endpoint;
use pipewright_api::net::{LinkName, VlanId};
use pipewright_api::spec::{AttachmentSpec, DuplicateCheck, FleetName, SwitchKind};

use crate::fleet::{CheckDuplicates, FleetFile, Host};
use crate::name::Name;
use crate::place::{At, Notes, Problems};

/// A fleet, valid by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Whose hosts, and where they are.
    pub members: Members,
    /// Bridges.
    pub switches: BTreeMap<LinkName, Switch>,
    /// Layer 2 networks.
    pub segments: BTreeMap<Name, Segment>,
    /// Links in guests, in the order of the file.
    pub attachments: Vec<Attachment>,
}

/// The hosts of a fleet: all that is needed to destroy it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Marks all that the fleet makes.
    pub fleet: FleetName,
    /// Never empty.
    pub hosts: BTreeMap<Name, Endpoint>,
}

/// A bridge on some hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// Who runs it.
    pub kind: SwitchKind,
    /// The hosts that have it, never none, and the uplink of each.
    pub uplinks: BTreeMap<Name, Option<LinkName>>,
}

/// A layer 2 network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The switch it is on.
    pub switch: LinkName,
    /// `None` on a linux bridge that does not keep VLANs apart: then none of its segments has one.
    pub vlan: Option<VlanId>,
    /// The addresses that are directly reached on it.
    pub subnet: IpNet,
    /// First and last address that may be given out.
    pub range: Option<(IpAddr, IpAddr)>,
    /// Default gateway of its guests.
    pub gateway: Option<IpAddr>,
    /// Whether the addresses of its guests are looked for first.
    pub duplicate_check: DuplicateCheck,
}

/// A link in a guest of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The host that its guest is on.
    pub host: Name,
    /// The segment that it joins.
    pub segment: Name,
    /// What the host's agent is asked for.
    pub spec: AttachmentSpec,
}

impl From<CheckDuplicates> for DuplicateCheck {
    fn from(check: CheckDuplicates) -> Self {
        match check {
            CheckDuplicates::Off => Self::Off,
            CheckDuplicates::Quick => Self::Quick,
            CheckDuplicates::Full => Self::Full,
        }
    }
}

/// Checks a fleet file.
///
/// # Errors
/// All that is wrong, each with its place.
pub fn check(file: &FleetFile) -> Result<Fleet, Problems> {
    let mut notes = Notes::default();
    let members = read_members(file, &mut notes);
    let known = Known::of(file);
    let switches = switches::read(file, &known, &mut notes);
    let segments = segments::read(file, &known, &switches, &mut notes);
    let attachments = attachments::read(file, &known, &switches, &segments, &mut notes);
    joined(file, &segments, &attachments, &mut notes);
    match members {
        Some(members) => notes.finish(Fleet { members, switches, segments, attachments }),
        None => Err(notes.into_problems()),
    }
}

/// Checks the fleet's name and hosts only, which is all that taking it down needs: a file whose attachments are gone, or
/// wrong, must not keep links alive.
///
/// # Errors
/// All that is wrong with them.
pub fn members(file: &FleetFile) -> Result<Members, Problems> {
    let mut notes = Notes::default();
    match read_members(file, &mut notes) {
        Some(members) => notes.finish(members),
        None => Err(notes.into_problems()),
    }
}

/// The names that the file defines, right or wrong: what is named after a wrong definition is not wrong once more.
struct Known {
    hosts: BTreeSet<String>,
    switches: BTreeSet<String>,
    segments: BTreeSet<String>,
}

impl Known {
    fn of(file: &FleetFile) -> Self {
        Self {
            hosts: file.hosts.keys().cloned().collect(),
            switches: file.switches.keys().cloned().collect(),
            segments: file.segments.keys().cloned().collect(),
        }
    }
}

/// Reads the name and the hosts. `None` when something was noted that leaves no name.
fn read_members(file: &FleetFile, notes: &mut Notes) -> Option<Members> {
    let fleet = notes.take(file.fleet.place, "fleet", file.fleet.value.parse::<FleetName>());
    if file.hosts.is_empty() {
        notes.add(file.fleet.place, "hosts", "a fleet has at least one host: add `NAME: { endpoint: … }`");
    }
    let hosts = read_hosts(&file.hosts, notes);
    Some(Members { fleet: fleet?, hosts })
}

/// Reads a `hosts:` map, also of a configuration of `pwctl`, which has the same shape.
pub(crate) fn read_hosts(hosts: &BTreeMap<String, At<Host>>, notes: &mut Notes) -> BTreeMap<Name, Endpoint> {
    let mut read: BTreeMap<Name, Endpoint> = BTreeMap::new();
    for (key, host) in in_order(hosts) {
        let path = format!("hosts.{key}");
        let name = notes.take(host.place, &*path, key.parse::<Name>());
        let at = &host.value.endpoint;
        let endpoint = notes.take(at.place, format!("{path}.endpoint"), at.value.parse::<Endpoint>());
        let (Some(name), Some(endpoint)) = (name, endpoint) else { continue };
        if let Some((other, _)) = read.iter().find(|(_, known)| **known == endpoint) {
            // One agent would be told to be two hosts, and each document would undo the other.
            notes.add(
                at.place,
                format!("{path}.endpoint"),
                format!("{endpoint} is the endpoint of {other} already"),
            );
        }
        read.insert(name, endpoint);
    }
    read
}

/// A segment is one network: its guests are on one host, or its switch has an uplink.
fn joined(
    file: &FleetFile,
    segments: &BTreeMap<Name, Segment>,
    attachments: &[Attachment],
    notes: &mut Notes,
) {
    for (name, segment) in segments {
        let Some(switch) = file.switches.get(segment.switch.as_str()) else { continue };
        let on_it = attachments.iter().filter(|attachment| attachment.segment == *name);
        let hosts: BTreeSet<&str> = on_it.map(|attachment| attachment.host.as_str()).collect();
        if hosts.len() > 1 && switch.value.uplink.is_none() {
            let hosts = hosts.into_iter().collect::<Vec<_>>().join(" and ");
            let message = format!(
                "segment {name} has guests on {hosts}, and nothing joins them: give each host an uplink"
            );
            notes.add(switch.place, format!("switches.{}.uplink", segment.switch), message);
        }
    }
}

/// A map in the order of the file, so that of two that cannot be both, the second is the wrong one.
fn in_order<T>(map: &BTreeMap<String, At<T>>) -> Vec<(&String, &At<T>)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(_, at)| at.place);
    entries
}

/// `red, blue` for a message that lists what there is.
fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

/// Notes a name that the file does not define.
fn unknown(
    notes: &mut Notes,
    at: &At<String>,
    path: &str,
    what: &str,
    plural: &str,
    known: &BTreeSet<String>,
) {
    let message = format!("there is no {what} {:?}; {plural}: {}", at.value, listed(known));
    notes.add(at.place, path, message);
}
