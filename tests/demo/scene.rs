//! The two hosts, their switches, agents and containers, and the fleet file that joins them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use pipewright_tests::agent::program;
use pipewright_tests::{Agent, AgentOptions, Docker, Guest, Host, Lab, Snapshot, process};

use crate::interrupt::Interrupts;

/// A container of the story.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// Its name in Docker.
    pub(crate) name: &'static str,
    /// The host that it runs on.
    pub(crate) host: &'static str,
    /// The segment that it joins.
    pub(crate) segment: &'static str,
    /// Its VLAN.
    pub(crate) vlan: u16,
    /// Its address.
    pub(crate) address: &'static str,
}

/// All in one subnet, so that only the VLANs keep them apart.
pub(crate) const PARTS: [Part; 4] = [
    Part { name: "con1", host: "a", segment: "red", vlan: 100, address: "10.0.0.1" },
    Part { name: "con2", host: "a", segment: "blue", vlan: 200, address: "10.0.0.2" },
    Part { name: "con3", host: "b", segment: "red", vlan: 100, address: "10.0.0.3" },
    Part { name: "con4", host: "b", segment: "blue", vlan: 200, address: "10.0.0.4" },
];

/// Everything that was set up.
#[derive(Debug)]
pub(crate) struct Scene {
    lab: Lab,
    hosts: Vec<Arc<Host>>,
    agents: Vec<Arc<Agent>>,
    guests: Vec<Arc<Guest>>,
    /// The fleet file.
    pub(crate) fleet: PathBuf,
    /// `hosts:` for `pwctl --host`.
    pub(crate) config: PathBuf,
}

impl Scene {
    /// Sets everything up; nothing is attached yet.
    pub(crate) fn set(interrupts: &Interrupts) -> Result<Self> {
        interrupts
            .heading("a private Docker, two hosts with Open vSwitch and an agent each, four containers")?;
        let start = Instant::now();
        Docker::shared()?;
        let lab = Lab::new()?;
        let mut scene = Self {
            fleet: lab.dir().join("fleet.yaml"),
            config: lab.dir().join("pwctl.yaml"),
            hosts: Vec::new(),
            agents: Vec::new(),
            guests: Vec::new(),
            lab,
        };
        for name in ["a", "b"] {
            let host = scene.lab.host(name)?;
            host.ovs()?;
            scene.agents.push(host.agent(AgentOptions::with_docker()?)?);
            scene.hosts.push(host);
        }
        for part in PARTS {
            let host = scene.hosts.iter().find(|host| host.name() == part.host).context("a part's host")?;
            scene.guests.push(host.container_called(part.name, part.name)?);
        }
        std::fs::write(&scene.fleet, scene.fleet_file())?;
        std::fs::write(&scene.config, scene.hosts_section())?;
        println!("ready in {:.1} s", start.elapsed().as_secs_f32());
        Ok(scene)
    }

    fn hosts_section(&self) -> String {
        let mut text = "hosts:\n".to_owned();
        for (host, agent) in self.hosts.iter().zip(&self.agents) {
            text += &format!("  {}: {{ endpoint: \"{}\" }}\n", host.name(), agent.endpoint());
        }
        text
    }

    fn fleet_file(&self) -> String {
        let mut text = format!(
            "fleet: demo\n{}switches:\n  ovs0: {{ kind: ovs, hosts: [a, b], uplink: eth1 }}\nsegments:\n\
             \x20 red: {{ switch: ovs0, vlan: 100, subnet: 10.0.0.0/24 }}\n\
             \x20 blue: {{ switch: ovs0, vlan: 200, subnet: 10.0.0.0/24 }}\nattachments:\n",
            self.hosts_section()
        );
        for Part { name, host, segment, address, .. } in PARTS {
            text += &format!(
                "  - {{ host: {host}, guest: \"docker:{name}\", segment: {segment}, ip: {address}/24 }}\n"
            );
        }
        text
    }

    /// The container of a part.
    pub(crate) fn guest(&self, name: &str) -> Result<&Guest> {
        self.guests.iter().find(|guest| guest.name() == name).map(Arc::as_ref).context("a part's container")
    }

    /// Runs `pwctl`, with `FILE` for the fleet file, for everybody to see. How far it is on its way is left out.
    pub(crate) fn pwctl(&self, words: &str) -> Result<()> {
        let shown = words.replace("FILE", "fleet.yaml");
        println!("\n$ pwctl {shown}");
        let mut pwctl = process::command(program("pwctl")?)?;
        pwctl.args(words.replace("FILE", &self.fleet.display().to_string()).split_whitespace());
        pwctl.env("PWCTL_CONFIG", &self.config).env_remove("PWCTL_HOST").env_remove("PWCTL_ENDPOINT");
        let ended = process::run(&mut pwctl)?;
        print!("{}", ended.stdout);
        ensure!(ended.status.success(), "`pwctl {shown}` ended with {}\n{}", ended.status, ended.stderr);
        Ok(())
    }

    /// What an operator sees of each host now.
    pub(crate) fn snapshots(&self) -> Result<Vec<Snapshot>> {
        self.hosts.iter().map(|host| Snapshot::take(host)).collect()
    }

    /// Waits until each host is as it was, since ovs-vswitchd lets go of what was removed in its own time.
    pub(crate) fn wait_same(&self, before: &[Snapshot]) -> Result<()> {
        before.iter().zip(&self.hosts).try_for_each(|(before, host)| before.wait_same(host))
    }

    /// Removes everything, whatever was done to it.
    pub(crate) fn leave(self) {
        self.lab.leave();
    }

    /// Removes everything, after a look at whether something of ours is left.
    pub(crate) fn strike(self) -> Result<()> {
        self.lab.finish()
    }
}
