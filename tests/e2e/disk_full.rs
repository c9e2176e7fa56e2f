//! A disk that is full, at whatever write it becomes so: nothing is changed that is not remembered.

use anyhow::{Result, ensure};
use pipewright_tests::{AgentOptions, needs};

use crate::refused_step::{LINUX, attach, unchanged};
use crate::scene::Scene;

/// More than fit on the disk of the story.
const ROUNDS: usize = 2000;

#[test]
fn a_full_disk_refuses_and_leaves_nothing_that_is_not_remembered() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;
    scene.agent.kill9()?;
    let mount = format!(
        "mount -t tmpfs -o size=1m,mode=700 tmpfs {} && exec \"$@\"",
        scene.agent.state_dir().display()
    );
    let small = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", mount.as_str(), "sh"];
    scene.agent.set_options(AgentOptions::default().under(&small));
    scene.agent.start()?;
    let (attach, detach) = (attach(LINUX, &guest), format!("detach {}", guest.reference()));

    let mut refused = None;
    for _ in 0..ROUNDS {
        let attached = scene.agent.ctl(&attach)?;
        if attached.code != 0 {
            refused = Some(attached);
            break;
        }
        let detached = scene.agent.ctl(&detach)?;
        if detached.code != 0 {
            refused = Some(detached);
            break;
        }
    }

    let Some(refused) = refused else { anyhow::bail!("the disk took {ROUNDS} attaches and detaches") };
    assert!(refused.stderr.contains("[EXHAUSTED]"), "{}", refused.stderr);
    unchanged("when the disk is full", &before, &scene.snapshot()?);
    let again = scene.agent.ctl(&attach)?;
    ensure!(again.code != 0, "attached without a record: {}", again.stdout);
    assert!(
        again.stderr.contains("[EXHAUSTED]") && again.stderr.contains("free some space"),
        "{}",
        again.stderr
    );
    unchanged("after another attach", &before, &scene.snapshot()?);

    // With a disk again, it works again.
    scene.restart()?;
    scene.ctl(&attach)?;
    scene.ctl(&detach)?;
    unchanged("in the end", &before, &scene.snapshot()?);
    scene.lab.finish()
}
