//! macvlan on a NIC: a guest as a station of its own beside the host.

use std::net::IpAddr;

use anyhow::{Context, Result};
use pipewright_api::reason::Reason;
use pipewright_tests::{Guest, Lab, Reach, Snapshot, needs, reach};
use serde_json::Value;

use crate::refused_step::unchanged;
use crate::scene::{Scene, asking, refused, spec, until};

/// What `ip -d` shows of a guest's link.
pub(crate) fn link(guest: &Guest, name: &str) -> Result<Value> {
    let links = guest.inside()?.ip_json("-d link show")?;
    links.into_iter().find(|link| link["ifname"] == name).with_context(|| format!("no {name} in the guest"))
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().expect("a story's own words parse")
}

#[test]
fn guests_on_the_nics_of_two_hosts_reach_each_other_and_leave_no_trace() -> Result<()> {
    needs!(Root, Macvlan);
    let lab = Lab::new()?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let agents = [a.agent(Default::default())?, b.agent(Default::default())?];
    let guests = [a.guest("web")?, b.guest("db")?];
    let before = [Snapshot::take(&a)?, Snapshot::take(&b)?];

    for (place, (agent, guest)) in agents.iter().zip(&guests).enumerate() {
        let host = 10 + place;
        let line = format!(
            "attach eth1 {} --ip 192.0.2.{host}/24 --ip 2001:db8::{host}/64 --gateway 192.0.2.1",
            guest.reference()
        );
        agent.ctl(&line)?.ok()?;
    }

    let (web, db) = (guests[0].inside()?, guests[1].inside()?);
    assert_eq!(reach(&web, &db, address("192.0.2.11"))?, Reach::BOTH);
    assert_eq!(reach(&db, &web, address("2001:db8::10"))?, Reach::BOTH);
    let listed = &agents[0].list()?[0];
    assert_eq!(listed["spec"]["kind"], "KIND_MACVLAN");
    assert_eq!(listed["spec"]["mode"], "MODE_BRIDGE");
    assert_eq!(listed["host_ifname"], "");
    assert_eq!(listed["observed"]["present"], true);
    assert_eq!(listed["observed"]["mtu"], 1500);
    assert_eq!(link(&guests[0], "eth1")?["address"], listed["mac"]);

    for ((agent, guest), (host, before)) in agents.iter().zip(&guests).zip([&a, &b].into_iter().zip(&before))
    {
        agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
        assert_eq!(agent.list()?.len(), 0);
        before.assert_same(&Snapshot::take(host)?);
    }
    lab.finish()
}

#[test]
fn a_nic_called_eth1_keeps_no_guest_from_an_eth1_of_its_own() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;

    for _ in 0..2 {
        scene.ctl(&format!("attach eth1 {} --ip 192.0.2.10/24 --ifname eth1", guest.reference()))?;
        assert_eq!(link(&guest, "eth1")?["linkinfo"]["info_kind"], "macvlan");
        assert!(scene.host.inside().has_link("eth1")?);
        scene.ctl(&format!("detach {}", guest.reference()))?;
        before.assert_same(&scene.snapshot()?);
    }
    scene.lab.finish()
}

#[test]
fn each_mode_is_the_one_that_was_asked_for_and_passthru_has_the_nics_own_address() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let nic = scene.host.inside().ip_json("link show eth1")?.remove(0);
    let before = scene.snapshot()?;

    for mode in ["bridge", "private", "vepa", "passthru"] {
        scene.ctl(&format!("attach eth1 {} --no-ip --mode {mode} --mtu 1400", guest.reference()))?;

        let made = link(&guest, "eth1")?;
        assert_eq!(made["linkinfo"]["info_data"]["mode"], mode);
        assert_eq!(made["mtu"], 1400, "{mode}");
        assert_eq!(made["address"] == nic["address"], mode == "passthru", "{mode}: {made}");
        scene.ctl(&format!("detach {}", guest.reference()))?;
        unchanged(mode, &before, &scene.snapshot()?);
    }
    scene.lab.finish()
}

#[test]
fn a_nic_that_was_down_is_up_for_as_long_as_a_guest_is_on_it() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    let guests = [scene.host.guest("one")?, scene.host.guest("two")?];
    scene.host.inside().ip("link set eth1 down")?;
    let before = scene.snapshot()?;
    let is_up = || -> Result<bool> { Ok(!scene.host.inside().ip_json("link show up dev eth1")?.is_empty()) };

    for guest in &guests {
        scene.ctl(&format!("attach eth1 {} --no-ip", guest.reference()))?;
    }
    scene.ctl(&format!("detach {}", guests[0].reference()))?;
    assert!(is_up()?, "the second guest was cut off");
    scene.ctl(&format!("detach {}", guests[1].reference()))?;

    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_dead_guest_leaves_neither_record_nor_nic_up_and_its_mac_address_can_be_used_again() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    scene.host.inside().ip("link set eth1 down")?;
    let before = scene.snapshot()?;

    for name in ["one", "two", "three"] {
        let guest = scene.host.process_guest(name)?;
        scene.ctl(&format!("attach eth1 {} --no-ip --mac 02:00:5e:00:53:07", guest.reference()))?;
        guest.kill()?;
        until("the dead guest's attachment is forgotten", || Ok(scene.agent.list()?.is_empty()))?;
        let settled = until("the NIC is down again", || Ok(before == scene.snapshot()?));
        before.assert_same(&scene.snapshot()?);
        settled?;
    }
    scene.lab.finish()
}

