//! Whose namespace is meant, what is refused, and guests that die at the worst moment.

use std::time::Duration;

use anyhow::{Context as _, Result};
use pipewright_api::attachment::State;
use pipewright_api::reason::Reason;
use pipewright_tests::netns::Netns;
use pipewright_tests::ovs::Daemon;
use pipewright_tests::{needs, residue};
use rustix::process::Signal;
use tokio_stream::StreamExt as _;
use uuid::Uuid;

use crate::scene::{FOREIGN, Scene, asking, refused, spec, until};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_guest_is_found_by_pid_and_by_name_or_path_of_its_namespace() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (job, web) = (scene.host.process_guest("job")?, scene.host.guest("web")?);
    let name = web.reference().trim_start_matches("netns:").to_owned();
    let pid = job.reference().trim_start_matches("pid:").to_owned();
    let before = scene.snapshot()?;
    let ways = [
        (&job, format!("pid:{pid}")),
        (&job, pid.clone()),
        (&web, format!("netns:{name}")),
        (&web, format!("netns:/run/netns/{name}")),
        (&web, name.clone()),
    ];

    for (guest, reference) in &ways {
        scene.ctl(&format!("attach br0 {reference} --ip 192.0.2.10/24"))?;
        assert!(guest.inside()?.has_link("eth1")?, "{reference}");
        scene.ctl(&format!("detach {reference}"))?;
        before.assert_same(&scene.snapshot()?);
    }
    // By another name it is the same guest.
    scene.ctl(&format!("attach br0 netns:{name} --no-ip"))?;
    let again = scene.ctl(&format!("attach br0 netns:/run/netns/{name} --no-ip"))?;
    assert!(again.stdout.contains("it was there already"), "{}", again.stdout);
    scene.ctl(&format!("detach {name}"))?;
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_word_that_two_guests_answer_to_is_refused_with_both_named() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let job = scene.host.process_guest("job")?;
    let pid = job.reference().trim_start_matches("pid:").to_owned();
    let namesake = Netns::add(pid.clone())?;
    let before = scene.snapshot()?;

    let answer = scene.agent.ctl(&format!("attach br0 {pid} --no-ip"))?;

    assert_eq!(answer.code, 1);
    let said = &answer.stderr;
    assert!(said.contains("[GUEST_AMBIGUOUS]"), "{said}");
    assert!(said.contains(&format!("pid:{pid}")) && said.contains(&format!("netns:{pid}")), "{said}");
    before.assert_same(&scene.snapshot()?);
    assert!(!namesake.inside().has_link("eth1")?);
    scene.lab.finish()
}

#[test]
fn the_hosts_own_namespace_is_no_guest_by_any_name() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let before = scene.snapshot()?;
    let own = scene.agent.pid().context("the agent runs")?;
    let host = scene.host.netns().name();

    for reference in [format!("pid:{own}"), format!("netns:{host}"), format!("netns:/run/netns/{host}")] {
        for uplink in ["br0", "eth1"] {
            let answer = scene.agent.ctl(&format!("attach {uplink} {reference} --no-ip"))?;
            assert!(answer.stderr.contains("[GUEST_IS_HOST]"), "{reference}: {}", answer.stderr);
        }
    }
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_guest_that_is_not_there_is_named_in_the_refusal() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let job = scene.host.process_guest("job")?;
    job.kill()?;

    for reference in [job.reference(), "netns:nobody", "netns:/run/netns/nobody", "pid:4194300"] {
        let answer = scene.agent.ctl(&format!("attach br0 {reference} --no-ip"))?;
        assert!(answer.stderr.contains("[GUEST_NOT_FOUND]"), "{reference}: {}", answer.stderr);
        let name = reference.trim_start_matches("netns:").trim_start_matches("pid:");
        assert!(answer.stderr.contains(name), "{reference}: {}", answer.stderr);
        scene.ctl(&format!("detach {reference}"))?;
    }
    scene.lab.finish()
}

#[test]
fn a_guest_that_dies_after_attach_leaves_nothing_and_watchers_hear_why() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;

    for uplink in ["br0", "ovs0", FOREIGN] {
        let job = scene.host.process_guest("job")?;
        let asked = spec(&job, uplink, "192.0.2.10/24");
        asking(async {
            let client = scene.agent.client()?;
            let attached = client.attach(Uuid::new_v4(), &asked, false).await?;
            let mut events = client.watch(None, None).await?;

            job.kill()?;

            loop {
                let event = tokio::time::timeout(SOON, events.next()).await.context("nobody noticed")?;
                let event = event.context("the watch goes on")??;
                assert_eq!(event.attachment.id, attached.attachment.id);
                assert_eq!(event.cause.as_deref(), Some("its guest is gone"));
                if event.attachment.state == State::Detached {
                    return Ok(());
                }
            }
        })?;
        assert_eq!(scene.agent.list()?.len(), 0);
        residue::none(&scene.host)?;
        assert!(uplink == FOREIGN || !scene.host.inside().has_link(uplink)?, "{uplink} is left");
    }
    scene.lab.finish()
}

