//! `pwctl doctor`: a healthy host has no findings, what somebody broke is found and named, and nothing is changed.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::ovs::Daemon;
use pipewright_tests::{AgentOptions, Guest, needs};
use serde_json::Value;

use crate::ask;
use crate::scene::{Scene, until, with_default_routes};

/// What doctor finds, each `CODE object`, and its exit code.
pub(crate) fn findings(scene: &Scene, words: &str) -> Result<(BTreeSet<String>, i32)> {
    let answer = scene.agent.ctl(&format!("-o json {words}"))?;
    let shown: Value = serde_json::from_str(&answer.stdout).with_context(|| format!("{answer:?}"))?;
    let found = shown["findings"].as_array().into_iter().flatten().map(|finding| {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        assert!(!text("text").is_empty() && !text("advice").is_empty(), "{finding}");
        format!("{} {}", text("code").trim_start_matches("FINDING_CODE_"), text("object"))
    });
    let found = found.collect();
    let is_error = |finding: &Value| finding["severity"] == "SEVERITY_ERROR";
    let has_error = shown["findings"].as_array().is_some_and(|findings| findings.iter().any(is_error));
    assert_eq!(answer.code, i32::from(has_error), "{words}: {}", answer.stdout);
    Ok((found, answer.code))
}

#[track_caller]
pub(crate) fn assert_finds(scene: &Scene, words: &str, expected: &[&str]) -> Result<()> {
    let (found, _) = findings(scene, words)?;
    let expected: BTreeSet<String> = expected.iter().map(|&text| text.to_owned()).collect();
    assert_eq!(found, expected, "{words}");
    Ok(())
}

fn id_of(scene: &Scene, guest: &Guest) -> Result<(String, String)> {
    let shown = scene.agent.ctl(&format!("-o json list --guest {}", guest.reference()))?.json()?;
    let one = &shown["attachments"][0];
    let text = |key: &str| one[key].as_str().map(str::to_owned).context("an attachment has it");
    Ok((text("id")?, text("host_ifname")?))
}

#[test]
fn a_healthy_host_has_no_findings_and_a_look_takes_no_step() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let steps = &scene.lab.dir().join("steps");
    scene.agent.kill9()?;
    scene.agent.set_options(
        AgentOptions::default()
            .binary("pwagent-faulty")
            .variable("PIPEWRIGHT_STEPS", &steps.display().to_string()),
    );
    scene.agent.start()?;
    assert_finds(&scene, "doctor", &[])?;
    let (one, two, three) = (scene.host.guest("one")?, scene.host.guest("two")?, scene.host.guest("three")?);
    with_default_routes(&one)?;
    let rest = "--ip 192.0.2.10/24 --ip 2001:db8::10/64 --gateway 192.0.2.1 --gateway fe80::1";
    scene.ctl(&format!("attach br0 {} {rest} --route 198.51.100.0/24@192.0.2.7", one.reference()))?;
    scene.ctl(&format!("attach ovs0 {} --ip 192.0.2.11/24 --vlan 100", two.reference()))?;
    scene.ctl(&format!(
        "attach guest:{} {} --ip 203.0.113.1/30 --peer-ip 203.0.113.2/30 --peer-ifname eth5",
        two.reference(),
        three.reference()
    ))?;
    scene.ctl(&format!(
        "attach host {} --ifname eth2 --ip 203.0.113.5/30 --host-ip 203.0.113.6/30",
        three.reference()
    ))?;
    let (before, taken) = (scene.settled()?, std::fs::read_to_string(steps)?);

    for words in ["doctor", "doctor --residue", "check"] {
        assert_finds(&scene, words, &[])?;
    }
    let said = scene.ctl("doctor")?.stdout;
    assert!(said.contains("nothing is wrong; 4 attachments looked at"), "{said}");
    let (id, _) = id_of(&scene, &one)?;
    for id in [id.as_str(), &id[..12]] {
        assert_finds(&scene, &format!("check {id}"), &[])?;
    }

    let unknown = scene.agent.ctl("check 01890a5d-ac96-774b-bcce-b302099a8057")?;
    ask::refused(unknown, "ATTACHMENT_NOT_FOUND", &[]);
    assert_eq!(std::fs::read_to_string(steps)?, taken);
    before.assert_same(&scene.snapshot()?);
    for guest in [&one, &two, &three] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    assert_finds(&scene, "doctor", &[])?;
    scene.lab.finish()
}

#[test]
fn what_somebody_did_to_a_guests_link_is_found_and_named() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux_with(AgentOptions::reporting())?;
    let web = scene.host.guest("web")?;
    let attach = format!(
        "attach br0 {} --ip 192.0.2.10/24 --gateway 192.0.2.1 --route 198.51.100.0/24",
        web.reference()
    );
    let in_guest = format!("link eth1 in {}", web.reference());
    let codes =
        |codes: &[&str]| -> Vec<String> { codes.iter().map(|code| format!("{code} {in_guest}")).collect() };
    let cases = [
        (
            "address delete 192.0.2.10/24 dev eth1",
            codes(&["ADDRESS_MISSING", "ROUTE_MISSING", "DEFAULT_ROUTE_MISSING"]),
        ),
        ("route delete default", codes(&["DEFAULT_ROUTE_MISSING"])),
        ("route delete 198.51.100.0/24", codes(&["ROUTE_MISSING"])),
        ("link set eth1 down", codes(&["LINK_DOWN", "ROUTE_MISSING", "DEFAULT_ROUTE_MISSING"])),
        ("link set eth1 mtu 1400", codes(&["MTU_DIFFERS"])),
    ];

    for (harm, expected) in cases {
        scene.ctl(&attach)?;
        let (id, _) = id_of(&scene, &web)?;
        web.ip(harm)?;
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert_finds(&scene, "doctor", &expected).with_context(|| harm.to_owned())?;
        assert_finds(&scene, &format!("check {id}"), &expected)?;
        scene.ctl(&format!("detach {}", web.reference()))?;
    }
    scene.lab.finish()
}

