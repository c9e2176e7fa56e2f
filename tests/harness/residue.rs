//! Nothing of ours may be left on a host once everything is detached.

use std::os::linux::fs::MetadataExt as _;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::agent::Agent;
use crate::host::Host;
use crate::netns::Inside;

/// Upper halves of the link groups that an agent gives to its links and bridges: "pw" and "px".
const GROUPS: [u32; 2] = [0x7077, 0x7078];

/// # Errors
/// What is left, each thing a line.
pub fn none(host: &Host) -> Result<()> {
    let left = find(host)?;
    ensure!(left.is_empty(), "left on host {}:\n{}", host.name(), left.join("\n"));
    Ok(())
}

/// Everything of ours that a host still has: links, rows, namespaces kept open.
///
/// # Errors
/// The host cannot be looked at.
pub fn find(host: &Host) -> Result<Vec<String>> {
    let mut left = links("host", host.inside())?;
    for guest in host.guests().iter().filter(|guest| guest.is_alive()) {
        left.extend(links(guest.name(), &guest.inside()?)?);
    }
    if let Some(ovs) = host.started_ovs() {
        for table in ["Bridge", "Port", "Interface"] {
            for row in ovs.rows(table, &["name", "external_ids"])? {
                if has_our_key(&row["external_ids"]) {
                    left.push(format!("{table} {} with {}", row["name"], row["external_ids"]));
                }
            }
        }
    }
    left.extend(mounts(host)?);
    for agent in host.agents().iter() {
        left.extend(kept_open(agent, host)?);
    }
    Ok(left)
}

fn links(whose: &str, inside: &Inside) -> Result<Vec<String>> {
    let ours = |link: &Value| {
        let name = link["ifname"].as_str().unwrap_or_default();
        let group = link["group"].as_str().and_then(|group| group.parse::<u32>().ok());
        let is_ours = name.starts_with("pw") || group.is_some_and(|group| GROUPS.contains(&(group >> 16)));
        is_ours.then(|| format!("{whose}: link {name} of group {}", link["group"]))
    };
    Ok(inside.ip_json("-d link show")?.iter().filter_map(ours).collect())
}

/// `["map",[["pipewright-attachment","…"],…]]`
fn has_our_key(external_ids: &Value) -> bool {
    let is_ours = |pair: &Value| pair[0].as_str().is_some_and(|key| key.starts_with("pipewright"));
    external_ids[1].as_array().is_some_and(|pairs| pairs.iter().any(is_ours))
}

/// Namespaces mounted below the lab's folder; an agent has no reason to keep one.
fn mounts(host: &Host) -> Result<Vec<String>> {
    let dir = host.dir().display().to_string();
    Ok(std::fs::read_to_string("/proc/self/mountinfo")?
        .lines()
        .filter(|line| line.contains(" - nsfs ") && line.contains(&dir))
        .map(|line| format!("mount {line}"))
        .collect())
}

/// Namespaces other than its host's that a running agent holds by a descriptor or a thread, and descriptors that have
/// piled up since it became ready.
fn kept_open(agent: &Agent, host: &Host) -> Result<Vec<String>> {
    // Connections to Docker, to OVSDB and of callers come and go.
    const SLACK: usize = 24;
    let Some(pid) = agent.pid() else { return Ok(Vec::new()) };
    let own = format!("net:[{}]", std::fs::metadata(host.inside().path())?.st_ino());
    let mut left = Vec::new();
    let (files, base) = agent.open_files()?;
    for file in files.iter().filter(|file| file.starts_with("net:[") && **file != own) {
        left.push(format!("{} keeps {file} open", agent.name()));
    }
    if files.len() > base + SLACK {
        left.push(format!("{} had {base} open files and now {}: {files:?}", agent.name(), files.len()));
    }
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ends meanwhile is in no namespace.
        if let Ok(netns) = std::fs::read_link(thread?.path().join("ns/net"))
            && netns.display().to_string() != own
        {
            left.push(format!("a thread of {} is in {}", agent.name(), netns.display()));
        }
    }
    Ok(left)
}