#[test]
fn a_guest_that_dies_in_the_midst_of_an_attach_leaves_nothing() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let ovs = scene.host.ovs()?;

    // A switch that hangs holds the attach up while the guest dies.
    let job = scene.host.process_guest("job")?;
    let asked = spec(&job, FOREIGN, "192.0.2.10/24");
    asking(async {
        let client = scene.agent.client()?;
        let mut events = client.watch(None, None).await?;
        ovs.stop(Daemon::Switch)?;
        let (asks, wanted) = (client.clone(), asked.clone());
        let attaching = tokio::spawn(async move { asks.attach(Uuid::new_v4(), &wanted, false).await });
        let event = events.next().await.context("the watch goes on")??;
        assert_eq!(event.attachment.state, State::Attaching);
        job.kill()?;
        ovs.cont(Daemon::Switch)?;
        // The attach holds the namespace while it works, so that it may well have been made before it died.
        if let Err(error) = attaching.await? {
            let failure = error.failure().context("a refusal")?;
            let reasons = [Reason::GuestChanged, Reason::StepFailed, Reason::OvsdbDown];
            assert!(reasons.contains(&failure.reason()), "{failure}");
        }
        Ok(())
    })?;
    until("the list is empty", || Ok(scene.agent.list()?.is_empty()))?;
    residue::none(&scene.host)?;

    // And at any other moment.
    for round in 0..16 {
        let uplink = if round % 2 == 0 { "br0" } else { "ovs0" };
        let job = scene.host.process_guest("job")?;
        let asked = spec(&job, uplink, "192.0.2.10/24");
        asking(async {
            let client = scene.agent.client()?;
            let asks = client.clone();
            let attaching = tokio::spawn(async move { asks.attach(Uuid::new_v4(), &asked, false).await });
            for _ in 0..round / 2 {
                client.operation(Uuid::new_v4()).await.expect_err("nobody asked for it");
            }
            job.kill()?;
            drop(attaching.await?);
            Ok(())
        })?;
        until("the list is empty", || Ok(scene.agent.list()?.is_empty()))?;
        residue::none(&scene.host)?;
    }
    scene.lab.finish()
}

#[test]
fn the_agent_does_not_keep_a_dead_guests_namespace_alive() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (web, job) = (scene.host.guest("web")?, scene.host.process_guest("job")?);
    for guest in [&web, &job] {
        scene.ctl(&format!("attach br0 {} --no-ip", guest.reference()))?;
    }
    let ports = || -> Result<usize> { Ok(scene.host.inside().ip_json("link show master br0")?.len()) };
    assert_eq!(ports()?, 2);

    // So that it is the kernel's doing, and not the agent's.
    scene.agent.signal(Signal::STOP)?;
    web.kill()?;
    job.kill()?;
    until("the host ends are gone", || Ok(ports()? == 0))?;
    scene.agent.signal(Signal::CONT)?;

    until("the list is empty", || Ok(scene.agent.list()?.is_empty()))?;
    assert!(!scene.host.inside().has_link("br0")?);
    scene.lab.finish()
}

#[test]
fn a_guest_that_dies_while_the_agent_is_down_is_cleared_away_when_it_starts() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let before = scene.snapshot()?;
    let (one, two) = (scene.host.process_guest("one")?, scene.host.process_guest("two")?);
    scene.ctl(&format!("attach br0 {} --no-ip", one.reference()))?;
    scene.ctl(&format!("attach ovs0 {} --no-ip --vlan 100", two.reference()))?;
    scene.agent.kill9()?;
    one.kill()?;
    two.kill()?;
    until("the veth pairs are gone", || {
        Ok(!scene
            .host
            .inside()
            .ip_json("link show")?
            .iter()
            .any(|link| link["ifname"].as_str().is_some_and(|name| name.starts_with("pw"))))
    })?;

    scene.agent.start()?;

    assert_eq!(scene.agent.list()?.len(), 0);
    before.assert_same(&scene.snapshot()?);
    asking(async {
        let client = scene.agent.client()?;
        let asked = spec(&one, "br0", "192.0.2.10/24");
        refused(client.attach(Uuid::new_v4(), &asked, false).await, Reason::GuestNotFound);
        Ok(())
    })?;
    scene.lab.finish()
}
