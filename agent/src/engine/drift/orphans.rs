//! What has our mark and belongs to no record. It is removed when two sweeps have seen it and no guest can miss it: what is
//! being made or removed has a record all the while, but records may have been lost. In guests it is only told of
//! (`pwctl doctor`): an agent that runs in a guest has our mark, too.

use std::collections::{BTreeSet, HashSet};

use pipewright_api::net::LinkName;
use pipewright_api::reason::Failure;
use pipewright_api::spec::SwitchKind;
use uuid::Uuid;

use super::Policy;
use crate::engine::Engine;
use crate::engine::ground::unreadable;
use crate::host::link::LinkFacts;
use crate::host::{Host, mark};
use crate::step::{Shared, Step};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) enum Orphan {
    /// A link of the host that was made for an attachment.
    Link { name: String, index: u32, group: u32 },
    /// A sub-interface or a macvlan of the host that attachments shared.
    Shared { name: String, index: u32, group: u32 },
    /// A bridge without ports.
    Bridge { name: String, kind: BridgeOf },
    /// A row of Open vSwitch.
    Port { name: String, bridge: String, id: Uuid },
}

/// Who runs a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) enum BridgeOf {
    Linux,
    Ovs,
}

impl Orphan {
    /// The word for metrics.
    fn word(&self) -> &'static str {
        match self {
            Self::Link { .. } | Self::Shared { .. } => "link",
            Self::Bridge { .. } => "bridge",
            Self::Port { .. } => "port",
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Link { name, .. }
            | Self::Shared { name, .. }
            | Self::Bridge { name, .. }
            | Self::Port { name, .. } => name,
        }
    }
}

/// What tells whether a guest may miss it.
struct Around {
    links: Vec<LinkFacts>,
    /// Links of guests have our mark and no record; they may be on a link that attachments shared.
    is_lost_in_guests: bool,
}

impl Around {
    /// Whether nothing of a guest hangs on it.
    fn is_without(&self, orphan: &Orphan) -> bool {
        let link = |name: &str| self.links.iter().find(|link| link.name == name);
        match orphan {
            // The other end is in a guest, or this one is on a link of another namespace.
            Orphan::Link { name, .. } => link(name).is_none_or(|link| link.netns_id.is_none()),
            Orphan::Shared { .. } => !self.is_lost_in_guests,
            // An uplink, too, has a link.
            Orphan::Port { name, .. } => link(name).is_none(),
            Orphan::Bridge { .. } => true,
        }
    }
}

impl<H: Host> Engine<H> {
    /// Removes what the last sweep saw, too.
    pub(super) async fn sweep_orphans(&self) {
        let now: BTreeSet<Orphan> = match self.orphans().await {
            Ok(orphans) => orphans.into_iter().collect(),
            Err(failure) => {
                tracing::error!("what belongs to no record cannot be looked for: {failure}");
                return;
            }
        };
        let before = std::mem::replace(&mut self.drift.known().orphans, now.clone());
        for orphan in now.difference(&before) {
            tracing::warn!("{} {} has our mark and belongs to no record", orphan.word(), orphan.name());
        }
        // Another agent in this network namespace may have it in its records.
        if self.drift.keeping.policy == Policy::Report || !self.kernel.is_alone() {
            return;
        }
        let stale: Vec<&Orphan> = now.intersection(&before).collect();
        if stale.is_empty() {
            return;
        }
        let around = match self.around().await {
            Ok(around) => around,
            Err(failure) => {
                tracing::error!("what belongs to no record is left: {failure}");
                return;
            }
        };
        for orphan in stale.into_iter().filter(|orphan| around.is_without(orphan)) {
            match self.remove_orphan(orphan).await {
                Ok(()) => {
                    self.meters.orphan(orphan.word());
                    tracing::warn!(
                        "{} {} belonged to no record and was removed",
                        orphan.word(),
                        orphan.name()
                    );
                }
                Err(why) => tracing::error!("{} {} stays: {why}", orphan.word(), orphan.name()),
            }
        }
    }

    async fn around(&self) -> Result<Around, Failure> {
        let links = self.kernel.links().await.map_err(unreadable)?;
        let in_guests = self.kernel.links_of_guests().await.map_err(unreadable)?;
        let (records, _) = self.shelf.attachments();
        let groups: HashSet<u32> = records.iter().map(|record| mark::group(record.attachment.id)).collect();
        let is_lost = |link: &LinkFacts| mark::is_of_attachment(link.group) && !groups.contains(&link.group);
        let is_lost_in_guests = in_guests.iter().any(|(_, link)| is_lost(link));
        Ok(Around { links, is_lost_in_guests })
    }

