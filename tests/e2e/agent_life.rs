//! The agent itself: how it ends, who may run beside it, and that nobody's traffic notices.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::ListFilter;
use pipewright_api::spec::AttachmentSpec;
use pipewright_tests::agent::program;
use pipewright_tests::ovs::Daemon;
use pipewright_tests::process::{Process, run};
use pipewright_tests::{AgentOptions, needs};
use tokio_stream::StreamExt as _;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use uuid::Uuid;

use crate::scene::{FOREIGN, Scene, asking, refused, spec};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn sigterm_answers_what_was_begun_and_takes_nothing_new() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (web, late) = (scene.host.guest("web")?, scene.host.guest("late")?);
    let ovs = scene.host.ovs()?;

    asking(async {
        let client = scene.agent.client()?;
        let mut events = client.watch(None, None).await?;
        ovs.stop(Daemon::Switch)?;
        let (asks, asked) = (client.clone(), spec(&web, FOREIGN, "192.0.2.10/24"));
        let attaching = tokio::spawn(async move { asks.attach(Uuid::new_v4(), &asked, false).await });
        events.next().await.context("the attach begins")??;

        scene.agent.signal(rustix::process::Signal::TERM)?;
        scene.agent.wait_line("finishing what was begun", SOON)?;
        // The door shuts a moment after the signal; until then nobody is at home for this one.
        let nobody =
            AttachmentSpec { guest: "netns:nobody".parse()?, ..spec(&late, FOREIGN, "192.0.2.11/24") };
        let reason = async || {
            let error = client.attach(Uuid::new_v4(), &nobody, false).await.err();
            error.as_ref().and_then(|error| error.failure()).map(Failure::reason)
        };
        while reason().await == Some(Reason::GuestNotFound) {}
        let asked = spec(&late, FOREIGN, "192.0.2.11/24");
        refused(client.attach(Uuid::new_v4(), &asked, false).await, Reason::Stopping);
        ovs.cont(Daemon::Switch)?;
        assert!(attaching.await??.created);
        Ok(())
    })?;
    scene.agent.wait_end(SOON)?;

    scene.agent.start()?;
    assert_eq!(scene.agent.list()?.len(), 1);
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

/// Starts another agent in the host's namespace, which must end by itself; gives what it says.
fn does_not_start(scene: &Scene, words: &str) -> Result<String> {
    let nowhere = scene.lab.dir().join("nothing.sock");
    let mut pwagent = scene.host.inside().command(program("pwagent")?)?;
    pwagent.args(words.split_whitespace());
    pwagent.args([
        format!("--ovsdb=unix:{0}", nowhere.display()),
        format!("--docker=unix:{0}", nowhere.display()),
    ]);
    let ended = run(&mut pwagent)?;
    ensure!(!ended.status.success(), "it ran: {}{}", ended.stdout, ended.stderr);
    Ok(ended.stdout + &ended.stderr)
}

#[test]
fn a_second_agent_is_refused_the_state_and_the_socket_of_the_first() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (state, dir) = (scene.agent.state_dir(), scene.lab.dir().display().to_string());

    let said =
        does_not_start(&scene, &format!("--state-dir {} --listen unix:{dir}/b.sock", state.display()))?;
    assert!(said.contains("in use by another agent") && said.contains("--state-dir"), "{said}");
    let said = does_not_start(&scene, &format!("--state-dir {dir}/b --listen {}", scene.agent.endpoint()))?;
    assert!(said.contains("another agent answers on") && said.contains("--listen"), "{said}");

    // And the first has not noticed.
    assert_eq!(scene.agent.list()?.len(), 0);
    scene.lab.finish()
}

#[test]
fn the_socket_of_a_dead_agent_is_taken_over() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let endpoint = scene.agent.endpoint();
    let socket = std::path::Path::new(endpoint.trim_start_matches("unix:"));

    scene.agent.kill9()?;
    assert!(socket.exists(), "a killed agent leaves its socket");
    scene.agent.start()?;
    assert_eq!(scene.agent.list()?.len(), 0);

    scene.agent.terminate()?;
    assert!(!socket.exists(), "one that ends well does not");
    scene.lab.finish()
}

