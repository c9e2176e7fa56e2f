//! A host with guests, and what was asked for each of them.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use pipewright_tests::{Agent, AgentOptions, Docker, Guest, Host, Lab, Snapshot};
use uuid::Uuid;

use crate::oracle;
use crate::victim::{Tally, Victim};

/// Guests that are namespaces, and those that are containers where Docker can run.
const NAMESPACES: usize = 6;
const CONTAINERS: usize = 2;
/// Requests at once.
const REQUESTS: usize = 4;
/// A request must be done so long after all is back.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place for a guest.
#[derive(Debug)]
pub(crate) struct Slot {
    number: usize,
    is_container: bool,
    pub(crate) guest: Arc<Guest>,
    /// Whether it is to be attached.
    pub(crate) is_wanted: bool,
}

impl Slot {
    pub(crate) fn address(&self) -> String {
        format!("192.0.2.{}", 10 + self.number)
    }

    /// Every second one is on Open vSwitch.
    pub(crate) fn uplink(&self) -> &'static str {
        match self.number % 2 {
            0 => "br0",
            _ => "ovs0 --vlan 100",
        }
    }

    fn line(&self) -> String {
        match self.is_wanted {
            true => format!("detach {} --ifname eth1", self.guest.reference()),
            false => {
                let (uplink, guest, address) = (self.uplink(), self.guest.reference(), self.address());
                format!("attach {uplink} {guest} --ifname eth1 --ip {address}/24 --gateway 192.0.2.1")
            }
        }
    }
}

/// All of it.
#[derive(Debug)]
pub(crate) struct World {
    lab: Lab,
    pub(crate) host: Arc<Host>,
    pub(crate) agent: Arc<Agent>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) has_docker: bool,
    before: Snapshot,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let has_docker = Docker::shared().inspect_err(|error| println!("without Docker: {error:#}")).is_ok();
        let lab = Lab::new()?;
        let host = lab.host("a")?;
        // Open vSwitch never removes the link that its userspace datapath brings.
        host.ovs()?.add_bridge("foreign0")?;
        let options = if has_docker { AgentOptions::with_docker()? } else { AgentOptions::default() };
        let agent = host.agent(options.argument("--sweep").argument("2"))?;
        let mut slots = Vec::new();
        for number in 0..NAMESPACES + if has_docker { CONTAINERS } else { 0 } {
            let is_container = number >= NAMESPACES;
            let guest = guest(&host, number, is_container)?;
            slots.push(Slot { number, is_container, guest, is_wanted: false });
        }
        let before = Snapshot::take(&host)?;
        Ok(Self { lab, host, agent, slots, has_docker, before })
    }

    /// Some requests, and a death among them; then they are asked until they are done.
    pub(crate) fn round(&mut self, rng: &mut Rng, victim: &Victim, tally: &mut Tally) -> Result<()> {
        tally.count(victim);
        let mut order: Vec<usize> = (0..self.slots.len()).collect();
        rng.shuffle(&mut order);
        order.truncate(REQUESTS);
        let lines: Vec<(usize, String)> = order.iter().map(|&slot| (slot, self.slots[slot].line())).collect();
        let mut disturbed = Vec::new();
        thread::scope(|scope| -> Result<()> {
            let agent = &self.agent;
            let asked: Vec<_> = lines
                .iter()
                .map(|(slot, line)| {
                    scope.spawn(move || -> Result<_> {
                        let request = Uuid::new_v4();
                        let answer = agent.ctl(&format!("{line} --request-id {request}"))?;
                        Ok((*slot, line, request, answer))
                    })
                })
                .collect();
            match victim {
                Victim::Guest(slot) => self.slots[*slot].dies()?,
                other => other.dies_and_returns(rng, &self.host, &self.agent)?,
            }
            for asked in asked {
                let (slot, line, request, answer) =
                    asked.join().ok().context("a thread that asked panicked")??;
                if answer.code != 0 {
                    disturbed.push((slot, line.clone(), request));
                }
            }
            Ok(())
        })?;
        if let Victim::Guest(slot) = victim {
            self.slots[*slot].returns(&self.host)?;
        }
        tally.disturbed += disturbed.len();
        for (slot, line, request) in disturbed {
            // Nobody can say what the guest that died had by then; what is there is looked at below.
            if *victim != Victim::Guest(slot) {
                self.insist(&line, request)?;
            }
        }
        for (slot, _) in &lines {
            let slot = &mut self.slots[*slot];
            match slot.is_wanted {
                true => tally.detaches += 1,
                false => tally.attaches += 1,
            }
            slot.is_wanted = !slot.is_wanted;
        }
        if let Victim::Guest(slot) = victim {
            let is_there = oracle::is_attached(self, *slot)?;
            self.slots[*slot].is_wanted = is_there;
        }
        Ok(())
    }

    /// The same request, and once it has been refused, new ones.
    fn insist(&self, line: &str, request: Uuid) -> Result<()> {
        let (begun, mut request) = (Instant::now(), request);
        loop {
            let answer = self.agent.ctl(&format!("{line} --request-id {request}"))?;
            if answer.code == 0 {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "`{line}` is not done: {}", answer.stderr);
            request = Uuid::new_v4();
        }
    }

    /// The host, for a person.
    pub(crate) fn shown(&self) -> String {
        let told = |result: Result<String>| result.unwrap_or_else(|error| format!("{error:#}"));
        let links = told(self.host.inside().ip("-d -br link show"));
        let switch = told(self.host.ovs().and_then(|ovs| ovs.vsctl("show")));
        let log = told(self.host.ovs().and_then(|ovs| {
            let text = std::fs::read_to_string(ovs.dir().join("ovs-vswitchd.log"))?;
            let lines: Vec<&str> = text.lines().collect();
            Ok(lines[lines.len().saturating_sub(40)..].join("\n"))
        }));
        format!("{links}\n{switch}\n{log}")
    }

    /// Takes everything out; nothing may be left.
    pub(crate) fn strike(self) -> Result<()> {
        for slot in self.slots.iter().filter(|slot| slot.is_wanted) {
            self.agent.ctl(&slot.line())?.ok()?;
        }
        self.before.wait_same(&self.host)?;
        drop(self.slots);
        self.lab.finish()
    }
}

impl Slot {
    fn dies(&self) -> Result<()> {
        match self.is_container {
            true => self.guest.docker("kill"),
            false => self.guest.kill(),
        }
    }

    fn returns(&mut self, host: &Host) -> Result<()> {
        match self.is_container {
            true => self.guest.docker("start"),
            false => {
                self.guest = guest(host, self.number, false)?;
                Ok(())
            }
        }
    }
}

fn guest(host: &Host, number: usize, is_container: bool) -> Result<Arc<Guest>> {
    let name = format!("g{number}");
    match is_container {
        true => host.container(&name),
        false => host.guest(&name),
    }
}
