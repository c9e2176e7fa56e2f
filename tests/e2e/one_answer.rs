//! One request has one answer, for ever; one name in one guest has one link; and work goes on when its caller is gone.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use pipewright_api::attachment::State;
use pipewright_api::operation::OperationState;
use pipewright_api::reason::Reason;
use pipewright_api::request::{DetachTarget, ListFilter};
use pipewright_api::spec::AttachmentSpec;
use pipewright_tests::ovs::Daemon;
use pipewright_tests::{AgentOptions, needs};
use rustix::process::Signal;
use tokio_stream::StreamExt as _;
use uuid::Uuid;

use crate::scene::{FOREIGN, Scene, asking, refused, spec};

/// As many as one connection may ask at once.
const CROWD: usize = 64;
const SOON: Duration = Duration::from_secs(20);

fn of_whole_guest(spec: &AttachmentSpec) -> DetachTarget {
    DetachTarget::Guest { guest: spec.guest.clone(), ifname: None }
}

fn one_of_a_crowd_wins(scene: Scene, uplink: &str) -> Result<()> {
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;
    let specs: Vec<_> = (0..CROWD).map(|n| spec(&guest, uplink, &format!("192.0.2.{}/24", n + 10))).collect();

    asking(async {
        let client = scene.agent.client()?;
        let answers = join_all(specs.iter().map(|spec| client.attach(Uuid::new_v4(), spec, false))).await;

        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "{lost:?}");
        let winner = won.into_iter().flatten().next().context("one won")?;
        assert!(winner.created);
        for answer in lost {
            let failure = refused(answer, Reason::SpecDiffers);
            assert_eq!(failure.fact("attachment"), Some(winner.attachment.id.to_string().as_str()));
        }
        assert_eq!(client.list(&ListFilter::default()).await?.attachments.len(), 1);
        client.detach(Uuid::new_v4(), &of_whole_guest(&specs[0]), false).await?;
        Ok(())
    })?;

    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn one_of_64_different_attaches_to_one_name_on_a_linux_bridge_wins() -> Result<()> {
    needs!(Root);
    one_of_a_crowd_wins(Scene::linux()?, "br0")
}

#[test]
fn one_of_64_different_attaches_to_one_name_on_open_vswitch_wins() -> Result<()> {
    needs!(Root, Ovs);
    one_of_a_crowd_wins(Scene::ovs()?, "ovs0")
}

fn a_crowd_is_served(scene: Scene, uplink: &str) -> Result<()> {
    let guests = (0..CROWD).map(|n| scene.host.guest(&format!("g{n}"))).collect::<Result<Vec<_>>>()?;
    let before = scene.snapshot()?;
    let specs: Vec<_> = guests
        .iter()
        .enumerate()
        .map(|(n, guest)| spec(guest, uplink, &format!("192.0.2.{}/24", n + 10)))
        .collect();

    asking(async {
        let client = scene.agent.client()?;
        for answer in join_all(specs.iter().map(|spec| client.attach(Uuid::new_v4(), spec, false))).await {
            assert!(answer?.created);
        }
        let listed = client.list(&ListFilter::default()).await?.attachments;
        let host_ends: HashSet<_> = listed.iter().map(|one| one.host_ifname.clone()).collect();
        assert_eq!((listed.len(), host_ends.len()), (CROWD, CROWD));
        let is_in_bridge = |one: &pipewright_api::attachment::Attachment| {
            one.observed.as_ref().is_some_and(|seen| seen.present && seen.bridge == uplink)
        };
        assert!(listed.iter().all(is_in_bridge), "{listed:#?}");

        let targets: Vec<_> = specs.iter().map(of_whole_guest).collect();
        for answer in
            join_all(targets.iter().map(|target| client.detach(Uuid::new_v4(), target, false))).await
        {
            assert_eq!(answer?.len(), 1);
        }
        Ok(())
    })?;

    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn all_of_64_attaches_to_64_guests_on_a_linux_bridge_are_made() -> Result<()> {
    needs!(Root);
    a_crowd_is_served(Scene::linux()?, "br0")
}

#[test]
fn all_of_64_attaches_to_64_guests_on_open_vswitch_are_made() -> Result<()> {
    needs!(Root, Ovs);
    a_crowd_is_served(Scene::ovs()?, "ovs0")
}

#[test]
fn asking_again_gives_the_same_attachment_and_asking_otherwise_changes_nothing() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let asked = spec(&guest, "br0", "192.0.2.10/24");

    asking(async {
        let client = scene.agent.client()?;
        let first = client.attach(Uuid::new_v4(), &asked, false).await?;
        let made = scene.settled()?;

        let again = client.attach(Uuid::new_v4(), &asked, false).await?;
        assert!(first.created && !again.created);
        assert_eq!(again.attachment.id, first.attachment.id);

        let others: [fn(&mut AttachmentSpec); 5] = [
            |spec| spec.uplink = "br1".parse().expect("a name"),
            |spec| spec.mtu = 1400_u32.try_into().ok(),
            |spec| spec.mac = "02:00:5e:10:00:01".parse().ok(),
            |spec| spec.gateways = vec!["192.0.2.1".parse().expect("an address")],
            |spec| spec.addressing = pipewright_api::spec::Addressing::None,
        ];
        for change in others {
            let mut other = asked.clone();
            change(&mut other);
            let failure = refused(client.attach(Uuid::new_v4(), &other, false).await, Reason::SpecDiffers);
            assert!(failure.message().contains(&first.attachment.id.to_string()), "{failure}");
            refused(client.attach(Uuid::new_v4(), &other, true).await, Reason::SpecDiffers);
        }
        made.assert_same(&scene.snapshot()?);
        client.detach(Uuid::new_v4(), &of_whole_guest(&asked), false).await?;
        assert_eq!(client.detach(Uuid::new_v4(), &of_whole_guest(&asked), false).await?, []);
        Ok(())
    })?;
    scene.lab.finish()
}

