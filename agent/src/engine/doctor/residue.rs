//! What carries our mark and belongs to no record: links, ports and bridges, in the host and in guests, and files beside the
//! agent's socket. The reverse, records without their object, is told with the attachments.

use std::collections::HashSet;

use pipewright_api::finding::{Finding, FindingCode, Severity};
use pipewright_api::net::LinkName;
use pipewright_api::reason::Failure;
use uuid::Uuid;

use super::finding;
use crate::engine::Engine;
use crate::engine::ground::unreadable;
use crate::host::link::LinkFacts;
use crate::host::{Host, mark};
use crate::step::Shared;

/// How a name of the socket's file is hidden until it is the socket's: by so many digits.
const HIDDEN: usize = 32;

impl<H: Host> Engine<H> {
    /// Whatever was seen twice: what is being made or removed at the moment is no residue.
    pub(super) async fn residue(&self) -> Result<Vec<Finding>, Failure> {
        let mut first = self.residue_now().await?;
        if !first.is_empty() {
            let again = self.residue_now().await?;
            first.retain(|finding| again.contains(finding));
        }
        Ok(first)
    }

    /// The host first, then the records: what is made meanwhile has a record by then.
    async fn residue_now(&self) -> Result<Vec<Finding>, Failure> {
        let links = self.kernel.links().await.map_err(unreadable)?;
        let in_guests = self.kernel.links_of_guests().await.map_err(unreadable)?;
        let (ports, bridges) = (self.ovs.ours(), self.ovs.bridges());
        let (records, switches) = (self.shelf.attachments().0, self.shelf.switches());
        let groups: HashSet<u32> = records.iter().map(|record| mark::group(record.attachment.id)).collect();
        let ids: HashSet<Uuid> = records
            .iter()
            .map(|record| record.attachment.id)
            .chain(switches.iter().map(|switch| switch.id))
            .collect();

        let mut found = Vec::new();
        for link in &links {
            found.extend(self.orphan_in_host(link, &links, &groups).await?);
        }
        let is_orphan =
            |link: &LinkFacts| mark::is_of_attachment(link.group) && !groups.contains(&link.group);
        for (number, link) in in_guests.iter().filter(|(_, link)| is_orphan(link)) {
            let place = format!("link {} in the guest with number {number}", link.name);
            found.push(orphan_link(place, &format!("ip link del {} target-nsid {number}", link.name)));
        }
        for port in ports.iter().filter(|port| port.id.is_some_and(|id| !ids.contains(&id))) {
            let bridge = port.bridge.clone().unwrap_or_default();
            let object = format!("port {} of {bridge}", port.name);
            let text = "has our mark (external_ids:pipewright-id) and belongs to no record";
            let advice = format!("`ovs-vsctl --if-exists del-port {}`", port.name);
            found.push(finding(FindingCode::OrphanPort, Severity::Error, object, text, advice));
        }
        for bridge in bridges.iter().filter(|bridge| bridge.is_ours) {
            let is_empty = bridge.ports.iter().all(|port| *port == bridge.name);
            if is_empty && !self.is_needed(&bridge.name) && !self.is_addressed(&bridge.name, &links).await? {
                found.push(orphan_bridge(
                    &bridge.name,
                    &format!("ovs-vsctl --if-exists del-br {}", bridge.name),
                ));
            }
        }
        found.extend(self.orphan_files());
        Ok(found)
    }

    async fn orphan_in_host(
        &self,
        link: &LinkFacts,
        links: &[LinkFacts],
        groups: &HashSet<u32>,
    ) -> Result<Option<Finding>, Failure> {
        let delete = format!("ip link del {}", link.name);
        if mark::is_of_attachment(link.group) && !groups.contains(&link.group) {
            return Ok(Some(orphan_link(format!("link {}", link.name), &delete)));
        }
        let has_ports = links.iter().any(|port| port.master == Some(link.index));
        let has_links_on_it = links.iter().any(|upper| upper.parent == Some(link.index));
        let is_shared = matches!(link.group, mark::VLAN_LINK | mark::SHIM);
        if is_shared && !has_links_on_it && !has_ports && !self.is_needed(&link.name) {
            return Ok(Some(orphan_link(format!("link {}", link.name), &delete)));
        }
        let is_idle = link.group == mark::BRIDGE && !has_ports && !self.is_needed(&link.name);
        // One that somebody gave an address stays on purpose.
        Ok((is_idle && !self.is_addressed(&link.name, links).await?)
            .then(|| orphan_bridge(&link.name, &delete)))
    }

    fn is_needed(&self, name: &str) -> bool {
        let name = name.parse::<LinkName>();
        name.is_ok_and(|name| self.shelf.is_used_by_others(Shared::Link(&name), Uuid::nil()))
    }

    async fn is_addressed(&self, name: &str, links: &[LinkFacts]) -> Result<bool, Failure> {
        match links.iter().find(|link| link.name == name) {
            Some(link) => self.kernel.is_addressed(link.index).await.map_err(unreadable),
            None => Ok(false),
        }
    }

    /// An agent that dies while it makes its socket leaves it under the name that nobody can know.
    fn orphan_files(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for socket in &self.places.sockets {
            let Some((folder, stem)) = socket.parent().zip(socket.file_stem()) else { continue };
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
                let is_hidden = path.extension().and_then(|digits| digits.to_str()).is_some_and(|digits| {
                    digits.len() == HIDDEN && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
                });
                if is_hidden && path.file_stem() == Some(stem) {
                    let text = "is a socket of an agent that died while it started";
                    let advice = format!("`rm {}`", path.display());
                    let object = format!("file {}", path.display());
                    found.push(finding(FindingCode::OrphanFile, Severity::Warning, object, text, advice));
                }
            }
        }
        found
    }
}

fn orphan_link(object: String, delete: &str) -> Finding {
    let text = "has our mark (link group) and belongs to no record";
    let advice = format!("if no other agent made it: `{delete}`");
    finding(FindingCode::OrphanLink, Severity::Error, object, text, advice)
}

fn orphan_bridge(name: &str, delete: &str) -> Finding {
    let text = "was made by an agent, has no ports, and nothing needs it";
    let advice = format!("if no other agent made it: `{delete}`");
    finding(FindingCode::OrphanBridge, Severity::Error, format!("bridge {name}"), text, advice)
}
