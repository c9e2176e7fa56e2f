//! Hosts with a fleet file between them, and what `pwctl fleet` makes of it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use pipewright_tests::ctl::{Answer, pwctl};
use pipewright_tests::{Agent, AgentOptions, Guest, Host, Lab, Reach, Snapshot, reach};

/// One guest of the fleet: host, name, segment, last byte of its address.
pub(crate) type Link = (&'static str, &'static str, &'static str, u8);

/// Hosts with an Open vSwitch and an agent each.
pub(crate) struct FleetScene {
    pub(crate) lab: Lab,
    pub(crate) hosts: Vec<Arc<Host>>,
    pub(crate) agents: Vec<Arc<Agent>>,
    guests: Vec<Arc<Guest>>,
}

impl FleetScene {
    /// Hosts of these names, with no guests yet.
    pub(crate) fn of(names: &[&str]) -> Result<Self> {
        Self::with_agents(names, &AgentOptions::default())
    }

    /// Likewise, and other agents.
    pub(crate) fn with_agents(names: &[&str], options: &AgentOptions) -> Result<Self> {
        let lab = Lab::new()?;
        let (mut hosts, mut agents) = (Vec::new(), Vec::new());
        for name in names {
            let host = lab.host(name)?;
            host.ovs()?;
            agents.push(host.agent(options.clone())?);
            hosts.push(host);
        }
        Ok(Self { lab, hosts, agents, guests: Vec::new() })
    }

    /// With guests of these names, `HOST/GUEST`.
    pub(crate) fn with_guests(mut self, names: &[&str]) -> Result<Self> {
        for name in names {
            let (host, guest) = name.split_once('/').context("HOST/GUEST")?;
            let guest = self.host(host)?.guest(guest)?;
            self.guests.push(guest);
        }
        Ok(self)
    }

    pub(crate) fn host(&self, name: &str) -> Result<&Arc<Host>> {
        self.hosts.iter().find(|host| host.name() == name).context("a host of the scene")
    }

    pub(crate) fn agent(&self, name: &str) -> Result<&Arc<Agent>> {
        let place = self.hosts.iter().position(|host| host.name() == name).context("a host of the scene")?;
        self.agents.get(place).context("an agent of the scene")
    }

    pub(crate) fn guest(&self, name: &str) -> Result<&Arc<Guest>> {
        self.guests.iter().find(|guest| guest.name() == name).context("a guest of the scene")
    }

    /// Writes a fleet file: `switches` and `segments` are their lines of YAML, links are in 192.0.2.0/24.
    pub(crate) fn file(
        &self,
        fleet: &str,
        switches: &str,
        segments: &str,
        links: &[Link],
    ) -> Result<PathBuf> {
        let mut text = format!("fleet: {fleet}\nhosts:\n");
        for (host, agent) in self.hosts.iter().zip(&self.agents) {
            text += &format!("  {}: {{ endpoint: \"{}\" }}\n", host.name(), agent.endpoint());
        }
        text += &format!("switches:\n{}segments:\n{}attachments:", indented(switches), indented(segments));
        for (host, guest, segment, last) in links {
            let guest = self.guest(guest)?.reference();
            text += &format!(
                "\n  - {{ host: {host}, guest: \"{guest}\", segment: {segment}, ip: 192.0.2.{last}/24 }}"
            );
        }
        text += if links.is_empty() { " []\n" } else { "\n" };
        let path = self.lab.dir().join(format!("{fleet}.yaml"));
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Whether two guests reach each other.
    pub(crate) fn reach(&self, from: &str, to: &str, last: u8) -> Result<Reach> {
        let (from, to) = (self.guest(from)?.inside()?, self.guest(to)?.inside()?);
        reach(&from, &to, format!("192.0.2.{last}").parse()?)
    }

    pub(crate) fn snapshots(&self) -> Result<Vec<Snapshot>> {
        self.hosts.iter().map(|host| Snapshot::take(host)).collect()
    }

    /// Waits until every host is as it was.
    pub(crate) fn wait_same(&self, before: &[Snapshot]) -> Result<()> {
        before.iter().zip(&self.hosts).try_for_each(|(before, host)| before.wait_same(host))
    }

    /// VLANs that a host's uplink carries; `None` when it is no port.
    pub(crate) fn trunks(&self, host: &str) -> Result<Option<Vec<u16>>> {
        let ports = self.host(host)?.ovs()?.rows("Port", &["name", "trunks"])?;
        let Some(port) = ports.iter().find(|port| port["name"] == "eth1") else { return Ok(None) };
        // One VLAN is a number, more are ["set", [...]].
        let trunks = match port["trunks"].as_u64() {
            Some(vlan) => vec![vlan],
            None => serde_json::from_value(port["trunks"][1].clone())?,
        };
        trunks.into_iter().map(|vlan| Ok(u16::try_from(vlan)?)).collect::<Result<_>>().map(Some)
    }
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("  {}\n", line.trim())).collect()
}

/// `pwctl fleet VERB -f FILE`.
pub(crate) fn fleet(verb: &str, file: &std::path::Path) -> Result<Answer> {
    pwctl(&format!("fleet {verb} -f {}", file.display()))
}
