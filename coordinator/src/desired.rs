//! From a fleet to one document a host. Pure: the same fleet gives the same documents, in whatever order its file is.

use std::collections::{BTreeMap, BTreeSet};

use pipewright_api::net::{LinkName, VlanId};
use pipewright_api::spec::{AttachmentSpec, HostSpec, SwitchSpec, UplinkSpec};

use crate::check::{Fleet, Members, Switch};
use crate::name::Name;

/// What is wanted of each host. Every host of the fleet has a document, also one without a switch: that is how what was
/// taken out of the file goes away.
pub fn desired(fleet: &Fleet) -> BTreeMap<Name, HostSpec> {
    let trunks = trunks(fleet);
    let document = |host: &Name| HostSpec {
        fleet: fleet.members.fleet.clone(),
        switches: switches_of(host, fleet, &trunks),
        attachments: attachments_of(host, fleet),
    };
    fleet.members.hosts.keys().map(|host| (host.clone(), document(host))).collect()
}

/// Nothing, for every host: what takes the fleet down.
pub fn nothing(members: &Members) -> BTreeMap<Name, HostSpec> {
    let empty = || HostSpec { fleet: members.fleet.clone(), switches: Vec::new(), attachments: Vec::new() };
    members.hosts.keys().map(|host| (host.clone(), empty())).collect()
}

/// The VLANs of each switch that an attachment is on. The same on every host of a switch, so that a guest that moves
/// finds its segment there; and no more, so that a host does not hear segments that nobody of the fleet is on.
fn trunks(fleet: &Fleet) -> BTreeMap<&LinkName, BTreeSet<VlanId>> {
    let mut trunks: BTreeMap<&LinkName, BTreeSet<VlanId>> = BTreeMap::new();
    for segment in fleet.attachments.iter().filter_map(|attachment| fleet.segments.get(&attachment.segment)) {
        trunks.entry(&segment.switch).or_default().extend(segment.vlan);
    }
    trunks
}

fn switches_of(
    host: &Name,
    fleet: &Fleet,
    trunks: &BTreeMap<&LinkName, BTreeSet<VlanId>>,
) -> Vec<SwitchSpec> {
    let here =
        fleet.switches.iter().filter_map(|(name, switch)| Some((name, switch, switch.uplinks.get(host)?)));
    let spec = |(name, switch, uplink): (&LinkName, &Switch, &Option<LinkName>)| SwitchSpec {
        name: name.clone(),
        kind: switch.kind,
        uplink: uplink.as_ref().map(|link| UplinkSpec {
            link: link.clone(),
            // None on a linux bridge without VLANs: its uplink carries untagged frames.
            trunk: trunks.get(name).cloned().unwrap_or_default(),
        }),
    };
    here.map(spec).collect()
}

fn attachments_of(host: &Name, fleet: &Fleet) -> Vec<AttachmentSpec> {
    let here = fleet.attachments.iter().filter(|attachment| attachment.host == *host);
    let mut specs: Vec<AttachmentSpec> = here.map(|attachment| attachment.spec.clone()).collect();
    specs.sort_by_cached_key(|spec| (spec.guest.to_string(), spec.ifname.clone()));
    specs
}
