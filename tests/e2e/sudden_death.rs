//! An agent that dies at any moment: the next start finishes or removes what was half done, and traffic never stops.

use std::time::Duration;

use anyhow::{Result, ensure};
use pipewright_tests::{Guest, needs, reach};
use serde_json::Value;
use uuid::Uuid;

use crate::refused_step::{
    LINUX, LINUX_VLAN, NIC, OVS, attach, restart_with_fault_of_requests, steps, unchanged,
};
use crate::scene::{Scene, with_default_routes};

pub(crate) const END: Duration = Duration::from_secs(20);

/// Whether the agent died over a request.
pub(crate) fn is_dead(scene: &Scene, code: i32) -> Result<bool> {
    if code != 0 {
        scene.agent.wait_end(END)?;
    }
    Ok(scene.agent.pid().is_none())
}

fn death_in_an_attach(scene: Scene, uplink: &str) -> Result<()> {
    dies_in_an_attach(&scene, |guest| attach(uplink, guest))?;
    scene.lab.finish()
}

/// Kills the agent at each step of an attach.
pub(crate) fn dies_in_an_attach(scene: &Scene, attach: impl Fn(&Guest) -> String) -> Result<()> {
    let guest = scene.host.guest("web")?;
    with_default_routes(&guest)?;
    let before = scene.snapshot()?;
    let attach = attach(&guest);
    let steps = steps(scene, &attach)?;

    for n in 0..steps {
        // After the last step and before the first one are the two ends; between two steps, one of them is enough.
        for fault in ["kill-before", "kill-after"].iter().take(if n + 1 == steps { 2 } else { 1 }) {
            let when = format!("{fault}:{n}");
            let request = Uuid::new_v4();
            scene.restart_with_fault(&when)?;
            let answer = scene.agent.ctl_once(&format!("{attach} --request-id {request}"))?;
            ensure!(is_dead(scene, answer.code)?, "{when}: it lives: {}{}", answer.stdout, answer.stderr);
            assert!(answer.stderr.contains("unknown"), "{when}: {}", answer.stderr);

            scene.restart()?;
            assert_eq!(scene.agent.list()?, Vec::<Value>::new(), "{when}");
            unchanged(&when, &before, &scene.snapshot()?);

            scene.ctl(&format!("{attach} --request-id {request}"))?;
            assert_eq!(scene.agent.list()?.len(), 1, "{when}");
            scene.ctl(&format!("detach {}", guest.reference()))?;
            unchanged(&when, &before, &scene.snapshot()?);
        }
    }
    Ok(())
}

#[test]
fn an_agent_killed_at_any_step_of_an_attach_to_a_linux_bridge_leaves_nothing_half_done() -> Result<()> {
    needs!(Root);
    death_in_an_attach(Scene::linux()?, LINUX)
}

#[test]
fn an_agent_killed_at_any_step_of_an_attach_to_a_vlan_of_a_linux_bridge_leaves_nothing_half_done()
-> Result<()> {
    needs!(Root, BridgeVlans);
    death_in_an_attach(Scene::linux()?, LINUX_VLAN)
}

#[test]
fn an_agent_killed_at_any_step_of_an_attach_to_open_vswitch_leaves_nothing_half_done() -> Result<()> {
    needs!(Root, Ovs);
    death_in_an_attach(Scene::ovs()?, OVS)
}

fn death_in_a_detach(scene: Scene, uplink: &str) -> Result<()> {
    // Of a NIC, all is one way back, after the guest's default routes.
    let least = if uplink == NIC { 10 } else { 12 };
    dies_in_a_detach(&scene, |guest| attach(uplink, guest), least)?;
    scene.lab.finish()
}

