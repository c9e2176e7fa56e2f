//! Attachments that follow their containers over stops, restarts, deletions and re-creations.

use anyhow::{Context as _, Result};
use pipewright_tests::{AgentOptions, Docker, Guest, Reach, Runtime, Snapshot, needs, reach, residue};
use serde_json::Value;

use crate::ask;
use crate::scene::{FOREIGN, Scene, until};

mod absence;
mod faults;

/// Bridges, each with what more an attach says there.
const BRIDGES: [(&str, &str); 2] = [("br0", ""), ("ovs0", "--vlan 100")];

/// An agent that waits four seconds for a container that was deleted.
fn options() -> Result<AgentOptions> {
    Ok(AgentOptions::with_docker()?.argument("--recreate-within").argument("4"))
}

/// `docker kill`, and waits for the end.
fn kill(guest: &Guest) -> Result<()> {
    guest.docker("kill")?;
    guest.docker("wait")
}

fn attach(scene: &Scene, uplink: &str, guest: &Guest, more: &str) -> Result<Value> {
    let line = format!("-o json attach {uplink} {} {more}", guest.reference());
    Ok(scene.ctl(&line)?.json()?["attachment"].clone())
}

/// The attachments of a guest, as they are listed.
fn of(scene: &Scene, guest: &Guest) -> Result<Vec<Value>> {
    let listed = scene.ctl(&format!("-o json list --guest {}", guest.reference()))?.json()?;
    Ok(listed["attachments"].as_array().cloned().unwrap_or_default())
}

fn is(state: &str, attachment: &Value) -> bool {
    attachment["state"] == format!("ATTACHMENT_STATE_{state}")
}

/// Waits until the guest has its one link again, under the identity that it had.
fn comes_back(scene: &Scene, guest: &Guest, before: &Value) -> Result<()> {
    until("the link is back", || {
        let now = of(scene, guest)?;
        Ok(now.iter().any(|one| is("ATTACHED", one)) && guest.inside()?.has_link("eth1")?)
    })?;
    let now = of(scene, guest)?;
    assert_eq!(now.len(), 1, "{now:?}");
    for same in ["id", "mac", "host_ifname", "created_at"] {
        assert_eq!(now[0][same], before[same], "{same}");
    }
    assert_eq!(now[0]["waiting"], "");
    Ok(())
}

fn waits(scene: &Scene, guest: &Guest, why: &str) -> Result<()> {
    until(&format!("it waits because {why}"), || {
        let now = of(scene, guest)?;
        Ok(now
            .iter()
            .any(|one| is("WAITING", one) && one["waiting"].as_str().is_some_and(|text| text.contains(why))))
    })
}

#[test]
fn a_container_that_is_restarted_has_its_link_back_as_it_was() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let scene = Scene::ovs_with(options()?)?;
    let (web, db) = (scene.host.container("web")?, scene.host.container("db")?);
    let before = Snapshot::take(&scene.host)?;
    for (bridge, more) in BRIDGES {
        let made = attach(&scene, bridge, &web, &format!("--ip 192.0.2.1/24 --gateway 192.0.2.2 {more}"))?;
        attach(&scene, bridge, &db, &format!("--ip 192.0.2.2/24 {more}"))?;

        for _ in 0..2 {
            web.restart()?;
            comes_back(&scene, &web, &made)?;
            assert_eq!(reach(&web.inside()?, &db.inside()?, "192.0.2.2".parse()?)?, Reach::BOTH, "{bridge}");
        }

        for guest in [&web, &db] {
            scene.ctl(&format!("detach {}", guest.reference()))?;
        }
        before.wait_same(&scene.host)?;
    }
    scene.lab.finish()
}

