//! Docker containers as guests: their names, their networks, and their lives.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use pipewright_tests::{Agent, AgentOptions, Docker, Guest, Host, Lab, Reach, Snapshot, needs, reach};

use crate::ask;
use crate::scene::{FOREIGN, until, with_default_routes};

struct Stage {
    lab: Lab,
    host: Arc<Host>,
    agent: Arc<Agent>,
}

impl Stage {
    fn set() -> Result<Self> {
        let lab = Lab::new()?;
        let host = lab.host("a")?;
        let agent = host.agent(AgentOptions::with_docker()?)?;
        Ok(Self { lab, host, agent })
    }

    fn with_ovs() -> Result<Self> {
        let lab = Lab::new()?;
        let host = lab.host("a")?;
        host.ovs()?.add_bridge(FOREIGN)?;
        let agent = host.agent(AgentOptions::with_docker()?)?;
        Ok(Self { lab, host, agent })
    }

    fn ctl(&self, words: &str) -> Result<pipewright_tests::ctl::Answer> {
        self.agent.ctl(words)?.ok()
    }
}

/// What Docker says of a container.
fn inspect(guest: &Guest, what: &str) -> Result<String> {
    let name = guest.reference().trim_start_matches("docker:");
    Ok(Docker::shared()?.docker(&["inspect", "--format", what, name])?.trim().to_owned())
}

/// `docker kill`, and waits for the end.
fn kill(guest: &Guest) -> Result<()> {
    guest.docker("kill")?;
    guest.docker("wait")
}

#[test]
fn a_container_is_one_guest_by_name_by_id_and_by_the_beginning_of_its_id() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::set()?;
    let web = stage.host.container("web")?;
    let before = Snapshot::take(&stage.host)?;
    let id = inspect(&web, "{{.Id}}")?;
    let name = web.reference().trim_start_matches("docker:");
    let names = [web.reference().to_owned(), format!("docker:{id}"), format!("docker:{}", &id[..12])];
    let names: Vec<String> = names.into_iter().chain([name.to_owned(), id[..12].to_owned()]).collect();

    for (first, other) in names.iter().flat_map(|first| names.iter().map(move |other| (first, other))) {
        let attached = stage.ctl(&format!("-o json attach br0 {first} --ip 192.0.2.10/24"))?.json()?;
        assert_eq!(attached["created"], true, "{first}");
        let again = stage.ctl(&format!("-o json attach br0 {other} --ip 192.0.2.10/24"))?.json()?;
        assert_eq!(again["created"], false, "{first} {other}");
        assert_eq!(again["attachment"]["id"], attached["attachment"]["id"]);
        let listed = stage.ctl(&format!("-o json list --guest {other}"))?.json()?;
        assert_eq!(listed["attachments"].as_array().map(Vec::len), Some(1), "{first} {other}");
        stage.ctl(&format!("detach {other}"))?;
        assert_eq!(stage.agent.list()?.len(), 0, "{first} {other}");
    }
    before.wait_same(&stage.host)?;
    stage.lab.finish()
}

#[test]
fn a_container_in_the_hosts_own_network_is_refused() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::set()?;
    let before = Snapshot::take(&stage.host)?;
    let name = format!("{}-hostly", stage.host.netns().name());
    let container = Docker::shared()?.run_on(&name, "host")?;

    let answer = stage.agent.ctl(&format!("attach br0 docker:{name} --no-ip"))?;

    ask::refused(answer, "GUEST_IS_HOST", &[&name, "--net=host"]);
    before.assert_same(&Snapshot::take(&stage.host)?);
    container.remove()?;
    stage.lab.finish()
}

