//! Who is killed.

use std::fmt;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use pipewright_tests::ovs::Daemon;
use pipewright_tests::{Agent, Docker, Host};

use crate::world::World;

/// The longest that requests run before somebody dies.
const BEFORE: u64 = 25;
/// The longest that a starting agent lives when it is killed again.
const RECOVERY: u64 = 40;

/// One that is killed, and comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Victim {
    /// `pwagent`, and so many times again while it starts.
    Agent { recoveries: usize },
    /// `ovsdb-server`.
    Database,
    /// `ovs-vswitchd`.
    Switch,
    /// `dockerd`; its containers run on.
    Docker,
    /// The guest in that slot.
    Guest(usize),
}

impl Victim {
    pub(crate) fn choose(rng: &mut Rng, world: &World) -> Self {
        match rng.u8(..100) {
            0..50 => Self::Agent { recoveries: usize::from(rng.u8(..4).saturating_sub(1)) },
            50..63 => Self::Database,
            63..76 => Self::Switch,
            76..80 if world.has_docker => Self::Docker,
            _ => Self::Guest(rng.usize(..world.slots.len())),
        }
    }

    /// Kills it after a random while, and has it back. Guests are the world's.
    pub(crate) fn dies_and_returns(&self, rng: &mut Rng, host: &Host, agent: &Agent) -> Result<()> {
        at_random(rng, BEFORE);
        let restart = |daemon: Daemon| {
            let ovs = host.ovs()?;
            ovs.kill9(daemon)?;
            ovs.start_daemon(daemon)
        };
        match self {
            Self::Agent { recoveries } => {
                agent.kill9()?;
                for _ in 0..*recoveries {
                    agent.launch()?;
                    at_random(rng, RECOVERY);
                    agent.kill9()?;
                }
                agent.start()
            }
            Self::Database => restart(Daemon::Database),
            Self::Switch => restart(Daemon::Switch),
            Self::Docker => Docker::shared()?.crash_and_restart(),
            Self::Guest(_) => Ok(()),
        }
    }
}

/// Any moment within so many ms is meant, not an event.
#[expect(clippy::disallowed_methods, reason = "a random moment is what is wanted")]
fn at_random(rng: &mut Rng, milliseconds: u64) {
    thread::sleep(Duration::from_micros(rng.u64(..milliseconds * 1000)));
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent { recoveries: 0 } => f.write_str("the agent"),
            Self::Agent { recoveries } => write!(f, "the agent, {recoveries} times again while it started"),
            Self::Database => f.write_str("ovsdb-server"),
            Self::Switch => f.write_str("ovs-vswitchd"),
            Self::Docker => f.write_str("dockerd"),
            Self::Guest(slot) => write!(f, "the guest in slot {slot}"),
        }
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) agents: usize,
    pub(crate) databases: usize,
    pub(crate) switches: usize,
    pub(crate) dockers: usize,
    pub(crate) guests: usize,
    pub(crate) attaches: usize,
    pub(crate) detaches: usize,
    /// Requests whose first answer was none, or a refusal.
    pub(crate) disturbed: usize,
}

impl Tally {
    pub(crate) fn count(&mut self, victim: &Victim) {
        match victim {
            Victim::Agent { recoveries } => self.agents += 1 + recoveries,
            Victim::Database => self.databases += 1,
            Victim::Switch => self.switches += 1,
            Victim::Docker => self.dockers += 1,
            Victim::Guest(_) => self.guests += 1,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agents, databases, switches, dockers, guests, attaches, detaches, disturbed } = self;
        write!(
            f,
            "killed: agent {agents}, ovsdb-server {databases}, ovs-vswitchd {switches}, dockerd {dockers}, guests {guests}\n\
             asked: {attaches} attaches, {detaches} detaches, of which {disturbed} were disturbed and asked again"
        )
    }
}
