//! The fleet as it is, beside the fleet as the file wants it.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use pipewright_api::attachment::{Attachment, State};
use pipewright_api::client::{ClientError, Endpoint};
use pipewright_api::net::LinkName;
use pipewright_api::request::ListFilter;
use pipewright_api::spec::{Addressing, AttachmentSpec, FleetName, GuestRef, Vlan};

use crate::check::Fleet;
use crate::desired::desired;
use crate::name::Name;
use crate::rollout::Pace;

/// One link of the fleet, or one that should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The guest.
    pub guest: GuestRef,
    /// Its link.
    pub ifname: LinkName,
    /// What is there; `None` when nothing is.
    pub found: Option<Attachment>,
    /// How that compares.
    pub standing: Standing,
}

/// How what is there compares to what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// As wanted.
    Ok,
    /// Wanted, and not there.
    Missing,
    /// There, and not as wanted; each difference reads as `VLAN 100, wanted 200`.
    Differs(Vec<String>),
    /// There and as wanted, and something is wrong with it.
    Broken(String),
    /// There, of this fleet, and no longer wanted.
    Extra,
}

/// What one host says.
pub type HostStatus = Result<Vec<Row>, ClientError>;

/// Asks every host for the fleet's attachments and compares. Needs a tokio runtime with I/O and time.
pub async fn status(fleet: &Fleet, pace: Pace) -> BTreeMap<Name, HostStatus> {
    let name = &fleet.members.fleet;
    let documents = desired(fleet);
    let one = async |(host, endpoint): (&Name, &Endpoint)| {
        let wanted = documents.get(host).map_or(&[][..], |document| &document.attachments);
        let rows = found(endpoint, name, pace).await.map(|found| compare(wanted, found));
        (host.clone(), rows)
    };
    let hosts = futures_util::stream::iter(&fleet.members.hosts);
    hosts.map(one).buffer_unordered(pace.at_once.max(1)).collect().await
}

async fn found(endpoint: &Endpoint, fleet: &FleetName, pace: Pace) -> Result<Vec<Attachment>, ClientError> {
    let client = pace.client(endpoint)?;
    let filter = ListFilter { fleet: Some(fleet.clone()), ..ListFilter::default() };
    Ok(client.list(&filter).await?.attachments)
}

/// What is wanted in its order, then what is there besides.
pub fn compare(wanted: &[AttachmentSpec], found: Vec<Attachment>) -> Vec<Row> {
    let key = |spec: &AttachmentSpec| (spec.guest.to_string(), spec.ifname.clone());
    let mut found: BTreeMap<_, Attachment> = found.into_iter().map(|at| (key(&at.spec), at)).collect();
    let mut rows = Vec::with_capacity(wanted.len());
    for spec in wanted {
        let there = found.remove(&key(spec));
        let standing = there.as_ref().map_or(Standing::Missing, |there| standing(spec, there));
        rows.push(Row { guest: spec.guest.clone(), ifname: spec.ifname.clone(), found: there, standing });
    }
    rows.extend(found.into_values().map(|there| Row {
        guest: there.spec.guest.clone(),
        ifname: there.spec.ifname.clone(),
        found: Some(there),
        standing: Standing::Extra,
    }));
    rows
}

fn standing(wanted: &AttachmentSpec, there: &Attachment) -> Standing {
    let differences = differences(wanted, &there.spec);
    match (differences.is_empty(), broken(there)) {
        (false, _) => Standing::Differs(differences),
        (true, Some(why)) => Standing::Broken(why),
        (true, None) => Standing::Ok,
    }
}

fn broken(there: &Attachment) -> Option<String> {
    match there.state {
        State::Attached => {}
        State::Waiting => return Some(format!("waiting: {}", there.waiting)),
        State::Incomplete => return Some(format!("incomplete, left over: {}", there.leftovers.join(", "))),
        State::Attaching | State::Detaching | State::Detached => return Some(there.state.to_string()),
    }
    let observed = there.observed.as_ref()?;
    if !observed.present {
        let host_end = |name| format!("its host end {name} is gone");
        return Some(there.host_ifname.as_ref().map_or_else(|| "its link is gone".to_owned(), host_end));
    }
    if let (Some(host_end), Some(bridge)) = (&there.host_ifname, there.spec.uplink.link())
        && observed.bridge != bridge.as_str()
    {
        return Some(format!("its host end {host_end} is not in {bridge}; apply plugs it"));
    }
    (!observed.ovs_error.is_empty()).then(|| format!("Open vSwitch says: {}", observed.ovs_error))
}

/// What differs. A field that the file leaves open cannot differ: the agent filled it in.
fn differences(wanted: &AttachmentSpec, there: &AttachmentSpec) -> Vec<String> {
    let mut differences = Vec::new();
    let mut differ = |what: &str, there: String, wanted: String| {
        if there != wanted {
            differences.push(format!("{what} {there}, wanted {wanted}"));
        }
    };
    differ("switch", there.uplink.to_string(), wanted.uplink.to_string());
    differ("VLAN", vlan(there.vlan.as_ref()), vlan(wanted.vlan.as_ref()));
    differ("address", addresses(&there.addressing), addresses(&wanted.addressing));
    differ("gateway", list(&there.gateways), list(&wanted.gateways));
    differ("routes", list(&there.routes), list(&wanted.routes));
    if let Some(mac) = wanted.mac {
        differ("MAC", there.mac.map_or_else(|| "none".to_owned(), |mac| mac.to_string()), mac.to_string());
    }
    if let Some(mtu) = wanted.mtu {
        differ("MTU", there.mtu.map_or_else(|| "none".to_owned(), |mtu| mtu.to_string()), mtu.to_string());
    }
    differences
}

fn vlan(vlan: Option<&Vlan>) -> String {
    match vlan {
        None => "none".to_owned(),
        Some(Vlan::Access(vlan)) => vlan.to_string(),
        Some(Vlan::Trunk(vlans)) => format!("trunk {}", list(vlans)),
        Some(Vlan::Every) => "every".to_owned(),
    }
}

fn addresses(addressing: &Addressing) -> String {
    match addressing {
        Addressing::Static(addresses) => list(addresses),
        Addressing::Dhcp(_) => "dhcp".to_owned(),
        Addressing::None => "none".to_owned(),
    }
}

/// In one order, since the order of addresses and routes means nothing.
fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let mut items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.sort();
    match items.is_empty() {
        true => "none".to_owned(),
        false => items.join(" "),
    }
}