/// Kills the agent before and after each step of a detach; it must be so many times at least.
pub(crate) fn dies_in_a_detach(scene: &Scene, attach: impl Fn(&Guest) -> String, least: usize) -> Result<()> {
    let guest = scene.host.guest("web")?;
    with_default_routes(&guest)?;
    let before = scene.snapshot()?;
    let attach = attach(&guest);
    let (mut n, mut deaths) = (0, 0);

    loop {
        let mut died = false;
        for fault in ["kill-before", "kill-after"] {
            let when = format!("{fault}:{n}");
            let request = Uuid::new_v4();
            let detach = format!("detach {} --request-id {request}", guest.reference());
            scene.ctl(&attach)?;
            restart_with_fault_of_requests(scene, fault, n)?;
            let answer = scene.agent.ctl_once(&detach)?;
            if !is_dead(scene, answer.code)? {
                scene.restart()?;
                continue;
            }
            (died, deaths) = (true, deaths + 1);

            scene.restart()?;
            assert_eq!(scene.agent.list()?, Vec::<Value>::new(), "{when}");
            unchanged(&when, &before, &scene.snapshot()?);
            scene.ctl(&detach)?;
            unchanged(&when, &before, &scene.snapshot()?);
        }
        if !died {
            break;
        }
        n += 1;
    }
    assert!(deaths >= least, "the agent died only {deaths} times");
    unchanged("in the end", &before, &scene.snapshot()?);
    Ok(())
}

#[test]
fn an_agent_killed_at_any_step_of_a_detach_from_a_linux_bridge_finishes_it_when_it_starts() -> Result<()> {
    needs!(Root);
    death_in_a_detach(Scene::linux()?, LINUX)
}

#[test]
fn an_agent_killed_at_any_step_of_a_detach_from_a_vlan_of_a_linux_bridge_finishes_it_when_it_starts()
-> Result<()> {
    needs!(Root, BridgeVlans);
    death_in_a_detach(Scene::linux()?, LINUX_VLAN)
}

#[test]
fn an_agent_killed_at_any_step_of_a_detach_from_open_vswitch_finishes_it_when_it_starts() -> Result<()> {
    needs!(Root, Ovs);
    death_in_a_detach(Scene::ovs()?, OVS)
}

fn survives(scene: Scene, uplink: &str) -> Result<()> {
    let (web, peer) = (scene.host.guest("web")?, scene.host.guest("peer")?);
    with_default_routes(&web)?;
    let before = scene.snapshot()?;
    scene.ctl(&attach(uplink, &web))?;
    scene.ctl(&format!("attach {uplink} {} --ip 192.0.2.1/24 --ip 2001:db8::1/64", peer.reference()))?;
    let attached = scene.settled()?;
    let listed = scene.agent.list()?;
    let reaches = || -> Result<()> {
        for address in ["192.0.2.1", "2001:db8::1"] {
            assert_eq!(reach(&web.inside()?, &peer.inside()?, address.parse()?)?, reach::Reach::BOTH);
        }
        Ok(())
    };

    scene.agent.kill9()?;
    reaches()?;
    scene.agent.start()?;
    reaches()?;

    attached.assert_same(&scene.snapshot()?);
    let ids = |list: &[Value]| list.iter().map(|one| one["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&scene.agent.list()?), ids(&listed));
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.ctl(&format!("detach {}", peer.reference()))?;
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn an_attachment_to_a_linux_bridge_outlives_a_killed_agent_and_detaches_after_it() -> Result<()> {
    needs!(Root);
    survives(Scene::linux()?, LINUX)
}

#[test]
fn an_attachment_to_open_vswitch_outlives_a_killed_agent_and_detaches_after_it() -> Result<()> {
    needs!(Root, Ovs);
    survives(Scene::ovs()?, OVS)
}

#[test]
fn an_agent_killed_at_any_step_of_lending_a_nic_gives_it_back_when_it_starts() -> Result<()> {
    needs!(Root);
    death_in_an_attach(Scene::with_furnished_nic()?, NIC)
}

#[test]
fn an_agent_killed_at_any_step_of_a_nics_return_finishes_it_when_it_starts() -> Result<()> {
    needs!(Root);
    death_in_a_detach(Scene::with_furnished_nic()?, NIC)
}
