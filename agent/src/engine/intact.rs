//! Whether an attachment's host end is still plugged as it was made. Somebody may have unplugged it by hand, or deleted the
//! bridge under it; the record does not know.

use std::collections::{BTreeMap, HashMap};

use pipewright_api::attachment::Attachment;
use pipewright_api::net::LinkName;
use pipewright_api::reason::Failure;
use pipewright_api::spec::{Kind, SwitchKind};

use super::Engine;
use crate::engine::ground::unreadable;
use crate::engine::records::Record;
use crate::host::link::LinkFacts;
use crate::host::port_vlans::PortVlans;
use crate::host::{Host, mark};

/// The host's links at one moment, for many questions.
#[derive(Debug)]
pub(in crate::engine) struct Links {
    by_name: HashMap<String, LinkFacts>,
    /// VLANs of ports of linux bridges, by their numbers; read when an attachment of ours has some.
    vlans: BTreeMap<u32, PortVlans>,
}

impl Links {
    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &LinkFacts> {
        self.by_name.values()
    }

    /// Whether a link is plugged into a bridge of the kernel.
    pub(super) fn is_port(&self, name: &str, bridge: &LinkName) -> bool {
        self.master(name).is_some_and(|master| master == bridge.as_str())
    }

    /// What a link is plugged into.
    pub(super) fn master(&self, name: &str) -> Option<String> {
        let index = self.by_name.get(name)?.master?;
        self.all().find(|link| link.index == index).map(|link| link.name.clone())
    }
}

impl<H: Host> Engine<H> {
    /// # Errors
    /// INTERNAL when the kernel does not list its links.
    pub(super) async fn links(&self) -> Result<Links, Failure> {
        let links = self.kernel.links().await.map_err(unreadable)?;
        let has_vlan = |record: &Record| {
            let spec = &record.attachment.spec;
            spec.kind == Some(Kind::LinuxBridge) && spec.vlan.is_some()
        };
        let vlans = match self.shelf.attachments().0.iter().any(|record| has_vlan(record)) {
            true => self.kernel.port_vlans().await.map_err(unreadable)?,
            false => BTreeMap::new(),
        };
        Ok(Links { by_name: links.into_iter().map(|link| (link.name.clone(), link)).collect(), vlans })
    }

    /// Whether an attachment is in its bridge, with its VLANs. While Open vSwitch is away nobody knows, and then it is.
    pub(super) fn is_plugged(&self, record: &Record, links: &Links) -> bool {
        let Attachment { id, host_ifname, spec, .. } = &record.attachment;
        // What has no host end is in no bridge that somebody could take it out of.
        let (Some(host_ifname), Some(bridge)) = (host_ifname, spec.uplink.link()) else { return true };
        let ours = links.by_name.get(host_ifname.as_str()).filter(|link| link.group == mark::group(*id));
        let Some(link) = ours else { return false };
        match spec.kind.and_then(Kind::switch) {
            Some(SwitchKind::Ovs) if !self.ovs.facts().is_connected => true,
            Some(SwitchKind::Ovs) => self.ovs.port(host_ifname).is_some_and(|port| {
                port.id == Some(*id)
                    && port.bridge.as_deref() == Some(bridge.as_str())
                    && port.vlan == spec.vlan
            }),
            Some(SwitchKind::LinuxBridge) | None => {
                let bridge = links.by_name.get(bridge.as_str());
                let has_vlans = |asked| links.vlans.get(&link.index).is_some_and(|there| there.is(asked));
                bridge.is_some_and(|bridge| {
                    let is_tagged =
                        spec.vlan.as_ref().is_none_or(|asked| bridge.filtering.is_some() && has_vlans(asked));
                    link.master == Some(bridge.index) && is_tagged
                })
            }
        }
    }
}
