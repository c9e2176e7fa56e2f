//! Links that are plugged into nothing: between a guest and its host, and between two guests.

use std::sync::Arc;

use anyhow::Result;
use pipewright_tests::{Guest, Reach, needs, reach};
use serde_json::Value;

use crate::macvlan::{address, link};
use crate::refused_step::{each_refused_step_leaves_nothing, each_refused_undo_is_named_and_made_good};
use crate::scene::{Scene, until, with_default_routes};
use crate::sudden_death::{dies_in_a_detach, dies_in_an_attach};

/// A guest that has IPv6 switched off for new links, as Docker's have.
fn other(scene: &Scene) -> Result<Arc<Guest>> {
    let db = scene.host.guest("db")?;
    let mut sysctl = db.inside()?.command("sysctl")?;
    pipewright_tests::process::output(sysctl.args(["-q", "-w", "net.ipv6.conf.default.disable_ipv6=1"]))?;
    Ok(db)
}

fn two(scene: &Scene) -> Result<[Arc<Guest>; 2]> {
    Ok([scene.host.guest("web")?, other(scene)?])
}

fn to_host(guest: &Guest) -> String {
    format!(
        "attach host {} --ip 192.0.2.2/31 --ip 2001:db8::2/127 --host-ip 192.0.2.3/31 --host-ip 2001:db8::3/127 \
         --host-ifname web0 --gateway 192.0.2.3",
        guest.reference()
    )
}

fn to_guest(web: &Guest, db: &Guest) -> String {
    format!(
        "attach guest:{} {} --ifname db0 --ip 192.0.2.2/31 --ip 2001:db8::2/127 --peer-ifname web0 \
         --peer-ip 192.0.2.3/31 --peer-ip 2001:db8::3/127 --gateway 192.0.2.3 --mtu 1400",
        db.reference(),
        web.reference()
    )
}

#[test]
fn a_guest_and_its_host_reach_each_other_and_nothing_is_left() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    with_default_routes(&guest)?;
    let before = scene.snapshot()?;

    scene.ctl(&to_host(&guest))?;

    let inside = guest.inside()?;
    assert_eq!(reach(&inside, scene.host.inside(), address("192.0.2.3"))?, Reach::BOTH);
    assert_eq!(reach(scene.host.inside(), &inside, address("2001:db8::2"))?, Reach::BOTH);
    let listed = &scene.agent.list()?[0];
    assert_eq!((&listed["spec"]["kind"], &listed["host_ifname"]), (&"KIND_PTP".into(), &"web0".into()));
    assert_eq!(listed["observed"]["operstate"], "up");
    assert!(scene.agent.ctl(&to_host(&guest))?.ok()?.stdout.contains("nothing was changed"));
    scene.ctl(&format!("detach {}", guest.reference()))?;

    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn ends_of_different_subnets_get_routes_to_each_other() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;

    scene.ctl(&format!(
        "attach host {} --ip 192.0.2.10/32 --host-ip 198.51.100.1/32 --gateway 198.51.100.1",
        guest.reference()
    ))?;

    let inside = guest.inside()?;
    assert_eq!(reach(scene.host.inside(), &inside, address("192.0.2.10"))?, Reach::BOTH);
    assert!(guest.ip("route show default")?.contains("via 198.51.100.1 dev eth1"));
    scene.ctl(&format!("detach {}", guest.reference()))?;
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn two_guests_reach_each_other_and_both_list_their_link() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let [web, db] = two(&scene)?;
    with_default_routes(&web)?;
    let before = scene.snapshot()?;

    scene.ctl(&to_guest(&web, &db))?;

    assert_eq!(reach(&web.inside()?, &db.inside()?, address("192.0.2.3"))?, Reach::BOTH);
    assert_eq!(reach(&db.inside()?, &web.inside()?, address("2001:db8::2"))?, Reach::BOTH);
    for (guest, name) in [(&web, "db0"), (&db, "web0")] {
        assert_eq!(link(guest, name)?["mtu"], 1400);
        let listed = scene.agent.ctl(&format!("-o json list --guest {}", guest.reference()))?.json()?;
        let ids: Vec<&Value> = listed["attachments"].as_array().into_iter().flatten().collect();
        assert_eq!(ids.len(), 1, "{listed}");
        assert_eq!(ids[0]["peer"]["name"], Value::from(db.reference().trim_start_matches("netns:")));
    }
    // Neither name can be taken for another link.
    for line in [
        format!("attach br0 {} --no-ip --ifname web0", db.reference()),
        format!(
            "attach guest:{} {} --no-ip --ifname other --peer-ifname web0",
            db.reference(),
            web.reference()
        ),
    ] {
        let answer = scene.agent.ctl(&line)?;
        assert!(answer.code == 1 && answer.stderr.contains("attach"), "{line}: {}", answer.stderr);
    }
    assert!(scene.agent.ctl(&to_guest(&web, &db))?.ok()?.stdout.contains("nothing was changed"));

    // Either guest's detach takes the link out of both; another name of theirs does not.
    scene.ctl(&format!("detach {} --ifname eth7", db.reference()))?;
    assert_eq!(scene.agent.list()?.len(), 1);
    scene.ctl(&format!("detach {} --ifname web0", db.reference()))?;
    before.assert_same(&scene.snapshot()?);
    scene.ctl(&to_guest(&web, &db))?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn with_either_guest_the_link_and_its_record_go() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    for dies in ["web", "db"] {
        let (web, db) = (scene.host.process_guest("web")?, scene.host.process_guest("db")?);
        scene.ctl(&to_guest(&web, &db))?;
        let (dying, living) = if dies == "web" { (&web, &db) } else { (&db, &web) };

        dying.kill()?;

        until("the attachment is forgotten", || Ok(scene.agent.list()?.is_empty()))?;
        // The kernel ends a namespace, and with it the other end, by and by.
        let inside = living.inside()?;
        until("neither end is left", || Ok(!inside.has_link("db0")? && !inside.has_link("web0")?))?;
        living.kill()?;
    }
    let guest = scene.host.process_guest("alone")?;
    let before = scene.host.inside().ip("link show")?;
    scene.ctl(&to_host(&guest))?;
    guest.kill()?;
    until("the attachment is forgotten", || Ok(scene.agent.list()?.is_empty()))?;
    assert_eq!(scene.host.inside().ip("link show")?, before);
    scene.lab.finish()
}

