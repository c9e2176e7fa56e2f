//! Open vSwitch that is away: the error names what is down, nothing is changed, and all is well when it is back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::agent::program;
use pipewright_tests::ovs::Daemon;
use pipewright_tests::process::{Process, command};
use pipewright_tests::{Agent, AgentOptions, Guest, Host, Lab, Snapshot, needs, reach};

use crate::ask;
use crate::scene::{FOREIGN, Scene};

/// Ports of a host that carry our mark.
fn our_ports(host: &Host) -> Result<usize> {
    let rows = host.ovs()?.rows("Port", &["name", "external_ids"])?;
    Ok(rows.iter().filter(|row| row["external_ids"].to_string().contains("pipewright-id")).count())
}

/// Attaches until Open vSwitch is known to be back, which the agent notices in its own time: every try waits there.
fn attach_when_back(agent: &Agent, guest: &Guest, words: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let answer =
            agent.ctl(&format!("attach {words} {} --ip 192.0.2.10/24 --vlan 100", guest.reference()))?;
        if answer.code == 0 {
            return Ok(());
        }
        ensure!(answer.stderr.contains("[OVSDB_DOWN]") && Instant::now() < end, "{answer:?}");
    }
}

/// The same for a detach, which the agent goes on with by itself.
fn detach_when_back(agent: &Agent, guest: &Guest) -> Result<()> {
    let left = agent.list()?.len().saturating_sub(1);
    let answer = agent.ctl(&format!("detach {}", guest.reference()))?;
    ensure!(answer.code == 0 || answer.stderr.contains("[ROLLBACK_INCOMPLETE]"), "{answer:?}");
    wait_listed(agent, left)
}

/// Waits until the agent lists so many attachments, with its own watch for the time between two looks.
fn wait_listed(agent: &Agent, number: usize) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let listed = agent.ctl("-o json list")?.json()?;
        let attachments = listed["attachments"].as_array().map_or(0, Vec::len);
        if attachments == number {
            return Ok(());
        }
        let revision = listed["revision"].as_str().context("a list has a revision")?;
        let mut watch = command(program("pwctl")?)?;
        watch.args(["--endpoint", &agent.endpoint(), "watch", "--resume", revision]);
        let left = end.saturating_duration_since(Instant::now());
        Process::spawn("pwctl watch", &mut watch)?
            .wait_more(0, left)
            .with_context(|| format!("not {number} attachments but {listed}"))?;
    }
}

#[test]
fn an_agent_without_open_vswitch_and_docker_runs_and_names_what_is_missing() -> Result<()> {
    needs!(Root);
    let lab = Lab::new()?;
    let host = lab.host("a")?;
    let agent = host.agent(AgentOptions::default())?;
    let guest = host.guest("web")?;
    let before = Snapshot::take(&host)?;

    let answer = agent.ctl(&format!("attach ovs0 {} --no-ip --vlan 100", guest.reference()))?;
    ask::refused(answer, "OVSDB_DOWN", &["nothing.sock"]);
    let answer = agent.ctl("attach br0 docker:web --no-ip")?;
    ask::refused(answer, "DOCKER_DOWN", &["nothing.sock", "pid:N"]);
    let shown = agent.ctl("host show")?.ok()?.stdout;
    assert!(shown.contains("docker") && shown.contains("nothing.sock"), "{shown}");
    before.assert_same(&Snapshot::take(&host)?);

    // What needs neither goes on.
    agent.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", guest.reference()))?.ok()?;
    agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
    before.assert_same(&Snapshot::take(&host)?);
    lab.finish()
}

#[test]
fn an_agent_older_than_open_vswitch_uses_it_once_it_is_there() -> Result<()> {
    needs!(Root, Ovs);
    let lab = Lab::new()?;
    let host = lab.host("a")?;
    let endpoint = format!("unix:{}", host.dir().join("ovs/db.sock").display());
    let agent = host.agent(AgentOptions::default().ovsdb(&endpoint))?;
    let guest = host.guest("web")?;
    let attach = format!("attach ovs0 {} --no-ip --vlan 100", guest.reference());
    ask::refused(agent.ctl(&attach)?, "OVSDB_DOWN", &["db.sock"]);

    host.ovs()?;

    attach_when_back(&agent, &guest, "ovs0")?;
    agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
    lab.finish()
}

