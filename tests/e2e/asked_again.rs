//! An agent that dies or is restarted over a call, and is back soon: its caller gets the answer by the one call.

use std::pin::pin;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pipewright_api::condition::Condition;
use pipewright_api::operation::OperationState;
use pipewright_api::request::{DetachTarget, ListFilter};
use pipewright_api::spec::HostSpec;
use pipewright_tests::ctl::Answer;
use pipewright_tests::{Agent, AgentOptions, needs};
use uuid::Uuid;

use crate::refused_step::{LINUX, OVS, attach, steps, unchanged};
use crate::scene::{Scene, asking, spec, with_default_routes};
use crate::sudden_death::END;

/// Longer than a restart takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Types a line over which the agent dies, and starts the agent again meanwhile.
fn outlived(scene: &Scene, fault: &str, line: &str) -> Result<Answer> {
    scene.restart_with_fault(fault)?;
    thread::scope(|scope| {
        let typed = scope.spawn(|| scene.agent.ctl(&format!("--timeout 120s --retry-for 60s {line}")));
        scene.agent.wait_end(END)?;
        scene.restart()?;
        typed.join().ok().context("the thread that typed panicked")??.ok()
    })
}

fn each_death_is_outlived(scene: Scene, uplink: &str) -> Result<()> {
    let guest = scene.host.guest("web")?;
    with_default_routes(&guest)?;
    let before = scene.snapshot()?;
    let attach = attach(uplink, &guest);
    let detach = format!("detach {}", guest.reference());
    for n in 0..steps(&scene, &attach)? {
        let when = format!("kill-after:{n}");
        let request = Uuid::new_v4();

        let made = outlived(&scene, &when, &format!("-o json {attach} --request-id {request}"))?.json()?;

        let listed = scene.agent.list()?;
        assert_eq!(listed.len(), 1, "{when}: {listed:?}");
        assert_eq!(listed[0]["id"], made["attachment"]["id"], "{when}");
        scene.ctl("check")?;
        let told = scene.ctl(&format!("operation {request}"))?.stdout;
        assert!(told.contains("was done:"), "{when}: {told}");
        scene.ctl(&detach)?;
        unchanged(&when, &before, &scene.snapshot()?);
    }
    scene.ctl(&attach)?;
    outlived(&scene, "kill-after:0", &detach)?;
    unchanged("after a detach", &before, &scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn an_agent_killed_at_any_step_on_a_linux_bridge_and_started_again_answers_the_one_call() -> Result<()> {
    needs!(Root);
    each_death_is_outlived(Scene::linux()?, LINUX)
}

#[test]
fn an_agent_killed_at_any_step_on_open_vswitch_and_started_again_answers_the_one_call() -> Result<()> {
    needs!(Root, Ovs);
    each_death_is_outlived(Scene::ovs()?, OVS)
}

#[test]
fn an_agent_restarted_between_two_calls_of_a_client_answers_the_second() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let asked = spec(&guest, "br0", "192.0.2.10/24");

    asking(async {
        let client = scene.agent.client()?;
        let request = Uuid::new_v4();
        let first = client.attach(request, &asked, false).await?;

        scene.agent.crash_and_restart()?;
        assert_eq!(client.attach(request, &asked, false).await?, first);
        scene.agent.crash_and_restart()?;
        assert_eq!(client.list(&ListFilter::default()).await?.attachments.len(), 1);
        scene.agent.terminate()?;
        scene.agent.start()?;
        assert_eq!(client.operation(request).await?.state, OperationState::Done);
        scene.agent.crash_and_restart()?;
        assert_eq!(client.show().await?.attachments, 1);
        scene.agent.crash_and_restart()?;
        let target = DetachTarget::Id(first.attachment.id);
        assert_eq!(client.detach(Uuid::new_v4(), &target, false).await?.len(), 1);
        Ok(())
    })?;
    scene.lab.finish()
}

#[test]
fn an_agent_killed_over_a_document_of_a_fleet_answers_the_one_call() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (web, db) = (scene.host.guest("web")?, scene.host.guest("db")?);
    let attachments = vec![spec(&web, "br0", "192.0.2.10/24"), spec(&db, "br0", "192.0.2.11/24")];
    let document = HostSpec { fleet: "lab".parse()?, switches: Vec::new(), attachments };
    scene.restart_with_fault("kill-after:7")?;

    asking(async {
        let client = scene.agent.client()?.asking_again_for(PATIENCE);
        let (asks, given) = (client.clone(), document.clone());
        let call = tokio::spawn(async move { asks.apply(Uuid::new_v4(), &given, false).await });
        scene.agent.wait_end(END)?;
        scene.restart()?;
        let changes = call.await??;
        assert!(changes.iter().all(|change| change.failure.is_none()), "{changes:?}");
        assert_eq!(client.list(&ListFilter::default()).await?.attachments.len(), 2);

        let nothing = HostSpec { attachments: Vec::new(), ..document };
        client.apply(Uuid::new_v4(), &nothing, false).await?;
        Ok(())
    })?;
    scene.lab.finish()
}

#[test]
fn a_wait_goes_on_with_the_next_agent() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;

    asking(async {
        let client = scene.agent.client()?.asking_again_for(PATIENCE);
        let (reference, ifname) = (guest.reference().parse()?, "eth1".parse()?);
        for ends in [Agent::kill9, Agent::terminate] {
            let mut waiting = pin!(client.wait(&reference, &ifname, Condition::Address, PATIENCE));
            // What is asked later and answered by the same connection tells that the agent has heard of the wait.
            let all = ListFilter::default();
            tokio::select! {
                biased;
                state = &mut waiting => anyhow::bail!("it does not wait: {state:?}"),
                listed = client.list(&all) => drop(listed?),
            }

            ends(&scene.agent)?;
            scene.agent.start()?;
            scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", guest.reference()))?;

            let state = waiting.await?;
            assert!(state.meets(Condition::Address), "{state:?}");
            scene.ctl(&format!("detach {}", guest.reference()))?;
        }
        Ok(())
    })?;
    scene.lab.finish()
}

#[test]
fn an_agent_that_does_not_come_back_is_said_to_leave_it_unknown() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    scene.restart_with_fault("kill-after:3")?;
    let attach = attach(LINUX, &guest);

    let answer = scene.agent.ctl(&format!("--retry-for 200ms {attach}"))?;

    assert_eq!(answer.code, 1, "{answer:?}");
    for part in ["it is unknown whether the change was made", "asked again", "check that pwagent runs there"]
    {
        assert!(answer.stderr.contains(part), "{part}: {answer:?}");
    }
    scene.agent.set_options(AgentOptions::default());
    scene.agent.start()?;
    assert_eq!(scene.agent.list()?.len(), 0);
    scene.lab.finish()
}