#[test]
fn containers_that_share_a_network_are_one_guest() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::set()?;
    let web = stage.host.container("web")?;
    let before = Snapshot::take(&stage.host)?;
    let owner = web.reference().trim_start_matches("docker:").to_owned();
    let sidecar = Docker::shared()?.run_on(&format!("{owner}-sidecar"), &format!("container:{owner}"))?;
    let other = format!("docker:{}", sidecar.name());

    let first = stage.ctl(&format!("-o json attach br0 {} --ip 192.0.2.10/24", web.reference()))?.json()?;
    let second = stage.ctl(&format!("-o json attach br0 {other} --ip 192.0.2.10/24"))?.json()?;

    assert_eq!(second["created"], false);
    assert_eq!(second["attachment"]["id"], first["attachment"]["id"]);
    let differs = stage.agent.ctl(&format!("attach br0 {other} --ip 192.0.2.11/24"))?;
    ask::refused(differs, "SPEC_DIFFERS", &["eth1", "detach"]);
    assert_eq!(stage.agent.list()?.len(), 1);

    // Through either name it goes.
    stage.ctl(&format!("detach {other}"))?;
    assert_eq!(stage.agent.list()?.len(), 0);
    before.wait_same(&stage.host)?;
    sidecar.remove()?;
    stage.lab.finish()
}

#[test]
fn a_network_lives_on_with_the_sidecar_when_its_first_container_dies() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::set()?;
    let web = stage.host.container("web")?;
    let owner = web.reference().trim_start_matches("docker:").to_owned();
    let sidecar = Docker::shared()?.run_on(&format!("{owner}-sidecar"), &format!("container:{owner}"))?;
    stage.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", web.reference()))?;

    kill(&web)?;
    stage.ctl(&format!("detach {}", web.reference()))?;

    let inside = pipewright_tests::netns::Inside::new(format!("/proc/{}/ns/net", sidecar.pid()));
    assert!(!inside.has_link("eth1")?, "detach leaves nothing, also where only the sidecar is left");
    assert_eq!(stage.agent.list()?.len(), 0);
    sidecar.remove()?;
    web.kill()?;
    stage.lab.finish()
}

#[test]
fn stopped_and_unknown_containers_are_named_and_paused_ones_get_their_link() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::set()?;
    let (web, db) = (stage.host.container("web")?, stage.host.container("db")?);
    let attach =
        |guest: &str, last: u8| stage.agent.ctl(&format!("attach br0 {guest} --ip 192.0.2.{last}/24"));
    ask::refused(attach("docker:nobody", 1)?, "GUEST_NOT_FOUND", &["nobody", "docker ps -a"]);

    kill(&web)?;
    ask::refused(
        attach(web.reference(), 1)?,
        "GUEST_NOT_RUNNING",
        &[web.reference().trim_start_matches("docker:"), "exited", "docker start"],
    );

    db.docker("pause")?;
    attach(db.reference(), 2)?.ok()?;
    assert!(db.inside()?.has_link("eth1")?);
    db.docker("unpause")?;
    web.docker("start")?;
    attach(web.reference(), 1)?.ok()?;
    assert_eq!(reach(&web.inside()?, &db.inside()?, "192.0.2.2".parse()?)?, Reach::BOTH);

    db.docker("pause")?;
    stage.ctl(&format!("detach {}", db.reference()))?;
    assert!(!db.inside()?.has_link("eth1")?);
    db.docker("unpause")?;
    stage.ctl(&format!("detach {}", web.reference()))?;
    stage.lab.finish()
}

#[test]
fn a_killed_container_that_is_attached_once_leaves_nothing_and_can_be_attached_again() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let stage = Stage::with_ovs()?;
    let web = stage.host.container("web")?;
    let before = Snapshot::take(&stage.host)?;
    let attach = format!("attach {FOREIGN} {} --ip 192.0.2.10/24 --vlan 100 --once", web.reference());

    for end in [kill as fn(&Guest) -> Result<()>, |web: &Guest| web.restart()] {
        stage.ctl(&attach)?;
        end(&web)?;
        until("the dead container's attachment is gone", || Ok(stage.agent.list()?.is_empty()))?;
        web.docker("start")?;
        before.wait_same(&stage.host)?;
    }

    let again = stage.ctl(&format!("-o json {attach}"))?.json()?;
    assert_eq!(again["created"], true);
    stage.ctl(&format!("detach {}", web.reference()))?;
    before.wait_same(&stage.host)?;
    stage.lab.finish()
}

