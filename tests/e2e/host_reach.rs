//! The host reaches its macvlan guests, and nobody else notices.

use anyhow::{Context as _, Result};
use pipewright_tests::{Guest, Lab, Reach, Snapshot, needs, reach};
use serde_json::Value;

use crate::macvlan::address;
use crate::refused_step::unchanged;
use crate::scene::{Scene, until};

fn with_address(scene: &Scene) -> Result<()> {
    scene.host.inside().ip("address add 192.0.2.1/24 dev eth1").map(drop)
}

fn attach(guest: &Guest, last: u8) -> String {
    format!("attach eth1 {} --ip 192.0.2.{last}/24 --ip 2001:db8::{last}/64 --host-reach", guest.reference())
}

/// The host's own macvlans.
fn shims(scene: &Scene) -> Result<usize> {
    let links = scene.host.inside().ip_json("-d link show")?;
    Ok(links.iter().filter(|link| link["linkinfo"]["info_kind"] == "macvlan").count())
}

#[test]
fn host_and_macvlan_guests_reach_each_other_over_one_link_that_goes_with_the_last() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    with_address(&scene)?;
    let one = scene.host.guest("one")?;
    let before = scene.settled()?;
    let two = scene.host.process_guest("two")?;

    scene.ctl(&attach(&one, 10))?;
    scene.ctl(&attach(&two, 11))?;
    let host = scene.host.inside();
    for (guest, last) in [(&one, 10), (&two, 11)] {
        assert_eq!(reach(host, &guest.inside()?, address(&format!("192.0.2.{last}")))?, Reach::BOTH);
        assert_eq!(reach(host, &guest.inside()?, address(&format!("2001:db8::{last}")))?, Reach::BOTH);
        assert_eq!(reach(&guest.inside()?, host, address("192.0.2.1"))?, Reach::BOTH);
    }
    assert_eq!(reach(&one.inside()?, &two.inside()?, address("192.0.2.11"))?, Reach::BOTH);
    assert_eq!(shims(&scene)?, 1);

    two.kill()?;
    until("the dead guest is forgotten", || Ok(scene.agent.list()?.len() == 1))?;
    assert_eq!(shims(&scene)?, 1);
    assert!(host.ip("route show 192.0.2.11")?.is_empty() && host.ip("neighbour show 192.0.2.11")?.is_empty());
    assert_eq!(reach(host, &one.inside()?, address("192.0.2.10"))?, Reach::BOTH);
    scene.ctl(&format!("detach {}", one.reference()))?;

    before.assert_same(&scene.settled()?);
    scene.lab.finish()
}

#[test]
fn other_hosts_find_the_hosts_address_at_its_nic_as_before() -> Result<()> {
    needs!(Root, Macvlan);
    let lab = Lab::new()?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let agent = a.agent(Default::default())?;
    let guest = a.guest("web")?;
    a.inside().ip("address add 192.0.2.1/24 dev eth1")?;
    b.inside().ip("address add 192.0.2.2/24 dev eth1")?;
    let nic = a.inside().ip_json("link show eth1")?.remove(0);
    let before = Snapshot::take(&a)?;

    agent.ctl(&format!("attach eth1 {} --ip 192.0.2.10/24 --host-reach", guest.reference()))?.ok()?;
    for _ in 0..3 {
        b.inside().ip("neighbour flush dev eth1")?;
        assert_eq!(reach(b.inside(), a.inside(), address("192.0.2.1"))?, Reach::BOTH);
        // A question of the host's for the guest would be heard here, too, and tell another MAC address.
        assert_eq!(reach(a.inside(), &guest.inside()?, address("192.0.2.10"))?, Reach::BOTH);
        let known = b.inside().ip_json("neighbour show 192.0.2.1")?;
        assert_eq!(known.first().context("a neighbour")?["lladdr"], nic["address"]);
    }
    assert_eq!(reach(b.inside(), &guest.inside()?, address("192.0.2.10"))?, Reach::BOTH);

    agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
    before.assert_same(&Snapshot::take(&a)?);
    lab.finish()
}

#[test]
fn an_address_that_the_host_reaches_elsewhere_is_refused_and_stays_where_it_is() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    with_address(&scene)?;
    let (one, two) = (scene.host.guest("one")?, scene.host.guest("two")?);
    scene.ctl(&attach(&one, 10))?;
    let before = scene.snapshot()?;

    let answer = scene.agent.ctl(&attach(&two, 10))?;

    assert!(
        answer.code == 1 && answer.stderr.contains("the host reaches another guest at 192.0.2.10"),
        "{}",
        answer.stderr
    );
    unchanged("refused", &before, &scene.snapshot()?);
    assert_eq!(reach(scene.host.inside(), &one.inside()?, address("192.0.2.10"))?, Reach::BOTH);
    scene.ctl(&format!("detach {}", one.reference()))?;
    scene.lab.finish()
}

#[test]
fn where_it_cannot_work_it_is_refused_with_why() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;

    for (words, why) in [
        (
            "eth1 GUEST --ip 192.0.2.10/24 --host-reach",
            "has no address in 192.0.2.0/24 that the guest could answer to",
        ),
        ("br0 GUEST --ip 192.0.2.10/24 --host-reach", "only a macvlan keeps the host away"),
        ("eth1 GUEST --ip 192.0.2.10/24 --host-reach --mode private", "use bridge"),
        ("eth1 GUEST --ip 192.0.2.10/24 --host-reach --kind ipvlan", "use macvlan"),
        ("eth1 GUEST --dhcp --host-reach", "DHCP"),
    ] {
        let answer = scene.agent.ctl(&format!("attach {}", words.replace("GUEST", guest.reference())))?;
        assert!(answer.code != 0 && answer.stderr.contains(why), "{words}: {}", answer.stderr);
        before.assert_same(&scene.snapshot()?);
    }
    scene.lab.finish()
}

#[test]
fn whichever_step_is_refused_or_deadly_nothing_is_left() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    with_address(&scene)?;
    let guest = scene.host.guest("web")?;
    let before = scene.settled()?;
    let attach = attach(&guest, 10);
    let planned = scene.agent.ctl(&format!("-o json {attach} --dry-run"))?.json()?;
    let steps = planned["attachment"]["plan"].as_array().map_or(0, Vec::len);
    assert!(steps > 7, "{planned}");

    for n in 0..steps {
        scene.restart_with_fault(&format!("refuse:{n}"))?;
        let answer = scene.agent.ctl(&attach)?;
        assert!(
            answer.code == 1 && answer.stderr.contains("nothing is left of it"),
            "{n}: {}",
            answer.stderr
        );
        unchanged(&format!("step {n}"), &before, &scene.snapshot()?);

        scene.restart_with_fault(&format!("kill-after:{n}"))?;
        scene.agent.ctl(&attach)?;
        scene.restart()?;
        assert_eq!(scene.agent.list()?, Vec::<Value>::new(), "killed after step {n}");
        unchanged(&format!("killed after step {n}"), &before, &scene.snapshot()?);
    }
    scene.lab.finish()
}