#[test]
fn records_of_a_newer_agent_are_refused_and_kept() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    scene.ctl(&format!("attach br0 {} --no-ip", guest.reference()))?;
    scene.agent.terminate()?;
    let set_format = |format: u64| -> Result<()> {
        let store = fjall::Database::builder(scene.agent.state_dir()).open()?;
        store
            .keyspace("meta", fjall::KeyspaceCreateOptions::default)?
            .insert("format", format.to_be_bytes())?;
        Ok(store.persist(fjall::PersistMode::SyncAll)?)
    };
    let made = scene.settled()?;

    set_format(99)?;
    let words =
        format!("--state-dir {} --listen {}", scene.agent.state_dir().display(), scene.agent.endpoint());
    let said = does_not_start(&scene, &words)?;
    assert!(said.contains("format 99") && said.contains("run the newer agent"), "{said}");
    made.assert_same(&scene.snapshot()?);

    set_format(1)?;
    scene.agent.start()?;
    assert_eq!(scene.agent.list()?.len(), 1, "its records were kept");
    scene.ctl(&format!("detach {}", guest.reference()))?;
    scene.lab.finish()
}

#[test]
fn tcp_without_tls_takes_a_word_that_says_so() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let dir = scene.lab.dir().display().to_string();

    let said = does_not_start(&scene, &format!("--state-dir {dir}/b --listen tcp:127.0.0.1:7443"))?;
    assert!(said.contains("--insecure"), "{said}");

    scene.agent.kill9()?;
    let options = AgentOptions::default().argument("--listen=tcp:127.0.0.1:7443").argument("--insecure");
    scene.agent.set_options(options);
    scene.agent.start()?;
    let mut pwctl = scene.host.inside().command(program("pwctl")?)?;
    pwctl.args(["--endpoint", "http://127.0.0.1:7443", "list"]).env("PWCTL_CONFIG", "/dev/null");
    let ended = run(&mut pwctl)?;
    assert!(ended.status.success(), "{}", ended.stderr);
    scene.lab.finish()
}

#[test]
fn health_and_reflection_answer() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;

    asking(async {
        let channel = tonic::transport::Endpoint::from_shared(scene.agent.endpoint())?.connect().await?;
        let mut health = HealthClient::new(channel.clone());
        for service in ["", "pipewright.v1.Agent", "pipewright.v1.Host"] {
            let asked = HealthCheckRequest { service: service.to_owned() };
            let answer = health.check(asked).await?.into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
        }

        let asked = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut reflection = ServerReflectionClient::new(channel);
        let mut answers = reflection.server_reflection_info(tokio_stream::once(asked)).await?.into_inner();
        let answer = answers.next().await.context("an answer")??;
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            anyhow::bail!("{answer:?}");
        };
        let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
        for service in ["pipewright.v1.Agent", "pipewright.v1.Host", "grpc.health.v1.Health"] {
            assert!(names.contains(&service), "{service} is not in {names:?}");
        }
        Ok(())
    })?;
    scene.lab.finish()
}

fn no_packet_is_lost(scene: Scene, uplink: &str) -> Result<()> {
    let (web, peer) = (scene.host.guest("web")?, scene.host.guest("peer")?);
    for (guest, address) in [(&web, "192.0.2.10/24"), (&peer, "192.0.2.1/24")] {
        scene.ctl(&format!("attach {uplink} {} --ip {address}", guest.reference()))?;
    }
    let mut ping = Process::spawn(
        "ping",
        web.inside()?.command("ping")?.args(["-n", "-i", "0.002", "-w", "60", "192.0.2.1"]),
    )?;
    ping.wait_line(|line| line.contains("icmp_seq=1 "), SOON)?;

    for _ in 0..3 {
        scene.agent.crash_and_restart()?;
        scene.agent.terminate()?;
        scene.agent.start()?;
    }
    asking(async {
        let listed = scene.agent.client()?.list(&ListFilter::default()).await?;
        assert_eq!(listed.attachments.len(), 2);
        Ok(())
    })?;

    // However quick the restarts were, this many were sent from before them until after.
    ping.wait_line(|line| line.contains("icmp_seq=40 "), SOON)?;
    ping.signal(rustix::process::Signal::INT)?;
    ping.wait_end(SOON)?;
    // Not what ping counts: the last packet may be under way when it is told to end.
    let log = ping.log();
    let answered =
        log.lines().filter_map(|line| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok());
    let answered: BTreeSet<u32> = answered.collect();
    let last = answered.last().copied().unwrap_or_default();
    let lost: Vec<u32> = (1..=last).filter(|sequence| !answered.contains(sequence)).collect();
    assert!(lost.is_empty(), "of {last} packets these were lost: {lost:?}");
    for guest in [&web, &peer] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    scene.lab.finish()
}

#[test]
fn no_packet_on_a_linux_bridge_is_lost_while_the_agent_restarts() -> Result<()> {
    needs!(Root);
    no_packet_is_lost(Scene::linux()?, "br0")
}

#[test]
fn no_packet_on_open_vswitch_is_lost_while_the_agent_restarts() -> Result<()> {
    needs!(Root, Ovs);
    no_packet_is_lost(Scene::ovs()?, "ovs0 --vlan 100")
}