    /// What has our mark in the host and belongs to no record. The host first, then the records: what is made meanwhile has
    /// a record by then.
    ///
    /// # Errors
    /// INTERNAL when the kernel does not list its links.
    pub(in crate::engine) async fn orphans(&self) -> Result<Vec<Orphan>, Failure> {
        let links = self.kernel.links().await.map_err(unreadable)?;
        let (ports, bridges) = (self.ovs.ours(), self.ovs.bridges());
        let (records, switches) = (self.shelf.attachments().0, self.shelf.switches());
        let groups: HashSet<u32> = records.iter().map(|record| mark::group(record.attachment.id)).collect();
        let attached = records.iter().map(|record| record.attachment.id);
        let ids: HashSet<Uuid> = attached.chain(switches.iter().map(|switch| switch.id)).collect();
        let bridged: HashSet<u32> = links.iter().filter_map(|port| port.master).collect();
        let parents: HashSet<u32> = links.iter().filter_map(|upper| upper.parent).collect();
        let mut found = Vec::new();
        for link in &links {
            let LinkFacts { name, index, group, .. } = link;
            let (name, index, group) = (name.clone(), *index, *group);
            let (has_ports, has_links_on_it) = (bridged.contains(&index), parents.contains(&index));
            match group {
                _ if mark::is_of_attachment(group) && !groups.contains(&group) => {
                    found.push(Orphan::Link { name, index, group });
                }
                mark::VLAN_LINK | mark::SHIM if !has_links_on_it && !has_ports && !self.is_needed(&name) => {
                    found.push(Orphan::Shared { name, index, group });
                }
                // One that somebody gave an address stays on purpose.
                mark::BRIDGE if !has_ports && !self.is_needed(&name) && !self.is_addressed(index).await? => {
                    found.push(Orphan::Bridge { name, kind: BridgeOf::Linux });
                }
                _ => {}
            }
        }
        for port in ports {
            if let Some(id) = port.id.filter(|id| !ids.contains(id)) {
                let bridge = port.bridge.unwrap_or_default();
                found.push(Orphan::Port { name: port.name, bridge, id });
            }
        }
        for bridge in bridges.into_iter().filter(|bridge| bridge.is_ours) {
            let is_empty = bridge.ports.iter().all(|port| *port == bridge.name);
            let own = links.iter().find(|link| link.name == bridge.name);
            let is_addressed = match own {
                Some(link) => self.is_addressed(link.index).await?,
                None => false,
            };
            if is_empty && !is_addressed && !self.is_needed(&bridge.name) {
                found.push(Orphan::Bridge { name: bridge.name, kind: BridgeOf::Ovs });
            }
        }
        Ok(found)
    }

    fn is_needed(&self, name: &str) -> bool {
        let name = name.parse::<LinkName>();
        name.is_ok_and(|name| self.shelf.is_used_by_others(Shared::Link(&name), Uuid::nil()))
    }

    async fn is_addressed(&self, index: u32) -> Result<bool, Failure> {
        self.kernel.is_addressed(index).await.map_err(unreadable)
    }

    /// Each way to remove looks again whether it is what was seen.
    async fn remove_orphan(&self, orphan: &Orphan) -> Result<(), String> {
        let parsed = |name: &str| name.parse::<LinkName>().map_err(|error| error.to_string());
        let step = match orphan {
            Orphan::Link { name, index, group } => {
                let removed = self.kernel.remove_orphan(name, *index, *group).await;
                return removed.map_err(|error| error.to_string());
            }
            Orphan::Shared { name, group: mark::SHIM, .. } => Step::ReleaseShim { link: parsed(name)? },
            Orphan::Shared { name, .. } => Step::ReleaseVlanLink { link: parsed(name)? },
            Orphan::Bridge { name, kind } => {
                let kind = match kind {
                    BridgeOf::Linux => SwitchKind::LinuxBridge,
                    BridgeOf::Ovs => SwitchKind::Ovs,
                };
                Step::ReleaseBridge { bridge: parsed(name)?, kind }
            }
            Orphan::Port { name, id, .. } => Step::UnplugPort { id: *id, port: parsed(name)? },
        };
        let _alone = match step.releases() {
            Some(shared) => Some(self.locks.release_bridge(shared.link()).await),
            None => None,
        };
        // Somebody may have come while we waited.
        if step.releases().is_some_and(|shared| self.shelf.is_used_by_others(shared, Uuid::nil())) {
            return Err("somebody needs it now".to_owned());
        }
        self.host.take(None, &[step]).await.map_err(|refused| refused.error.to_string())
    }
}