#[test]
fn of_64_equal_requests_with_one_id_one_is_carried_out_and_all_get_its_answer() -> Result<()> {
    needs!(Root);
    let lab_steps = |scene: &Scene| scene.lab.dir().join("steps");
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let asked = spec(&guest, "br0", "192.0.2.10/24");
    let steps = lab_steps(&scene);
    scene.agent.kill9()?;
    scene.agent.set_options(
        AgentOptions::default()
            .binary("pwagent-faulty")
            .variable("PIPEWRIGHT_STEPS", &steps.display().to_string()),
    );
    scene.agent.start()?;

    let request = Uuid::new_v4();
    let first = asking(async {
        let client = scene.agent.client()?;
        let answers = join_all((0..CROWD).map(|_| client.attach(request, &asked, false))).await;
        let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let first = answers.first().context("64 answers")?.clone();
        assert!(answers.iter().all(|answer| *answer == first), "{answers:#?}");
        let taken = std::fs::read_to_string(&steps)?;
        assert_eq!(taken.lines().collect::<Vec<_>>(), first.attachment.plan);

        let other = spec(&guest, "br0", "192.0.2.11/24");
        refused(client.attach(request, &other, false).await, Reason::SpecDiffers);
        let detach = client.detach(request, &of_whole_guest(&asked), false).await;
        refused(detach, Reason::SpecDiffers);
        let operation = client.operation(request).await?;
        assert_eq!(operation.state, OperationState::Done);
        assert_eq!(operation.attachment_ids, [first.attachment.id]);
        Ok(first)
    })?;

    // For ever: after a restart, and after the link is gone.
    scene.restart()?;
    asking(async {
        let client = scene.agent.client()?;
        assert_eq!(client.attach(request, &asked, false).await?, first);
        client.detach(Uuid::new_v4(), &of_whole_guest(&asked), false).await?;
        assert_eq!(client.attach(request, &asked, false).await?, first);
        assert_eq!(client.list(&ListFilter::default()).await?.attachments, []);
        Ok(())
    })?;
    scene.lab.finish()
}

#[test]
fn a_failed_request_fails_the_same_way_again_and_a_new_one_is_tried() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let asked = spec(&guest, "br0", "192.0.2.10/24");
    scene.restart_with_fault("refuse:3")?;

    asking(async {
        let client = scene.agent.client()?;
        let request = Uuid::new_v4();
        let first = refused(client.attach(request, &asked, false).await, Reason::StepFailed);
        let again = refused(client.attach(request, &asked, false).await, Reason::StepFailed);
        assert_eq!(first, again);
        assert_eq!(client.operation(request).await?.state.failure(), Some(&first));

        client.attach(Uuid::new_v4(), &asked, false).await?;
        client.detach(Uuid::new_v4(), &of_whole_guest(&asked), false).await?;
        refused(client.operation(Uuid::new_v4()).await, Reason::OperationNotFound);
        Ok(())
    })?;
    scene.lab.finish()
}

#[test]
fn what_a_caller_began_is_finished_when_the_caller_goes_away() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let guest = scene.host.guest("web")?;
    let asked = spec(&guest, FOREIGN, "192.0.2.10/24");
    let ovs = scene.host.ovs()?;

    asking(async {
        let client = scene.agent.client()?;
        let mut events = client.watch(None, None).await?;
        let mut next = async |state: State| loop {
            let event = tokio::time::timeout(SOON, events.next()).await?.context("the watch goes on")??;
            if event.attachment.state == state {
                return Ok::<_, anyhow::Error>(event);
            }
        };

        // A switch that hangs holds the attach up in its midst.
        ovs.stop(Daemon::Switch)?;
        let request = Uuid::new_v4();
        let call = client.attach(request, &asked, false);
        let begun = tokio::select! {
            answer = call => anyhow::bail!("it was answered while the switch hung: {answer:?}"),
            event = next(State::Attaching) => event?,
        };
        assert_eq!(client.operation(request).await?.state, OperationState::Running);
        ovs.cont(Daemon::Switch)?;

        let done = next(State::Attached).await?;
        assert_eq!(done.attachment.id, begun.attachment.id);
        let answer = client.attach(request, &asked, false).await?;
        assert!(answer.created);
        assert_eq!(client.operation(request).await?.attachment_ids, [done.attachment.id]);
        client.detach(Uuid::new_v4(), &of_whole_guest(&asked), false).await?;
        next(State::Detached).await?;

        // And a program that is killed.
        ovs.stop(Daemon::Switch)?;
        let request = Uuid::new_v4();
        let line = format!(
            "--endpoint {} attach {FOREIGN} {} --vlan 100 --ip 192.0.2.10/24 --request-id {request}",
            scene.agent.endpoint(),
            guest.reference()
        );
        let mut pwctl = pipewright_tests::process::Process::spawn(
            "pwctl",
            pipewright_tests::process::command(pipewright_tests::agent::program("pwctl")?)?
                .args(line.split_whitespace()),
        )?;
        next(State::Attaching).await?;
        pwctl.signal(Signal::KILL)?;
        pwctl.wait_end(SOON)?;
        ovs.cont(Daemon::Switch)?;
        next(State::Attached).await?;
        // Watchers hear of it before it is on the disk, which the answer waits for.
        assert!(client.attach(request, &asked, false).await?.created);
        let operation = scene.ctl(&format!("operation {request}"))?;
        ensure!(operation.stdout.contains("was done"), "{}", operation.stdout);
        client.detach(Uuid::new_v4(), &of_whole_guest(&asked), false).await?;
        Ok(())
    })?;
    scene.lab.finish()
}