#[test]
fn a_guest_is_no_peer_of_its_own_under_another_name() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;
    let path = format!("netns:/run/netns/{}", guest.reference().trim_start_matches("netns:"));

    let answer = scene.agent.ctl(&format!("attach guest:{path} {} --no-ip", guest.reference()))?;

    assert!(answer.code == 1 && answer.stderr.contains("[INVALID_FIELD]"), "{}", answer.stderr);
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn crossing_requests_of_two_guests_do_not_wait_for_each_other() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let [web, db] = two(&scene)?;
    let before = scene.snapshot()?;
    let line = |from: &Guest, to: &Guest, n: usize| {
        format!(
            "attach guest:{} {} --no-ip --ifname x{n}{} --peer-ifname y{n}{}",
            to.reference(),
            from.reference(),
            from.name(),
            from.name()
        )
    };

    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|n| if n % 2 == 0 { line(&web, &db, n) } else { line(&db, &web, n) })
            .map(|line| {
                scope.spawn({
                    let scene = &scene;
                    move || scene.ctl(&line)
                })
            })
            .collect();
        all.into_iter().try_for_each(|one| one.join().expect("a caller panicked").map(drop))
    })?;

    assert_eq!(scene.agent.list()?.len(), 8);
    scene.ctl(&format!("detach {}", web.reference()))?;
    assert_eq!(scene.agent.list()?.len(), 0);
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

/// Puts faults into a link to the host, and into one to a guest that was there before.
fn each(put: impl Fn(&Scene, &dyn Fn(&Guest) -> String) -> Result<()>) -> Result<()> {
    let scene = Scene::linux()?;
    put(&scene, &to_host)?;
    scene.lab.finish()?;
    let scene = Scene::linux()?;
    let db = other(&scene)?;
    put(&scene, &|web| to_guest(web, &db))?;
    scene.lab.finish()
}

#[test]
fn whichever_step_of_a_link_to_the_host_or_to_a_guest_is_refused_nothing_is_left() -> Result<()> {
    needs!(Root);
    each(|scene, attach| each_refused_step_leaves_nothing(scene, attach))
}

#[test]
fn a_refused_undo_of_a_link_to_the_host_or_to_a_guest_is_named_and_made_good() -> Result<()> {
    needs!(Root);
    each(|scene, attach| each_refused_undo_is_named_and_made_good(scene, attach, 3))
}

#[test]
fn an_agent_killed_at_any_step_towards_the_host_or_a_guest_leaves_nothing_half_done() -> Result<()> {
    needs!(Root);
    each(|scene, attach| dies_in_an_attach(scene, attach))
}

#[test]
fn an_agent_killed_at_any_step_of_a_detach_from_the_host_or_a_guest_finishes_it_when_it_starts() -> Result<()>
{
    needs!(Root);
    each(|scene, attach| dies_in_a_detach(scene, attach, 6))
}