#[test]
fn a_link_that_the_guest_deletes_itself_is_forgotten() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    scene.ctl(&format!("attach eth1 {} --no-ip", guest.reference()))?;

    guest.ip("link del eth1")?;

    until("the attachment is forgotten", || Ok(scene.agent.list()?.is_empty()))?;
    scene.lab.finish()
}

#[test]
fn a_guest_that_dies_while_the_agent_is_away_is_forgotten_at_the_next_start() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    let (gone, stays) = (scene.host.guest("gone")?, scene.host.guest("stays")?);
    for guest in [&gone, &stays] {
        scene.ctl(&format!("attach eth1 {} --no-ip", guest.reference()))?;
    }

    scene.agent.kill9()?;
    gone.kill()?;
    scene.agent.start()?;

    let listed = scene.agent.list()?;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["observed"]["present"], true);
    // Its death is noticed by an agent that did not attach it, too.
    stays.kill()?;
    until("the other is forgotten", || Ok(scene.agent.list()?.is_empty()))?;
    scene.lab.finish()
}

#[test]
fn a_guest_whose_name_was_deleted_over_a_living_process_is_detached_all_the_same() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    scene.ctl(&format!("attach eth1 {} --no-ip", guest.reference()))?;
    let mut living = guest.inside()?.command("sleep")?.arg("1000").spawn()?;
    let inside = pipewright_tests::netns::Inside::new(format!("/proc/{}/ns/net", living.id()));
    until("the process is in the guest", || Ok(inside.has_link("eth1").unwrap_or(false)))?;

    guest.kill()?;
    let listed = scene.agent.list()?;
    assert_eq!(listed.len(), 1, "its link lives, and so does its record: {listed:?}");
    scene.ctl(&format!("detach {}", listed[0]["id"].as_str().context("an id")?))?;

    assert!(!inside.has_link("eth1")?);
    living.kill()?;
    living.wait()?;
    scene.lab.finish()
}

#[test]
fn a_nic_that_another_has_is_refused_with_its_holder_and_nothing_changes() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    let (guest, other) = (scene.host.guest("web")?, scene.host.guest("other")?);
    let inside = scene.host.inside();
    for words in ["add br9 type bridge", "set br9 addrgenmode none", "set br9 up", "set eth1 master br9"] {
        inside.ip(&format!("link {words}"))?;
    }
    until("the bridge is operational", || Ok(inside.ip_json("link show br9")?[0]["operstate"] == "UP"))?;
    let before = scene.snapshot()?;
    let ask = |guest: &Guest, change: &str| {
        let mut spec = spec(guest, "eth1", "192.0.2.10/24");
        spec.vlan = None;
        spec.mode = (!change.is_empty()).then(|| change.parse().expect("a mode"));
        asking(async { Ok(scene.agent.client()?.attach(uuid::Uuid::new_v4(), &spec, false).await) })
    };

    let failure = refused(ask(&guest, "")?, Reason::UplinkBusy);
    assert_eq!(failure.fact("holder"), Some("bridge br9"), "{failure}");
    before.assert_same(&scene.snapshot()?);

    inside.ip("link set eth1 nomaster")?;
    let first = ask(&guest, "")?.expect("the NIC is free");
    let failure = refused(ask(&other, "passthru")?, Reason::UplinkBusy);
    assert_eq!(failure.fact("holder"), Some(format!("attachment {}", first.attachment.id).as_str()));
    scene.ctl(&format!("detach {}", guest.reference()))?;
    scene.lab.finish()
}

#[test]
fn the_nic_is_found_by_its_mac_address_in_any_case_and_an_ambiguous_one_is_refused() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let inside = scene.host.inside();
    inside.ip("link set eth1 address 02:00:5e:00:53:ab")?;
    let before = scene.snapshot()?;

    scene.ctl(&format!("attach mac:02:00:5E:00:53:AB {} --no-ip", guest.reference()))?;
    assert_eq!(scene.agent.list()?[0]["spec"]["uplink"], "mac:02:00:5e:00:53:ab");
    scene.ctl(&format!("detach {}", guest.reference()))?;
    before.assert_same(&scene.snapshot()?);

    inside.ip("link add eth2 address 02:00:5e:00:53:ab type veth peer name far2")?;
    let answer = scene.agent.ctl(&format!("attach mac:02:00:5e:00:53:ab {} --no-ip", guest.reference()))?;
    assert_eq!(answer.code, 1);
    assert!(answer.stderr.contains("eth1") && answer.stderr.contains("eth2"), "{}", answer.stderr);
    let answer = scene.agent.ctl(&format!("attach mac:02:00:5e:00:53:cd {} --no-ip", guest.reference()))?;
    assert!(answer.stderr.contains("[NO_UPLINK]"), "{}", answer.stderr);
    scene.lab.finish()
}
