//! Ports of Open vSwitch that somebody changes by hand, and what belongs to no record.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::ovs::Daemon;
use pipewright_tests::{AgentOptions, needs};

use crate::drift::{drifts, host_end, revision, told};
use crate::scene::{FOREIGN, Scene, until};

#[test]
fn a_port_that_somebody_deletes_moves_or_tags_is_made_again() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let web = scene.host.guest("web")?;
    scene.ctl(&format!("attach ovs0 {} --ip 192.0.2.10/24 --vlan 100", web.reference()))?;
    let port = host_end(&scene, &web)?;
    let ovs = scene.host.ovs()?;
    let harms = [
        ("vlan", format!("set port {port} tag=200")),
        ("vlan", format!("clear port {port} tag")),
        ("port", format!("del-port {port}")),
        (
            "port",
            format!(
                "del-port {port} -- add-port {FOREIGN} {port} tag=7 -- set port {port} external_ids:pipewright-id=ID"
            ),
        ),
        ("port", "del-br ovs0".to_owned()),
    ];
    let list = scene.ctl("-o json list")?.json()?;
    let id = list["attachments"][0]["id"].as_str().context("an id")?;

    for (what, harm) in harms {
        scene.restart()?;
        until("Open vSwitch is connected", || Ok(scene.agent.log().contains("Open vSwitch is connected")))?;
        let since = revision(&scene)?;
        let begun = Instant::now();
        ovs.vsctl(&harm.replace("ID", id))?;
        let causes =
            told(&scene, since, "repaired: ").with_context(|| format!("{harm}: {}", scene.agent.log()))?;
        println!("{harm}: repaired after {:?}", begun.elapsed());

        ensure!(
            causes.iter().any(|cause| cause.starts_with(&format!("drift: {what} of {port}"))),
            "{causes:#?}"
        );
        assert_eq!(ovs.vsctl(&format!("get Port {port} tag"))?.trim(), "100", "{harm}");
        assert_eq!(ovs.vsctl("list-ports ovs0")?.trim(), port, "{harm}");
    }

    // A port of somebody else under the name of ours is left, and told.
    let since = revision(&scene)?;
    ovs.vsctl(&format!("del-port {port} -- add-port {FOREIGN} {port} tag=7"))?;
    told(&scene, since, &format!("drift: port of {port} is a port of somebody else"))?;
    until("it is said why", || {
        Ok(drifts(&scene, &web)?.iter().any(|(_, why)| why.contains("left no mark")))
    })?;
    assert_eq!(ovs.vsctl(&format!("get Port {port} tag"))?.trim(), "7");
    ovs.vsctl(&format!("del-port {port}"))?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn what_has_our_mark_and_no_record_goes_after_two_sweeps_and_nothing_else() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs_with(AgentOptions::default().argument("--sweep").argument("1"))?;
    let web = scene.host.guest("web")?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", web.reference()))?;
    until("Open vSwitch is connected", || Ok(scene.agent.log().contains("Open vSwitch is connected")))?;
    let (host, ovs) = (scene.host.inside(), scene.host.ovs()?);
    // As they would be left by a defect of ours; and some of others that look alike.
    host.ip("link add pworphan group 1886846993 type veth peer name elsewhere")?;
    host.ip("link add br9 group 1886912512 type bridge")?;
    host.ip("link add pwaaaaaaaaaaaa type veth peer name theirs")?;
    host.ip("link add br8 type bridge")?;
    ovs.vsctl("--no-wait add-port foreign0 pwgone -- set port pwgone external_ids:pipewright-id=01890a5d-ac96-774b-bcce-b302099a8057")?;
    ovs.vsctl("--no-wait add-port foreign0 pwtheirs")?;
    let begun = Instant::now();

    until("what belongs to no record is gone", || {
        let ports = ovs.vsctl("list-ports foreign0")?;
        Ok(!host.has_link("pworphan")? && !host.has_link("br9")? && !ports.contains("pwgone"))
    })
    .with_context(|| scene.agent.log())?;
    println!("orphans were removed after {:?}", begun.elapsed());

    assert!(host.has_link("pwaaaaaaaaaaaa")? && host.has_link("br8")? && host.has_link("br0")?);
    assert!(ovs.vsctl("list-ports foreign0")?.contains("pwtheirs"));
    let log = scene.agent.log();
    assert!(log.contains("link pworphan has our mark and belongs to no record"), "{log}");
    for name in ["pwaaaaaaaaaaaa", "br8"] {
        host.ip(&format!("link del {name}"))?;
    }
    ovs.vsctl("del-port pwtheirs")?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn ports_come_back_after_the_database_was_emptied() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (one, two) = (scene.host.guest("one")?, scene.host.guest("two")?);
    scene.ctl(&format!("attach ovs0 {} --ip 192.0.2.10/24 --vlan 100", one.reference()))?;
    scene.ctl(&format!("attach ovs0 {} --ip 192.0.2.11/24 --vlan 100", two.reference()))?;
    let (a, b) = (host_end(&scene, &one)?, host_end(&scene, &two)?);
    let ovs = scene.host.ovs()?;
    let since = revision(&scene)?;

    ovs.vsctl("del-br ovs0")?;
    ovs.kill9(Daemon::Switch)?;
    ovs.start_daemon(Daemon::Switch)?;

    for port in [&a, &b] {
        told(&scene, since, &format!("repaired: port of {port}"))?;
        assert_eq!(ovs.vsctl(&format!("get Port {port} tag"))?.trim(), "100");
    }
    for guest in [&one, &two] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    assert_eq!(ovs.vsctl("list-br")?.trim(), FOREIGN);
    scene.lab.finish()
}
