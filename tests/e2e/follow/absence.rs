//! Nobody tells of a restart, or nobody listens: the link is there again when both are.

use anyhow::{Context as _, Result, bail, ensure};
use pipewright_tests::{AgentOptions, needs};
use serde_json::json;

use super::{attach, comes_back, kill, options, waits};
use crate::docker_door::{Behind, Door};
use crate::doctor::findings;
use crate::scene::{Scene, until};

#[test]
fn a_restart_that_nobody_could_tell_of_is_noticed_when_docker_is_reached_again() -> Result<()> {
    needs!(Root, Docker);
    let scene = Scene::linux_with(AgentOptions::default())?;
    let door = Door::shut_at(&scene.host.dir().join("docker.sock"));
    scene.agent.kill9()?;
    scene.agent.set_options(options()?.docker(&door.endpoint()));
    scene.agent.start()?;
    door.open(Behind::Docker)?;
    let web = scene.host.container("web")?;
    let made = attach(&scene, "br0", &web, "--ip 192.0.2.1/24")?;

    door.shut()?;
    web.restart()?;
    // "It cannot be asked" is not "it is gone": longer than a deleted container is waited for.
    waits(&scene, &web, "its guest stopped")?;
    let listed = scene.agent.list()?;
    door.open(Behind::Docker)?;

    assert_eq!(listed.len(), 1);
    comes_back(&scene, &web, &made)?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_restart_while_the_agent_is_down_is_made_good_when_it_starts() -> Result<()> {
    needs!(Root, Docker);
    let scene = Scene::linux_with(options()?)?;
    let web = scene.host.container("web")?;
    let made = attach(&scene, "br0", &web, "--ip 192.0.2.1/24")?;

    // Attached when it went down, and waiting.
    scene.agent.kill9()?;
    web.restart()?;
    scene.agent.start()?;
    comes_back(&scene, &web, &made)?;

    kill(&web)?;
    waits(&scene, &web, "its guest stopped")?;
    scene.agent.kill9()?;
    web.docker("start")?;
    scene.agent.start()?;
    comes_back(&scene, &web, &made)?;

    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn after_a_start_of_the_host_links_come_back_with_their_containers() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let scene = Scene::ovs_with(options()?)?;
    let (web, db) = (scene.host.container("web")?, scene.host.container("db")?);
    let made = attach(&scene, "ovs0", &web, "--ip 192.0.2.1/24 --vlan 100")?;
    let other = attach(&scene, "br0", &db, "--ip 192.0.2.2/24")?;

    scene.agent.kill9()?;
    for guest in [&web, &db] {
        kill(guest)?;
    }
    scene.agent.set_options(options()?.boot("8d1c9a52-0000-4000-8000-000000000001\n"));
    scene.agent.start()?;
    for guest in [&web, &db] {
        waits(&scene, guest, "its guest stopped")?;
    }
    // What Open vSwitch had kept of before.
    until("no port of before is left", || Ok(!scene.host.ovs()?.vsctl("list-br")?.contains("ovs0")))?;

    for (guest, made) in [(&web, &made), (&db, &other)] {
        guest.docker("start")?;
        comes_back(&scene, guest, made)?;
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    scene.lab.finish()
}

#[test]
fn an_attachment_that_waits_is_told_by_doctor_and_is_no_fault() -> Result<()> {
    needs!(Root, Docker);
    let scene =
        Scene::linux_with(AgentOptions::with_docker()?.argument("--recreate-within").argument("600"))?;
    let web = scene.host.container("web")?;
    let made = attach(&scene, "br0", &web, "--ip 192.0.2.1/24")?;
    let id = made["id"].as_str().context("it has an id")?;
    // Since when, and what is said besides.
    let told = |words: &str| -> Result<(String, String)> {
        let answer = scene.ctl(&format!("-o json {words}"))?.json()?;
        let [finding] = &answer["findings"].as_array().cloned().unwrap_or_default()[..] else {
            bail!("{words}: {answer}")
        };
        assert_eq!(
            (&finding["code"], &finding["severity"]),
            (&json!("FINDING_CODE_WAITING"), &json!("SEVERITY_INFO"))
        );
        assert_eq!(
            (&finding["object"], &finding["attachment_id"]),
            (&json!(format!("link eth1 in {}", web.reference())), &json!(id))
        );
        let said = format!("{} {}", finding["text"], finding["advice"]);
        let since = said.split("waits since ").nth(1).and_then(|rest| rest.split(": ").next());
        let since = since.with_context(|| format!("since when: {said}"))?.to_owned();
        ensure!(since.len() == 20 && since.ends_with('Z'), "{said}");
        Ok((since, said))
    };

    kill(&web)?;
    waits(&scene, &web, "its guest stopped")?;
    let (since, said) = told("doctor")?;
    ensure!(said.contains("its guest stopped") && said.contains(&format!("pwctl detach {id}")), "{said}");
    assert_eq!(told(&format!("check {id}"))?.0, since);
    assert!(scene.ctl("check")?.stdout.contains("info: link eth1"));
    assert_eq!(findings(&scene, "doctor --residue")?.0.len(), 0);

    // Neither another agent nor another reason is a new beginning.
    scene.agent.crash_and_restart()?;
    assert_eq!(told("doctor")?.0, since);
    scene.host.inside().ip("link add br0 type veth peer name elsewhere")?;
    web.docker("start")?;
    waits(&scene, &web, "br0")?;
    let (still, said) = told("doctor")?;
    ensure!(still == since && said.contains("remove the cause"), "{said}");
    scene.host.inside().ip("link del br0")?;
    attach(&scene, "br0", &web, "--ip 192.0.2.1/24")?;
    comes_back(&scene, &web, &made)?;
    assert_eq!(findings(&scene, "doctor")?.0.len(), 0);

    web.kill()?;
    waits(&scene, &web, "its guest was deleted")?;
    let (_, said) = told("doctor")?;
    ensure!(said.contains("within 600 s"), "{said}");
    scene.ctl(&format!("detach {id}"))?;
    scene.lab.finish()
}
