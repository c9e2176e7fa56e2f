//! An agent that is killed before any system call that changes something, be it of an attach, a detach, or of the recovery
//! from an earlier death.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use pipewright_api::reason::Reason;
use pipewright_api::tool::{Tool, ToolLine};
use pipewright_tests::agent::program;
use pipewright_tests::{AgentOptions, Guest, Snapshot, needs};
use serde_json::Value;
use uuid::Uuid;

use crate::refused_step::{LINUX, OVS, attach, unchanged};
use crate::scene::{Scene, asking, refused, with_default_routes};
use crate::sudden_death::{END, is_dead};

/// More calls than any of this makes.
const MOST: usize = 500;

/// A scene with a guest, before anything was attached.
struct Hunt {
    scene: Scene,
    guest: Arc<Guest>,
    attach: String,
    before: Snapshot,
}

impl Hunt {
    fn new(scene: Scene, uplink: &str) -> Result<Self> {
        let guest = scene.host.guest("web")?;
        with_default_routes(&guest)?;
        let (attach, before) = (attach(uplink, &guest), scene.snapshot()?);
        Ok(Self { scene, guest, attach, before })
    }

    fn detach(&self) -> String {
        format!("detach {}", self.guest.reference())
    }

    /// Has the next life of the agent end before its n-th call from when `armed` exists.
    fn set_trap(&self, n: usize, armed: &str) -> Result<()> {
        let kill_at = program("kill-at")?.display().to_string();
        self.scene.agent.kill9()?;
        self.scene.agent.set_options(AgentOptions::default().under(&[&kill_at, &n.to_string(), armed]));
        Ok(())
    }

    /// Types a line, the agent's death following it at its n-th call. Whether it died, and so did the line.
    fn type_and_die(&self, n: usize, line: &str) -> Result<bool> {
        let armed = self.scene.lab.dir().join("armed");
        self.set_trap(n, &armed.display().to_string())?;
        self.scene.agent.start()?;
        std::fs::write(&armed, "")?;
        let answer = self.scene.agent.ctl_once(line)?;
        let is_dead = is_dead(&self.scene, answer.code)?;
        std::fs::remove_file(&armed)?;
        self.scene.restart()?;
        Ok(is_dead)
    }

    /// Nothing is there, or all of it.
    fn is_whole(&self, when: &str) -> Result<bool> {
        let list: Vec<Value> = self.scene.agent.list()?;
        if list.is_empty() {
            unchanged(when, &self.before, &self.scene.snapshot()?);
            return Ok(false);
        }
        ensure!(list.len() == 1, "{when}: {list:?}");
        self.scene.ctl("check")?;
        Ok(true)
    }

    fn finish(self) -> Result<()> {
        unchanged("in the end", &self.before, &self.scene.snapshot()?);
        self.scene.lab.finish()
    }
}

fn dies_in_an_attach(scene: Scene, uplink: &str) -> Result<()> {
    let hunt = Hunt::new(scene, uplink)?;
    let (mut deaths, mut finished) = (0, 0);
    for n in 1.. {
        ensure!(n < MOST, "an attach makes {n} calls");
        let when = format!("before call {n} of an attach");
        let line = format!("{} --request-id {}", hunt.attach, Uuid::new_v4());
        let is_dead = hunt.type_and_die(n, &line)?;

        let is_whole = hunt.is_whole(&when)?;
        // The same request has the same answer, or is done now.
        hunt.scene.ctl(&line)?;
        ensure!(hunt.is_whole(&when)?, "{when}: it is not there");
        hunt.scene.ctl(&hunt.detach())?;
        unchanged(&when, &hunt.before, &hunt.scene.snapshot()?);
        if !is_dead {
            break;
        }
        deaths += 1;
        finished += usize::from(is_whole);
    }
    println!("{deaths} deaths; {finished} times the attachment was there after it");
    ensure!(deaths >= 15, "the agent died only {deaths} times");
    hunt.finish()
}

fn dies_in_a_detach(scene: Scene, uplink: &str) -> Result<()> {
    let hunt = Hunt::new(scene, uplink)?;
    let (mut deaths, mut finished) = (0, 0);
    for n in 1.. {
        ensure!(n < MOST, "a detach makes {n} calls");
        let when = format!("before call {n} of a detach");
        hunt.scene.ctl(&hunt.attach)?;
        let line = format!("{} --request-id {}", hunt.detach(), Uuid::new_v4());
        let is_dead = hunt.type_and_die(n, &line)?;

        let is_whole = hunt.is_whole(&when)?;
        hunt.scene.ctl(&line)?;
        ensure!(!hunt.is_whole(&when)?, "{when}: it is still there");
        if !is_dead {
            break;
        }
        deaths += 1;
        finished += usize::from(!is_whole);
    }
    println!("{deaths} deaths; {finished} times the attachment was gone after it");
    ensure!(deaths >= 10, "the agent died only {deaths} times");
    hunt.finish()
}

