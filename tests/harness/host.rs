//! A host of the lab: a network namespace with, when asked for, an Open vSwitch, an agent and guests of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result};

use crate::agent::{Agent, AgentOptions};
use crate::docker::Docker;
use crate::guest::Guest;
use crate::netns::{Inside, Netns};
use crate::ovs::Ovs;
use crate::runtimes::{Network, Podman, Runtime};

/// One host. Made by [`crate::Lab::host`].
#[derive(Debug)]
pub struct Host {
    name: String,
    netns: Netns,
    dir: PathBuf,
    agents: Mutex<Vec<Arc<Agent>>>,
    guests: Mutex<Vec<Arc<Guest>>>,
    ovs: OnceLock<Ovs>,
}

impl Host {
    pub(crate) fn new(name: &str, netns: Netns, dir: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            netns,
            dir,
            agents: Mutex::default(),
            guests: Mutex::default(),
            ovs: OnceLock::new(),
        }
    }

    /// Its name in the lab: `a`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The way into its namespace.
    pub fn inside(&self) -> &Inside {
        self.netns.inside()
    }

    /// Where its sockets and files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its Open vSwitch, started at the first call, without bridges.
    ///
    /// # Errors
    /// A daemon does not start.
    pub fn ovs(&self) -> Result<&Ovs> {
        if self.ovs.get().is_none() {
            let ovs = Ovs::start(self.inside(), self.dir.join("ovs"))?;
            self.ovs.set(ovs).ok().context("two threads started the host's Open vSwitch")?;
        }
        self.ovs.get().context("the host's Open vSwitch was just started")
    }

    /// Its Open vSwitch, when it was started.
    pub fn started_ovs(&self) -> Option<&Ovs> {
        self.ovs.get()
    }

    /// Starts an agent and waits until it is ready. It gets the host's Open vSwitch if that was started before.
    ///
    /// # Errors
    /// It ends, or is not ready in time; with its log.
    pub fn agent(&self, options: AgentOptions) -> Result<Arc<Agent>> {
        let number = self.agents().len();
        let agent = Arc::new(Agent::new(self, number, options));
        self.agents().push(Arc::clone(&agent));
        agent.start()?;
        Ok(agent)
    }

    /// A guest that is a named namespace; the agent knows it as [`Guest::reference`].
    ///
    /// # Errors
    /// What `ip` says.
    pub fn guest(&self, name: &str) -> Result<Arc<Guest>> {
        self.keep(Guest::netns(name, format!("{}-{name}", self.netns.name()))?)
    }

    /// A guest that is a process with a namespace of its own.
    ///
    /// # Errors
    /// It does not start.
    pub fn process_guest(&self, name: &str) -> Result<Arc<Guest>> {
        self.keep(Guest::process(name)?)
    }

    /// A guest that is a Docker container. Docker knows it by the host's unique name and this one.
    ///
    /// # Errors
    /// Docker cannot run here, or what it says.
    pub fn container(&self, name: &str) -> Result<Arc<Guest>> {
        self.container_called(name, &format!("{}-{name}", self.netns.name()))
    }

    /// As [`Host::container`], under just the name that Docker shall know.
    ///
    /// # Errors
    /// As there; the name may be taken by another lab of this program.
    pub fn container_called(&self, name: &str, docker_name: &str) -> Result<Arc<Guest>> {
        self.keep(Guest::container(name, Docker::shared()?.run(docker_name)?))
    }

    /// As [`Host::container_called`], with options of `docker run` such as `--label=…`, and no network.
    ///
    /// # Errors
    /// As there.
    pub fn container_with(&self, name: &str, docker_name: &str, options: &[&str]) -> Result<Arc<Guest>> {
        let options = [&["--network=none"], options].concat();
        self.keep(Guest::container(name, Docker::shared()?.run_with(docker_name, &options)?))
    }

    /// A guest that is a container of another runtime than Docker, which knows it by the host's unique name and this one.
    ///
    /// # Errors
    /// The runtime cannot run here, or what it says.
    pub fn contained(&self, name: &str, runtime: Runtime) -> Result<Arc<Guest>> {
        self.contained_in(name, runtime, Network::Own)
    }

    /// As [`Host::contained`], in that network.
    ///
    /// # Errors
    /// As there.
    pub fn contained_in(&self, name: &str, runtime: Runtime, network: Network) -> Result<Arc<Guest>> {
        let (contained, reference) = runtime.run(&format!("{}-{name}", self.netns.name()), network)?;
        self.keep(Guest::contained(name, contained, reference))
    }

    /// A guest that is a container of Podman, with options of `podman run` such as `--label=…`, and no network.
    ///
    /// # Errors
    /// As [`Host::contained`].
    pub fn podman_with(&self, name: &str, options: &[&str]) -> Result<Arc<Guest>> {
        let called = format!("{}-{name}", self.netns.name());
        let options = [&["--network=none"], options].concat();
        let contained = Podman::shared()?.run_with(&called, &options)?;
        self.keep(Guest::contained(name, contained, format!("podman:{called}")))
    }

    fn keep(&self, guest: Guest) -> Result<Arc<Guest>> {
        let guest = Arc::new(guest);
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&guest));
        Ok(guest)
    }

    /// Every guest made here, dead ones too.
    pub fn guests(&self) -> Vec<Arc<Guest>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn agents(&self) -> MutexGuard<'_, Vec<Arc<Agent>>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stop_agents(&self) {
        for agent in self.agents().iter() {
            if let Err(error) = agent.kill9() {
                eprintln!("{error:#}");
            }
        }
    }

    /// What agents and Open vSwitch said, for a person.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for agent in self.agents().iter() {
            text += &format!("---- {}: {}\n{}\n", self.name, agent.name(), agent.log());
        }
        if let Some(ovs) = self.ovs.get() {
            text += &format!("---- {}: Open vSwitch\n{}\n", self.name, ovs.log());
        }
        text
    }
}
