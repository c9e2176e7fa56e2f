//! VLANs on linux bridges: who reaches whom, and what becomes of ports that are not ours.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use pipewright_tests::netns::Inside;
use pipewright_tests::{Guest, Need, Reach, needs, process, reach, skip};
use serde_json::{Value, json};

use crate::fleet_scene::{FleetScene, Link, fleet};
use crate::refused_step::unchanged;
use crate::scene::{Scene, until};

/// What `bridge vlan show` says of a port.
fn vlans(inside: &Inside, port: &str) -> Result<Value> {
    let shown = process::output(inside.command("bridge")?.args(["-j", "vlan", "show"]))?;
    let ports: Vec<Value> = serde_json::from_str(&shown).with_context(|| shown.clone())?;
    let found = ports.into_iter().find(|shown| shown["ifname"] == port);
    Ok(found.map_or(Value::Null, |mut found| found["vlans"].take()))
}

fn filters(scene: &Scene, bridge: &str) -> Result<Value> {
    let link = scene.host.inside().ip_json(&format!("-d link show {bridge}"))?.remove(0);
    Ok(link["linkinfo"]["info_data"]["vlan_filtering"].clone())
}

fn attach(scene: &Scene, guest: &Guest, words: &str) -> Result<()> {
    let (bridge, more) = words.split_once(' ').context("BRIDGE WORDS")?;
    scene.ctl(&format!("attach {bridge} {} {more}", guest.reference())).map(drop)
}

fn reaches(from: &Guest, to: &Guest, last: u8) -> Result<Reach> {
    reach(&from.inside()?, &to.inside()?, format!("192.0.2.{last}").parse()?)
}

fn port_of(scene: &Scene, guest: &Guest) -> Result<String> {
    let listed = scene.agent.list()?;
    let of = listed.iter().find(|one| one["spec"]["guest"] == guest.reference()).context("it is listed")?;
    Ok(of["host_ifname"].as_str().context("a name")?.to_owned())
}

/// A bridge of somebody else's with a port of theirs.
fn foreign_bridge(scene: &Scene, filtering: u8) -> Result<()> {
    let inside = scene.host.inside();
    for words in [
        &format!("add br9 type bridge vlan_filtering {filtering}"),
        "set br9 addrgenmode none",
        "set br9 up",
        "add theirs type veth peer name far",
        "set theirs addrgenmode none",
        "set far addrgenmode none",
        "set theirs master br9 up",
        "set far up",
    ] {
        inside.ip(&format!("link {words}"))?;
    }
    until("the bridge is operational", || Ok(inside.ip_json("link show br9")?[0]["operstate"] == "UP"))
}