#[test]
fn what_somebody_did_to_the_hosts_end_is_found_and_named() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs_with(AgentOptions::reporting())?;
    let (one, two) = (scene.host.guest("one")?, scene.host.guest("two")?);
    let inside = scene.host.inside();
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", one.reference()))?;
    scene.ctl(&format!("attach ovs0 {} --ip 192.0.2.11/24 --vlan 100", two.reference()))?;
    let ((_, bridged), (_, switched)) = (id_of(&scene, &one)?, id_of(&scene, &two)?);
    let ovs = scene.host.ovs()?;

    inside.ip(&format!("link set {bridged} nomaster"))?;
    assert_finds(&scene, "doctor", &[&format!("PORT_UNPLUGGED link {bridged}")])?;
    inside.ip(&format!("link set {bridged} master br0"))?;
    inside.ip(&format!("link set {bridged} down"))?;
    assert_finds(&scene, "doctor", &[&format!("LINK_DOWN link {bridged}")])?;
    inside.ip(&format!("link set {bridged} up"))?;
    inside.ip("link add narrow mtu 1400 master br0 type veth peer name wide")?;
    assert_finds(&scene, "doctor", &["MTU_MISMATCH link narrow"])?;
    inside.ip("link del narrow")?;

    ovs.vsctl(&format!("set port {switched} tag=200"))?;
    let port = format!("port {switched}");
    until("the changed tag is found", || {
        Ok(findings(&scene, "doctor")?.0.contains(&format!("VLAN_DIFFERS {port}")))
    })?;
    ovs.vsctl(&format!("del-port {switched}"))?;
    until("the deleted port is found", || {
        Ok(findings(&scene, "doctor")?.0.contains(&format!("PORT_MISSING {port}")))
    })?;
    assert_finds(&scene, "doctor --residue", &[&format!("PORT_MISSING {port}")])?;

    for guest in [&one, &two] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    scene.lab.finish()
}

#[test]
fn residue_is_found_where_it_lies_and_left_there() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs_with(AgentOptions::reporting())?;
    let web = scene.host.guest("web")?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", web.reference()))?;
    let inside = scene.host.inside();
    let ovs = scene.host.ovs()?;
    // As an agent leaves it whose records were lost.
    inside.ip("link add pworphan group 1886846993 type veth peer name elsewhere")?;
    web.ip("link add eth7 group 1886846994 type veth peer name eth8")?;
    inside.ip("link add br9 group 1886912512 type bridge")?;
    ovs.vsctl("add-port foreign0 pworphan -- set port pworphan external_ids:pipewright-id=01890a5d-ac96-774b-bcce-b302099a8057")?;
    let socket = scene.agent.endpoint();
    let hidden = format!(
        "{}.0123456789abcdef0123456789abcdef",
        socket.trim_start_matches("unix:").trim_end_matches(".sock")
    );
    std::fs::write(&hidden, "")?;

    until("the orphan of Open vSwitch is known", || {
        Ok(findings(&scene, "doctor")?.0.contains("ORPHAN_PORT port pworphan of foreign0"))
    })?;
    let (found, code) = findings(&scene, "doctor --residue")?;
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    let [bridge, file, link, inner, port] = found[..] else { anyhow::bail!("{found:?}") };
    assert_eq!(code, 1);
    assert_eq!(
        (bridge, inner, port),
        ("ORPHAN_BRIDGE bridge br9", "ORPHAN_LINK link pworphan", "ORPHAN_PORT port pworphan of foreign0")
    );
    ensure!(
        link.starts_with("ORPHAN_LINK link eth7 in the guest with number ")
            && file == format!("ORPHAN_FILE file {hidden}"),
        "{found:?}"
    );
    ensure!(inside.has_link("pworphan")? && inside.has_link("br9")? && web.inside()?.has_link("eth7")?);

    std::fs::remove_file(&hidden)?;
    ovs.vsctl("del-port pworphan")?;
    inside.ip("link del pworphan")?;
    inside.ip("link del br9")?;
    web.ip("link del eth7")?;
    until("nothing is left to find", || Ok(findings(&scene, "doctor --residue")?.0.is_empty()))?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn what_the_host_lacks_is_told_where_something_needs_it() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let web = scene.host.guest("web")?;
    scene.ctl(&format!("attach ovs0 {} --ip 192.0.2.11/24 --vlan 100", web.reference()))?;
    assert_finds(&scene, "doctor", &[])?;

    scene.host.ovs()?.kill9(Daemon::Database)?;

    until("the loss is found", || Ok(findings(&scene, "doctor")?.0.contains("OVSDB_DOWN host")))?;
    assert_finds(&scene, "doctor", &["OVSDB_DOWN host"])?;
    let (id, _) = id_of(&scene, &web)?;
    ask::refused(scene.agent.ctl(&format!("detach {id}"))?, "ROLLBACK_INCOMPLETE", &[]);
    assert_finds(&scene, &format!("check {id}"), &[&format!("INCOMPLETE attachment {id}")])?;
    scene.host.ovs()?.start_daemon(Daemon::Database)?;
    until("all is well again", || Ok(findings(&scene, "doctor")?.0.is_empty()))?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}
