//! What the host is and can do.

use std::collections::HashMap;

use pipewright_api::host::{Bridge, Capability, HostFacts, HostLink};
use pipewright_api::net::Mtu;
use pipewright_api::reason::Failure;
use pipewright_api::spec::SwitchKind;

use super::Engine;
use crate::engine::ground::unreadable;
use crate::guests::Docker;
use crate::host::link::LinkFacts;
use crate::host::{Host, mark};
use crate::switches::ovs::OvsFacts;

impl<H: Host> Engine<H> {
    /// Facts, capabilities, bridges and links.
    ///
    /// # Errors
    /// INTERNAL when the kernel does not list its links.
    pub async fn show(&self) -> Result<HostFacts, Failure> {
        let links = self.kernel.links().await.map_err(unreadable)?;
        let names: HashMap<u32, &str> = links.iter().map(|link| (link.index, link.name.as_str())).collect();
        let ports_of = |bridge: &LinkFacts| {
            links
                .iter()
                .filter(|link| link.master == Some(bridge.index))
                .map(|link| link.name.clone())
                .collect()
        };
        let linux = links.iter().filter(|link| link.kind == "bridge").map(|link| Bridge {
            name: link.name.clone(),
            kind: SwitchKind::LinuxBridge,
            mtu: link.mtu,
            ports: ports_of(link),
            ours: link.group == mark::BRIDGE,
        });
        let mut bridges: Vec<Bridge> = linux.collect();
        let ovs_bridges = self.ovs.bridges();
        bridges.extend(ovs_bridges.iter().map(|bridge| {
            Bridge {
                name: bridge.name.clone(),
                kind: SwitchKind::Ovs,
                mtu: links
                    .iter()
                    .find(|link| link.name == bridge.name)
                    .map_or(Mtu::ETHERNET.get(), |link| link.mtu),
                ports: bridge.ports.clone(),
                ours: bridge.is_ours,
            }
        }));
        let could_be_uplink = |link: &&LinkFacts| {
            let is_bridge = bridges.iter().any(|bridge| bridge.name == link.name);
            link.name != "lo" && !is_bridge && !mark::is_ours(link.group)
        };
        let holder = |link: &LinkFacts| {
            let by_ovs = ovs_bridges.iter().find(|bridge| bridge.ports.contains(&link.name));
            match (by_ovs, link.master.and_then(|index| names.get(&index))) {
                (Some(bridge), _) => format!("ovs {}", bridge.name),
                (None, Some(master)) => format!("bridge {master}"),
                (None, None) => String::new(),
            }
        };
        let mut uplinks = Vec::new();
        for link in links.iter().filter(could_be_uplink) {
            let addresses = self.kernel.addresses_of(link.index).await.map_err(unreadable)?;
            uplinks.push(HostLink {
                name: link.name.clone(),
                mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
                hardware: link.hardware.to_string(),
                mtu: link.mtu,
                operstate: link.operstate.to_string(),
                addresses: addresses.iter().map(|address| address.net).collect(),
                holder: holder(link),
            });
        }
        Ok(HostFacts {
            hostname: proc_line("hostname"),
            kernel: proc_line("osrelease"),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: self.capabilities().await,
            bridges,
            links: uplinks,
            attachments: u32::try_from(self.shelf.len()).unwrap_or(u32::MAX),
        })
    }

    async fn capabilities(&self) -> Vec<Capability> {
        let mut all =
            vec![served("docker", self.guests.docker()).await, served("podman", self.guests.podman()).await];
        all.extend(self.ovs_capabilities());
        all
    }

    fn ovs_capabilities(&self) -> [Capability; 2] {
        let OvsFacts { is_connected, ovs_version, datapath_types, .. } = self.ovs.facts();
        let missing = "its database does not answer; start ovsdb-server, or name it with --ovsdb";
        let version = ovs_version.unwrap_or_else(|| "ovs-vswitchd has not run yet".to_owned());
        let detail = if is_connected { version } else { missing.to_owned() };
        [
            Capability { name: "ovs".into(), present: is_connected, detail },
            Capability {
                name: "ovs-datapath".into(),
                present: is_connected && !datapath_types.is_empty(),
                detail: datapath_types.join(", "),
            },
        ]
    }
}

/// Whether somebody answers for containers.
async fn served(name: &str, server: &Docker) -> Capability {
    match server.version().await {
        Ok(version) => Capability { name: name.to_owned(), present: true, detail: version },
        Err(failure) => {
            Capability { name: name.to_owned(), present: false, detail: failure.message().into() }
        }
    }
}

/// What uname(2) gives, from procfs.
fn proc_line(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default().trim().to_owned()
}