#[test]
fn guests_of_one_vlan_of_a_bridge_reach_each_other_and_no_other() -> Result<()> {
    needs!(Root, BridgeVlans);
    let scene = Scene::linux()?;
    let names = ["red1", "red2", "blue", "plain1", "plain2"];
    let guests: Vec<Arc<Guest>> = names.iter().map(|name| scene.host.guest(name)).collect::<Result<_>>()?;
    let [red1, red2, blue, plain1, plain2] = &guests[..] else { unreachable!("five names") };
    let before = scene.snapshot()?;

    // Those without a VLAN were there first, and are not disturbed.
    attach(&scene, plain1, "br0 --ip 192.0.2.4/24")?;
    attach(&scene, plain2, "br0 --ip 192.0.2.5/24")?;
    assert_eq!(filters(&scene, "br0")?, 0);
    attach(&scene, red1, "br0 --ip 192.0.2.1/24 --vlan 100")?;
    attach(&scene, red2, "br0 --ip 192.0.2.2/24 --vlan 100")?;
    attach(&scene, blue, "br0 --ip 192.0.2.3/24 --vlan 200")?;

    assert_eq!(filters(&scene, "br0")?, 1);
    assert_eq!(reaches(red1, red2, 2)?, Reach::BOTH);
    assert_eq!(reaches(plain1, plain2, 5)?, Reach::BOTH);
    assert_eq!(reaches(red1, blue, 3)?, Reach::NEITHER);
    assert_eq!(reaches(red1, plain1, 4)?, Reach::NEITHER);
    let inside = scene.host.inside();
    let own = json!([{ "vlan": 100, "flags": ["PVID", "Egress Untagged"] }]);
    assert_eq!(vlans(inside, &port_of(&scene, red1)?)?, own);
    let default = json!([{ "vlan": 1, "flags": ["PVID", "Egress Untagged"] }]);
    assert_eq!(vlans(inside, &port_of(&scene, plain1)?)?, default);
    assert_eq!(vlans(inside, "br0")?, default, "the host itself got a VLAN");

    // Filtering ends with the last that needs it, and the others are as they were.
    for guest in [red1, red2, blue] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    assert_eq!(filters(&scene, "br0")?, 0);
    assert_eq!(reaches(plain1, plain2, 5)?, Reach::BOTH);
    for guest in [plain1, plain2] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_trunk_hears_its_vlans_tagged_and_no_other() -> Result<()> {
    needs!(Root, BridgeVlans, Vlan);
    let scene = Scene::linux()?;
    let [red, blue, router, all] = ["red", "blue", "router", "all"].map(|name| scene.host.guest(name));
    let (red, blue, router, all) = (red?, blue?, router?, all?);
    let before = scene.snapshot()?;
    attach(&scene, &red, "br0 --ip 192.0.2.1/24 --vlan 100")?;
    attach(&scene, &blue, "br0 --ip 192.0.2.2/24 --vlan 200")?;
    attach(&scene, &router, "br0 --no-ip --trunk 100,300")?;
    attach(&scene, &all, "br0 --no-ip --trunk all")?;
    for (trunk, last) in [(&router, 11), (&all, 21)] {
        for (vlan, last) in [(100, last), (200, last + 1)] {
            trunk.ip(&format!("link add link eth1 name v{vlan} up type vlan id {vlan}"))?;
            trunk.ip(&format!("address add 192.0.2.{last}/32 dev v{vlan}"))?;
            let to = if vlan == 100 { 1 } else { 2 };
            trunk.ip(&format!("route add 192.0.2.{to}/32 dev v{vlan} src 192.0.2.{last}"))?;
        }
    }

    assert_eq!(reaches(&red, &router, 11)?, Reach::BOTH);
    assert_eq!(reaches(&blue, &router, 12)?, Reach::NEITHER);
    assert_eq!(reaches(&red, &all, 21)?, Reach::BOTH);
    assert_eq!(reaches(&blue, &all, 22)?, Reach::BOTH);
    let tagged = vlans(scene.host.inside(), &port_of(&scene, &router)?)?;
    assert_eq!(tagged, json!([{ "vlan": 100 }, { "vlan": 300 }]));

    for guest in [&red, &blue, &router, &all] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    for trunk in [&router, &all] {
        assert!(!trunk.inside()?.has_link("v100")?, "what is on the link goes with it");
    }
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_bridge_of_somebody_else_is_used_if_it_filters_and_refused_if_it_does_not() -> Result<()> {
    needs!(Root, BridgeVlans);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    foreign_bridge(&scene, 0)?;
    let before = scene.snapshot()?;

    let answer = scene.agent.ctl(&format!("attach br9 {} --no-ip --vlan 100", guest.reference()))?;
    assert_eq!(answer.code, 1);
    assert!(answer.stderr.contains("ip link set br9 type bridge vlan_filtering 1"), "{}", answer.stderr);
    before.assert_same(&scene.snapshot()?);

    scene.host.inside().ip("link set br9 type bridge vlan_filtering 1")?;
    let before = scene.snapshot()?;
    let theirs = vlans(scene.host.inside(), "theirs")?;
    attach(&scene, &guest, "br9 --no-ip --vlan 100")?;
    assert_eq!(vlans(scene.host.inside(), "theirs")?, theirs);
    scene.ctl(&format!("detach {}", guest.reference()))?;
    before.assert_same(&scene.snapshot()?);

    // Nothing passes a port without a VLAN there.
    scene.host.inside().ip("link set br9 type bridge vlan_default_pvid 0")?;
    let answer = scene.agent.ctl(&format!("attach br9 {} --no-ip", guest.reference()))?;
    assert!(answer.stderr.contains("vlan_default_pvid 0"), "{}", answer.stderr);
    scene.lab.finish()
}

#[test]
fn a_port_of_others_in_a_bridge_of_ours_keeps_hearing_what_it_heard() -> Result<()> {
    needs!(Root, BridgeVlans);
    let scene = Scene::linux()?;
    let (web, db) = (scene.host.guest("web")?, scene.host.guest("db")?);
    attach(&scene, &web, "br0 --no-ip")?;
    let inside = scene.host.inside();
    for words in ["add theirs type veth peer name far", "set theirs master br0"] {
        inside.ip(&format!("link {words}"))?;
    }
    let before = scene.settled()?;

    let answer = scene.agent.ctl(&format!("attach br0 {} --no-ip --vlan 100", db.reference()))?;

    assert!(answer.code == 1 && answer.stderr.contains("theirs"), "{}", answer.stderr);
    before.assert_same(&scene.snapshot()?);
    inside.ip("link del theirs")?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_vlan_that_somebody_took_from_a_port_is_given_back_by_asking_again() -> Result<()> {
    needs!(Root, BridgeVlans);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    attach(&scene, &guest, "br0 --no-ip --vlan 100")?;
    let port = port_of(&scene, &guest)?;
    let inside = scene.host.inside();
    process::output(inside.command("bridge")?.args(["vlan", "add", "dev", &port, "vid", "200"]))?;

    attach(&scene, &guest, "br0 --no-ip --vlan 100")?;

    let own = json!([{ "vlan": 100, "flags": ["PVID", "Egress Untagged"] }]);
    assert_eq!(vlans(inside, &port_of(&scene, &guest)?)?, own);
    scene.ctl(&format!("detach {}", guest.reference()))?;
    scene.lab.finish()
}

const SWITCH: &str = "br0: { kind: linux, hosts: [a, b], uplink: eth1 }";
const RED_AND_BLUE: &str = "red: { switch: br0, vlan: 100, subnet: 192.0.2.0/24 }
    blue: { switch: br0, vlan: 200, subnet: 192.0.2.0/24 }";
const LINKS: [Link; 3] = [("a", "red1", "red", 1), ("a", "blue1", "blue", 2), ("b", "red2", "red", 3)];

#[test]
fn segments_of_a_fleet_on_linux_bridges_span_its_hosts() -> Result<()> {
    needs!(Root, BridgeVlans, Ovs);
    let scene = FleetScene::of(&["a", "b"])?.with_guests(&["a/red1", "a/blue1", "b/red2"])?;
    let before = scene.snapshots()?;
    let file = scene.file("lab", SWITCH, RED_AND_BLUE, &LINKS)?;

    fleet("apply --yes", &file)?.ok()?;
    assert_eq!(scene.reach("red1", "red2", 3)?, Reach::BOTH);
    assert_eq!(scene.reach("blue1", "red2", 3)?, Reach::NEITHER);
    for host in ["a", "b"] {
        let tagged = json!([{ "vlan": 100 }, { "vlan": 200 }]);
        assert_eq!(vlans(scene.host(host)?.inside(), "eth1")?, tagged, "{host}");
    }
    let plan = fleet("plan --exit-code", &file)?;
    assert_eq!(plan.code, 0, "{plan:?}");

    // What somebody changed by hand is found, and repaired.
    let inside = scene.host("a")?.inside();
    process::output(inside.command("bridge")?.args(["vlan", "del", "dev", "eth1", "vid", "100"]))?;
    assert_eq!(fleet("plan --exit-code", &file)?.code, 2);
    fleet("apply --yes", &file)?.ok()?;
    assert_eq!(scene.reach("red1", "red2", 3)?, Reach::BOTH);

    // A file without VLANs makes plain bridges of them.
    let file = scene.file(
        "lab",
        SWITCH,
        "plain: { switch: br0, subnet: 192.0.2.0/24 }",
        &[("a", "red1", "plain", 1), ("b", "red2", "plain", 3)],
    )?;
    fleet("apply --yes", &file)?.ok()?;
    assert_eq!(scene.reach("red1", "red2", 3)?, Reach::BOTH);
    assert_eq!(fleet("plan --exit-code", &file)?.code, 0);

    fleet("destroy --yes", &file)?.ok()?;
    scene.wait_same(&before)?;
    scene.lab.finish()
}

#[test]
fn a_kernel_whose_bridges_cannot_filter_says_so_and_nothing_is_left() -> Result<()> {
    needs!(Root);
    if Need::BridgeVlans.unmet().is_none() {
        skip!("kernel-has-all", "this kernel's bridges filter VLANs");
    }
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;

    let answer = scene.agent.ctl(&format!("attach br0 {} --no-ip --vlan 100", guest.reference()))?;

    assert_eq!(answer.code, 1);
    let said = &answer.stderr;
    assert!(said.contains("[NOT_SUPPORTED_HERE]") && said.contains("CONFIG_BRIDGE_VLAN_FILTERING"), "{said}");
    unchanged("after the refusal", &before, &scene.snapshot()?);
    scene.lab.finish()
}
