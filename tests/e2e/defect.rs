//! A defect of the agent, met in any step: one request is answered so, and all else goes on; what it began is taken back or
//! finished by whoever asks next.

use anyhow::{Result, ensure};
use pipewright_tests::needs;
use uuid::Uuid;

use crate::refused_step::{LINUX, OVS, attach, steps, unchanged};
use crate::scene::{Scene, with_default_routes};

fn every_defect_is_one_answer(scene: Scene, uplink: &str) -> Result<()> {
    let (web, peer) = (scene.host.guest("web")?, scene.host.guest("peer")?);
    with_default_routes(&web)?;
    let before = scene.snapshot()?;
    let attach = attach(uplink, &web);
    let other = format!("attach {uplink} {} --ip 192.0.2.1/24", peer.reference());
    let steps = steps(&scene, &attach)?;
    let meets = |line: &str| -> Result<()> {
        let answer = scene.agent.ctl(line)?;
        ensure!(
            answer.code == 1 && answer.stderr.contains("[INTERNAL]"),
            "{}{}",
            answer.stdout,
            answer.stderr
        );
        ensure!(answer.stderr.contains("defect"), "{}", answer.stderr);
        Ok(())
    };

    for n in 0..steps {
        let when = format!("panic:{n}");
        scene.restart_with_fault(&when)?;
        let line = format!("{attach} --request-id {}", Uuid::new_v4());
        meets(&line)?;

        // The same agent goes on, with the same guest and with others.
        scene.ctl(&other)?;
        scene.ctl(&line)?;
        ensure!(scene.agent.list()?.len() == 2, "{when}: {:?}", scene.agent.list()?);
        scene.ctl("check")?;
        for guest in [&web, &peer] {
            scene.ctl(&format!("detach {}", guest.reference()))?;
        }
        unchanged(&when, &before, &scene.snapshot()?);
    }

    scene.restart()?;
    let mut met = 0;
    for n in 0.. {
        scene.ctl(&attach)?;
        scene.restart_with_fault(&format!("panic:{n}"))?;
        let line = format!("detach {} --request-id {}", web.reference(), Uuid::new_v4());
        if scene.agent.ctl(&line)?.code == 0 {
            break;
        }
        met += 1;
        scene.ctl(&line)?;
        unchanged(&format!("panic:{n} of a detach"), &before, &scene.snapshot()?);
    }
    ensure!(met >= 4, "only {met} steps of a detach have a defect");
    scene.lab.finish()
}

#[test]
fn a_defect_in_any_step_with_a_linux_bridge_is_one_answer() -> Result<()> {
    needs!(Root);
    every_defect_is_one_answer(Scene::linux()?, LINUX)
}

#[test]
fn a_defect_in_any_step_with_open_vswitch_is_one_answer() -> Result<()> {
    needs!(Root, Ovs);
    every_defect_is_one_answer(Scene::ovs()?, OVS)
}