/// Dies in the middle of `line`, and then in the recovery from that, which the next life goes on with.
fn dies_in_a_recovery(hunt: &Hunt, line: &str, prepare: impl Fn() -> Result<()>) -> Result<()> {
    let mut deaths = 0;
    for n in 1.. {
        ensure!(n < MOST, "a recovery makes {n} calls");
        prepare()?;
        hunt.scene.restart_with_fault("kill-after:5")?;
        let answer = hunt.scene.agent.ctl_once(line)?;
        ensure!(is_dead(&hunt.scene, answer.code)?, "it lives: {}{}", answer.stdout, answer.stderr);
        hunt.set_trap(n, "/")?;
        let is_dead = hunt.scene.agent.start().is_err();
        if is_dead {
            hunt.scene.agent.wait_end(END)?;
        }

        hunt.scene.restart()?;
        let when = format!("before call {n} of a recovery");
        ensure!(!hunt.is_whole(&when)?, "{when}: it is there");
        if !is_dead {
            break;
        }
        deaths += 1;
    }
    println!("{deaths} deaths");
    ensure!(deaths >= 15, "the agent died only {deaths} times");
    Ok(())
}

#[test]
fn a_tool_is_run_once_at_most_however_its_agent_dies() -> Result<()> {
    needs!(Root, Strace);
    let hunt = Hunt::new(Scene::linux()?, LINUX)?;
    let (guest, armed) = (hunt.guest.reference().parse()?, hunt.scene.lab.dir().join("armed"));
    let (mut deaths, mut refusals) = (0, 0);
    for n in 1.. {
        ensure!(n < MOST, "a tool makes {n} calls");
        let words = format!("add from 192.0.2.1/32 table 7 priority {}", 1000 + n);
        let line = ToolLine::new(Tool::Rule, words.split(' ').map(str::to_owned).collect())?;
        let request = Uuid::new_v4();
        hunt.set_trap(n, &armed.display().to_string())?;
        hunt.scene.agent.start()?;
        std::fs::write(&armed, "")?;
        let is_dead = asking(async {
            let client = hunt.scene.agent.client()?.asking_again_for(Duration::ZERO);
            Ok(client.run_tool(request, &guest, &line).await.is_err())
        })?;
        if is_dead {
            hunt.scene.agent.wait_end(END)?;
        }
        std::fs::remove_file(&armed)?;
        hunt.scene.restart()?;

        let again = asking(async { Ok(hunt.scene.agent.client()?.run_tool(request, &guest, &line).await) })?;
        match again {
            // The kernel refuses a second rule like the first, and `ip` then ends with 2.
            Ok(ran) => ensure!(ran.exit_code == 0, "before call {n}: it was run twice: {ran:?}"),
            Err(_) => {
                refused(again, Reason::StepFailed);
                refusals += 1;
            }
        }
        if !is_dead {
            break;
        }
        deaths += 1;
    }
    println!("{deaths} deaths; {refusals} times it was not run again");
    ensure!(deaths >= 3 && refusals >= 1, "the agent died only {deaths} times");
    hunt.guest.ip("rule flush table 7")?;
    hunt.finish()
}

fn dies_in_recoveries(scene: Scene, uplink: &str) -> Result<()> {
    let hunt = Hunt::new(scene, uplink)?;
    dies_in_a_recovery(&hunt, &hunt.attach, || Ok(()))?;
    dies_in_a_recovery(&hunt, &hunt.detach(), || hunt.scene.ctl(&hunt.attach).map(drop))?;
    hunt.finish()
}

#[test]
fn an_agent_killed_at_any_call_of_an_attach_to_a_linux_bridge_leaves_all_or_nothing() -> Result<()> {
    needs!(Root, Strace);
    dies_in_an_attach(Scene::linux()?, LINUX)
}

#[test]
fn an_agent_killed_at_any_call_of_an_attach_to_open_vswitch_leaves_all_or_nothing() -> Result<()> {
    needs!(Root, Ovs, Strace);
    dies_in_an_attach(Scene::ovs()?, OVS)
}

#[test]
fn an_agent_killed_at_any_call_of_a_detach_from_a_linux_bridge_leaves_all_or_nothing() -> Result<()> {
    needs!(Root, Strace);
    dies_in_a_detach(Scene::linux()?, LINUX)
}

#[test]
fn an_agent_killed_at_any_call_of_a_detach_from_open_vswitch_leaves_all_or_nothing() -> Result<()> {
    needs!(Root, Ovs, Strace);
    dies_in_a_detach(Scene::ovs()?, OVS)
}

#[test]
fn an_agent_killed_at_any_call_of_a_recovery_with_a_linux_bridge_is_followed_by_one_that_finishes_it()
-> Result<()> {
    needs!(Root, Strace);
    dies_in_recoveries(Scene::linux()?, LINUX)
}

#[test]
fn an_agent_killed_at_any_call_of_a_recovery_with_open_vswitch_is_followed_by_one_that_finishes_it()
-> Result<()> {
    needs!(Root, Ovs, Strace);
    dies_in_recoveries(Scene::ovs()?, OVS)
}