#[test]
fn while_a_container_is_stopped_its_attachment_waits_and_nothing_of_it_is_on_the_host() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let scene = Scene::ovs_with(options()?)?;
    let web = scene.host.container("web")?;
    for (bridge, more) in BRIDGES {
        kill(&web)?;
        let before = Snapshot::take(&scene.host)?;
        web.docker("start")?;
        let asked = format!("--ip 192.0.2.1/24 {more}");
        let made = attach(&scene, bridge, &web, &asked)?;

        kill(&web)?;
        waits(&scene, &web, "its guest stopped")?;
        before.wait_same(&scene.host)?;
        let shown = scene.ctl("list")?.stdout;
        assert!(shown.contains("waiting: its guest stopped"), "{shown}");
        let line = format!("attach {bridge} {} {asked}", web.reference());
        ask::refused(scene.agent.ctl(&line)?, "GUEST_NOT_RUNNING", &["docker start"]);
        let wait = scene.agent.ctl(&format!("wait {} --timeout 1s", web.reference()))?;
        ask::refused(wait, "GUEST_NOT_RUNNING", &["docker start"]);

        web.docker("start")?;
        comes_back(&scene, &web, &made)?;
        let again = scene.ctl(&line)?;
        assert!(again.stdout.contains("it was there already"), "{again:?}");

        kill(&web)?;
        waits(&scene, &web, "its guest stopped")?;
        scene.ctl(&format!("detach {}", web.reference()))?;
        assert_eq!(scene.agent.list()?.len(), 0);
        web.docker("start")?;
        // Whoever comes next gets a link of its own.
        let other = attach(&scene, bridge, &web, &asked)?;
        assert_ne!(other["id"], made["id"]);
        scene.ctl(&format!("detach {}", web.reference()))?;
    }
    scene.lab.finish()
}