#[test]
fn a_dead_ovsdb_server_is_named_and_linux_bridges_go_on_meanwhile() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (web, db) = (scene.host.guest("web")?, scene.host.guest("db")?);
    let ovs = scene.host.ovs()?;
    let before = Snapshot::take(&scene.host)?;

    ovs.kill9(Daemon::Database)?;
    let answer =
        scene.agent.ctl(&format!("attach {FOREIGN} {} --ip 192.0.2.10/24 --vlan 100", web.reference()))?;
    ask::refused(answer, "OVSDB_DOWN", &["db.sock"]);
    assert!(!web.inside()?.has_link("eth1")?);
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.20/24", db.reference()))?;
    assert_eq!(scene.agent.list()?.len(), 1);
    scene.ctl(&format!("detach {}", db.reference()))?;

    ovs.start_daemon(Daemon::Database)?;
    before.wait_same(&scene.host)?;
    attach_when_back(&scene.agent, &web, FOREIGN)?;
    assert_eq!(our_ports(&scene.host)?, 1);
    scene.ctl(&format!("detach {}", web.reference()))?;
    before.wait_same(&scene.host)?;
    scene.lab.finish()
}

#[test]
fn a_detach_without_ovsdb_server_is_said_to_be_incomplete_and_finished_when_it_is_back() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (web, db) = (scene.host.guest("web")?, scene.host.guest("db")?);
    let ovs = scene.host.ovs()?;
    let before = Snapshot::take(&scene.host)?;
    for (guest, last) in [(&web, 10), (&db, 20)] {
        let to = guest.reference();
        scene.ctl(&format!("attach {FOREIGN} {to} --ip 192.0.2.{last}/24 --vlan 100"))?;
    }

    ovs.kill9(Daemon::Database)?;
    let answer = scene.agent.ctl(&format!("detach {}", web.reference()))?;
    ask::refused(answer, "ROLLBACK_INCOMPLETE", &["eth1", web.reference(), "db.sock"]);
    assert!(!web.inside()?.has_link("eth1")?, "what could be taken back was");
    let listed = scene.agent.list()?;
    assert!(listed.iter().any(|one| one["state"].to_string().contains("INCOMPLETE")), "{listed:?}");

    ovs.start_daemon(Daemon::Database)?;
    wait_listed(&scene.agent, 1)?;
    assert_eq!(our_ports(&scene.host)?, 1);
    scene.ctl(&format!("detach {}", db.reference()))?;
    before.wait_same(&scene.host)?;
    scene.lab.finish()
}

#[test]
fn a_frozen_ovsdb_server_never_leaves_two_rows_or_half_a_link() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let web = scene.host.guest("web")?;
    let ovs = scene.host.ovs()?;
    let before = Snapshot::take(&scene.host)?;
    let attach = format!("attach {FOREIGN} {} --ip 192.0.2.10/24 --vlan 100 --timeout 60s", web.reference());

    // Connected, and silent for as long as the agent is ready to wait.
    ovs.stop(Daemon::Database)?;
    let answer = scene.agent.ctl(&attach)?;
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("OVSDB") || answer.stderr.contains("ovsdb"), "{answer:?}");
    ovs.cont(Daemon::Database)?;
    wait_listed(&scene.agent, 0)?;
    assert_eq!(our_ports(&scene.host)?, 0);
    before.wait_same(&scene.host)?;

    // Silent for a moment in the middle: late, and right.
    let answer = std::thread::scope(|scope| {
        ovs.stop(Daemon::Database)?;
        let asked = scope.spawn(|| scene.agent.ctl(&attach));
        // Something that ends by itself while the attach waits for the database.
        assert!(!reach::ping(&web.inside()?, "192.0.2.99".parse()?)?);
        ovs.cont(Daemon::Database)?;
        asked.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?
    })?;
    if answer.code == 0 {
        assert_eq!(our_ports(&scene.host)?, 1);
    } else {
        wait_listed(&scene.agent, 0)?;
        attach_when_back(&scene.agent, &web, FOREIGN)?;
    }
    assert_eq!(our_ports(&scene.host)?, 1);
    assert!(web.inside()?.has_link("eth1")?);
    scene.ctl(&format!("detach {}", web.reference()))?;
    before.wait_same(&scene.host)?;
    scene.lab.finish()
}

#[test]
fn a_detach_that_a_frozen_ovsdb_server_does_not_answer_is_finished_later() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let web = scene.host.guest("web")?;
    let ovs = scene.host.ovs()?;
    let before = Snapshot::take(&scene.host)?;
    scene.ctl(&format!("attach {FOREIGN} {} --ip 192.0.2.10/24 --vlan 100", web.reference()))?;

    ovs.stop(Daemon::Database)?;
    let answer = scene.agent.ctl(&format!("detach {} --timeout 60s", web.reference()))?;
    ovs.cont(Daemon::Database)?;

    assert_ne!(answer.code, 2, "{answer:?}");
    wait_listed(&scene.agent, 0)?;
    assert_eq!(our_ports(&scene.host)?, 0);
    before.wait_same(&scene.host)?;
    scene.lab.finish()
}