#[test]
fn a_container_that_restarts_in_the_middle_never_leaves_half_a_link() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let stage = Stage::with_ovs()?;
    let web = stage.host.container("web")?;
    let before = Snapshot::take(&stage.host)?;
    let attach = format!("attach {FOREIGN} {} --ip 192.0.2.10/24 --vlan 100", web.reference());
    let expected = ["GUEST_CHANGED", "GUEST_NOT_RUNNING", "GUEST_NOT_FOUND", "STEP_FAILED", "SPEC_DIFFERS"];

    std::thread::scope(|scope| -> Result<()> {
        let restarts = scope.spawn(|| (0..4).try_for_each(|_| web.restart()));
        while !restarts.is_finished() {
            let answer = stage.agent.ctl(&attach)?;
            let is_expected = expected.iter().any(|reason| answer.stderr.contains(&format!("[{reason}]")));
            assert!(answer.code == 0 || is_expected, "{answer:?}");
        }
        restarts.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?
    })?;

    until("what the restarts left is gone", || {
        stage.agent.ctl(&format!("detach {}", web.reference()))?.ok()?;
        Ok(stage.agent.list()?.is_empty())
    })?;
    before.wait_same(&stage.host)?;
    stage.ctl(&attach)?;
    stage.ctl(&format!("detach {}", web.reference()))?;
    before.wait_same(&stage.host)?;
    stage.lab.finish()
}

#[test]
fn a_container_with_ipv6_switched_off_gets_its_ipv6_address() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::set()?;
    let (web, db) = (stage.host.container("web")?, stage.host.container("db")?);
    let off =
        web.inside()?.act(|| Ok(std::fs::read_to_string("/proc/sys/net/ipv6/conf/default/disable_ipv6")?))?;
    assert_eq!(off.trim(), "1", "Docker switches IPv6 off in containers without a network");
    let before = Snapshot::take(&stage.host)?;

    for (guest, last) in [(&web, 1), (&db, 2)] {
        let to = guest.reference();
        stage.ctl(&format!("attach br0 {to} --ip 192.0.2.{last}/24 --ip 2001:db8::{last}/64"))?;
        stage.ctl(&format!("wait {to} --for address"))?;
    }

    for address in ["192.0.2.2", "2001:db8::2"] {
        assert_eq!(reach(&web.inside()?, &db.inside()?, address.parse()?)?, Reach::BOTH, "{address}");
    }
    for guest in [&web, &db] {
        stage.ctl(&format!("detach {}", guest.reference()))?;
    }
    before.wait_same(&stage.host)?;
    stage.lab.finish()
}

#[test]
fn a_container_gets_its_default_routes_back_on_detach() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::set()?;
    let web = stage.host.container("web")?;
    web.inside()?.act(|| Ok(std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0")?))?;
    with_default_routes(&web)?;
    let before = Snapshot::take_guest(&web)?;

    stage.ctl(&format!(
        "attach br0 {} --ip 192.0.2.10/24 --gateway 192.0.2.1 --ip 2001:db8::10/64 --gateway 2001:db8::1",
        web.reference()
    ))?;

    for (family, gateway) in [("-4", "192.0.2.1"), ("-6", "2001:db8::1")] {
        let defaults = web.inside()?.ip_json(&format!("{family} route show default"))?;
        assert_eq!(defaults.len(), 1, "{defaults:?}");
        assert_eq!((&defaults[0]["gateway"], &defaults[0]["dev"]), (&gateway.into(), &"eth1".into()));
    }
    stage.ctl(&format!("detach {}", web.reference()))?;
    before.assert_same(&Snapshot::take_guest(&web)?);
    stage.lab.finish().context("after a default route was put back")
}