#[test]
fn one_that_waits_keeps_its_name_from_another_spec() -> Result<()> {
    needs!(Root, Docker);
    let scene = Scene::linux_with(options()?)?;
    let web = scene.host.container("web")?;
    attach(&scene, "br0", &web, "--ip 192.0.2.1/24")?;
    // The bridge of another, so that the link cannot be made again.
    kill(&web)?;
    waits(&scene, &web, "its guest stopped")?;
    scene.host.inside().ip("link add br0 type veth peer name elsewhere")?;
    web.docker("start")?;
    waits(&scene, &web, "br0")?;

    let other = scene.agent.ctl(&format!("attach br1 {} --ip 192.0.2.9/24", web.reference()))?;
    ask::refused(other, "SPEC_DIFFERS", &["eth1", "waits", "detach"]);
    assert!(!web.inside()?.has_link("eth1")?);

    // It is tried again by and by, and at once when somebody asks.
    scene.host.inside().ip("link del br0")?;
    attach(&scene, "br0", &web, "--ip 192.0.2.1/24")?;
    assert!(web.inside()?.has_link("eth1")?);
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_container_that_is_deleted_takes_its_attachment_along_after_a_while() -> Result<()> {
    needs!(Root, Docker);
    let scene = Scene::linux_with(options()?)?;
    let before = Snapshot::take(&scene.host)?;
    for is_agent_killed in [false, true] {
        let web = scene.host.container(if is_agent_killed { "db" } else { "web" })?;
        attach(&scene, "br0", &web, "--ip 192.0.2.1/24")?;

        web.kill()?;
        waits(&scene, &web, "its guest was deleted")?;
        if is_agent_killed {
            scene.agent.crash_and_restart()?;
        }

        until("the record is gone", || Ok(scene.agent.list()?.is_empty()))?;
        before.wait_same(&scene.host)?;
    }
    residue::none(&scene.host)?;
    scene.lab.finish()
}

#[test]
fn a_container_that_is_made_again_under_its_name_has_its_link_back() -> Result<()> {
    needs!(Root, Docker);
    let scene = Scene::linux_with(AgentOptions::with_docker()?)?;
    let old = scene.host.container("web")?;
    let name = old.reference().trim_start_matches("docker:").to_owned();
    let made = attach(&scene, "br0", &old, "--ip 192.0.2.1/24")?;

    old.kill()?;
    waits(&scene, &old, "its guest was deleted")?;
    let new = scene.host.container_called("web again", &name)?;
    comes_back(&scene, &new, &made)?;
    scene.ctl(&format!("detach {}", new.reference()))?;

    // Whoever says an id means that container and no other.
    let id = Docker::shared()?.docker(&["inspect", "--format", "{{.Id}}", &name])?;
    scene.ctl(&format!("attach br0 docker:{} --ip 192.0.2.1/24", id.trim()))?;
    new.kill()?;
    waits(&scene, &new, "its guest was deleted")?;
    let newest = scene.host.container_called("web once more", &name)?;
    let other = attach(&scene, "br0", &newest, "--ip 192.0.2.1/24")?;
    assert_ne!(other["id"], made["id"]);
    scene.ctl(&format!("detach docker:{}", id.trim()))?;
    scene.ctl(&format!("detach {}", newest.reference()))?;
    assert_eq!(scene.agent.list()?.len(), 0);
    scene.lab.finish()
}

#[test]
fn a_podman_container_that_is_made_again_under_its_name_has_its_link_back() -> Result<()> {
    needs!(Root, Podman);
    let scene = Scene::linux_with(AgentOptions::with_runtimes()?)?;
    let old = scene.host.contained("web", Runtime::Podman)?;
    let made = attach(&scene, "br0", &old, "--ip 192.0.2.1/24")?;

    old.kill()?;
    waits(&scene, &old, "its guest")?;
    let new = scene.host.contained("web", Runtime::Podman)?;

    comes_back(&scene, &new, &made)?;
    scene.ctl(&format!("detach {}", new.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_link_between_two_containers_comes_back_whichever_restarts() -> Result<()> {
    needs!(Root, Docker);
    let scene = Scene::linux_with(options()?)?;
    let (web, db) = (scene.host.container("web")?, scene.host.container("db")?);
    let uplink = format!("guest:{}", db.reference());
    let made = attach(&scene, &uplink, &web, "--ip 192.0.2.0/31 --peer-ip 192.0.2.1/31")?;

    for guest in [&db, &web] {
        guest.restart()?;
        comes_back(&scene, &web, &made)?;
        assert_eq!(reach(&web.inside()?, &db.inside()?, "192.0.2.1".parse()?)?, Reach::BOTH);
    }
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn what_was_added_to_a_link_comes_back_with_it() -> Result<()> {
    needs!(Root, Docker);
    let scene = Scene::linux_with(options()?)?;
    let web = scene.host.container("web")?;
    let made = attach(&scene, "br0", &web, "--ip 192.0.2.1/24")?;
    let added = format!("guest route add {} 198.51.100.0/24 --via 192.0.2.9", web.reference());
    scene.ctl(&added)?;
    let routes = || web.inside()?.ip_json("route show 198.51.100.0/24");
    assert_eq!(routes()?.len(), 1);

    web.restart()?;

    comes_back(&scene, &web, &made)?;
    assert_eq!(routes()?.len(), 1, "the route that was added");
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn twenty_containers_that_restart_at_once_all_have_their_links_back() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let scene = Scene::ovs_with(options()?)?;
    let webs =
        (0..20).map(|number| scene.host.container(&format!("web{number}"))).collect::<Result<Vec<_>>>()?;
    let mut made = Vec::new();
    for (number, web) in webs.iter().enumerate() {
        let (bridge, more) = if number % 2 == 0 { ("br0", "") } else { (FOREIGN, "--vlan 100") };
        made.push(attach(&scene, bridge, web, &format!("--ip 192.0.2.{}/24 {more}", number + 1))?);
    }

    let names: Vec<&str> = webs.iter().map(|web| web.reference().trim_start_matches("docker:")).collect();
    Docker::shared()?.docker(&[&["restart", "--time", "0"], names.as_slice()].concat())?;

    for (web, made) in webs.iter().zip(&made) {
        // So that its new process is known here.
        web.docker("inspect")?;
        comes_back(&scene, web, made).with_context(|| web.reference().to_owned())?;
    }
    for web in &webs {
        scene.ctl(&format!("detach {}", web.reference()))?;
    }
    residue::none(&scene.host)?;
    scene.lab.finish()
}

#[test]
fn a_guest_that_cannot_be_followed_is_refused_when_that_is_asked_for_by_a_bare_name() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let web = scene.host.guest("web")?;
    let name = web.reference().trim_start_matches("netns:");

    let answer = scene.agent.ctl(&format!("attach br0 {name} --no-ip --follow"))?;

    ask::refused(answer, "INVALID_FIELD", &["--follow", "netns", "Docker and Podman"]);
    assert_eq!(attach(&scene, "br0", &web, "--no-ip")?["spec"]["follow"], "FOLLOW_ONCE");
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}