#[test]
fn a_dead_ovs_vswitchd_is_named_the_attach_rolled_back_and_the_next_one_works_when_it_is_back() -> Result<()>
{
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let web = scene.host.guest("web")?;
    let ovs = scene.host.ovs()?;
    let before = Snapshot::take_guest(&web)?;
    let attach = format!("attach {FOREIGN} {} --ip 192.0.2.10/24 --vlan 100", web.reference());

    ovs.kill9(Daemon::Switch)?;
    ask::refused(scene.agent.ctl(&attach)?, "OVSDB_DOWN", &["ovs-vswitchd"]);
    assert_eq!(our_ports(&scene.host)?, 0);
    assert_eq!(scene.agent.list()?.len(), 0);
    before.assert_same(&Snapshot::take_guest(&web)?);

    ovs.start_daemon(Daemon::Switch)?;
    scene.ctl(&attach)?;
    assert_eq!(our_ports(&scene.host)?, 1);
    scene.ctl(&format!("detach {}", web.reference()))?;
    before.assert_same(&Snapshot::take_guest(&web)?);
    scene.lab.finish()
}

#[test]
fn a_bridge_that_is_released_while_ovs_vswitchd_is_dead_leaves_no_link_and_can_be_made_again() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let web = scene.host.guest("web")?;
    let ovs = scene.host.ovs()?;
    let before = scene.settled()?;
    let attach = format!("attach ovs0 {} --ip 192.0.2.10/24 --vlan 100", web.reference());

    scene.ctl(&attach)?;
    ovs.kill9(Daemon::Switch)?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    ovs.start_daemon(Daemon::Switch)?;
    before.wait_same(&scene.host)?;

    scene.ctl(&attach)?;
    assert_eq!(our_ports(&scene.host)?, 1);
    scene.ctl(&format!("detach {}", web.reference()))?;
    before.wait_same(&scene.host)?;
    scene.lab.finish()
}

#[test]
fn a_switch_that_restarts_under_an_attachment_brings_it_back() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (web, db) = (scene.host.guest("web")?, scene.host.guest("db")?);
    for (guest, last) in [(&web, 10), (&db, 20)] {
        let to = guest.reference();
        scene.ctl(&format!("attach {FOREIGN} {to} --ip 192.0.2.{last}/24 --vlan 100"))?;
    }
    let ovs = scene.host.ovs()?;

    for daemon in [Daemon::Switch, Daemon::Database] {
        ovs.kill9(daemon)?;
        ovs.start_daemon(daemon)?;
        assert!(reach::ping(&web.inside()?, "192.0.2.20".parse()?)?, "after {daemon:?}");
    }

    assert_eq!(our_ports(&scene.host)?, 2);
    for guest in [web, db] {
        detach_when_back(&scene.agent, &guest)?;
    }
    scene.lab.finish()
}

#[test]
fn a_frozen_ovs_vswitchd_is_waited_for_and_one_that_stays_so_is_named() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (web, db) = (scene.host.guest("web")?, scene.host.guest("db")?);
    let ovs = scene.host.ovs()?;
    let before = Snapshot::take(&scene.host)?;
    let attach = |guest: &Guest, last: u8| {
        format!("attach {FOREIGN} {} --ip 192.0.2.{last}/24 --vlan 100", guest.reference())
    };

    // For a moment, and longer than the agent waits; an answer would mean that the port is there.
    let answers = std::thread::scope(|scope| -> Result<Vec<_>> {
        ovs.stop(Daemon::Switch)?;
        let agent = &scene.agent;
        let asked: Vec<_> = [attach(&web, 10), attach(&db, 20)]
            .into_iter()
            .map(|line| scope.spawn(move || agent.ctl(&line)))
            .collect();
        let end = Instant::now() + Duration::from_secs(10);
        while our_ports(&scene.host)? < 2 {
            ensure!(Instant::now() < end, "the ports are not in the database");
        }
        let is_early = asked.iter().any(std::thread::ScopedJoinHandle::is_finished);
        ovs.cont(Daemon::Switch)?;
        ensure!(!is_early, "an attach was answered before the switch had the port");
        asked.into_iter().map(|one| one.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?).collect()
    })?;
    assert!(answers.iter().all(|answer| answer.code == 0), "{answers:?}");
    assert!(reach::ping(&web.inside()?, "192.0.2.20".parse()?)?);
    scene.ctl(&format!("detach {}", db.reference()))?;

    ovs.stop(Daemon::Switch)?;
    let refused = scene.agent.ctl(&attach(&db, 20))?;
    ovs.cont(Daemon::Switch)?;
    ask::refused(refused, "OVSDB_DOWN", &["ovs-vswitchd"]);
    assert_eq!(our_ports(&scene.host)?, 1);
    scene.ctl(&attach(&db, 20))?;
    assert!(reach::ping(&web.inside()?, "192.0.2.20".parse()?)?);
    for guest in [&web, &db] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    before.wait_same(&scene.host)?;
    scene.lab.finish()
}
