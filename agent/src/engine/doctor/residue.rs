//! What carries our mark and belongs to no record: links, ports and bridges, in the host and in guests, and files beside the
//! agent's socket. The reverse, records without their object, is told with the attachments.

use std::collections::HashSet;

use pipewright_api::finding::{Finding, FindingCode, Severity};
use pipewright_api::reason::Failure;

use super::finding;
use crate::engine::Engine;
use crate::engine::drift::orphans::{BridgeOf, Orphan};
use crate::engine::ground::unreadable;
use crate::host::link::LinkFacts;
use crate::host::{Host, mark};

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

    async fn residue_now(&self) -> Result<Vec<Finding>, Failure> {
        let mut found: Vec<Finding> = self.orphans().await?.iter().map(of_orphan).collect();
        let in_guests = self.kernel.links_of_guests().await.map_err(unreadable)?;
        let (records, _) = self.shelf.attachments();
        let groups: HashSet<u32> = records.iter().map(|record| mark::group(record.attachment.id)).collect();
        let is_orphan =
            |link: &LinkFacts| mark::is_of_attachment(link.group) && !groups.contains(&link.group);
        for (number, link) in in_guests.iter().filter(|(_, link)| is_orphan(link)) {
            let place = format!("link {} in the guest with number {number}", link.name);
            found.push(orphan_link(place, &format!("ip link del {} target-nsid {number}", link.name)));
        }
        found.extend(self.orphan_files());
        Ok(found)
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

fn of_orphan(orphan: &Orphan) -> Finding {
    match orphan {
        Orphan::Link { name, .. } | Orphan::Shared { name, .. } => {
            orphan_link(format!("link {name}"), &format!("ip link del {name}"))
        }
        Orphan::Bridge { name, kind: BridgeOf::Linux } => orphan_bridge(name, &format!("ip link del {name}")),
        Orphan::Bridge { name, kind: BridgeOf::Ovs } => {
            orphan_bridge(name, &format!("ovs-vsctl --if-exists del-br {name}"))
        }
        Orphan::Port { name, bridge, .. } => {
            let text = "has our mark (external_ids:pipewright-id) and belongs to no record";
            let advice = format!("`ovs-vsctl --if-exists del-port {name}`");
            finding(
                FindingCode::OrphanPort,
                Severity::Error,
                format!("port {name} of {bridge}"),
                text,
                advice,
            )
        }
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
