//! Faults while a link is made again: nothing half made stays, the attachment waits, and is made when the fault is over.

use anyhow::{Result, ensure};
use pipewright_tests::{Guest, needs, residue};
use serde_json::Value;

use super::{attach, comes_back, kill, options, waits};
use crate::scene::{Scene, until};

/// More than any plan here has.
const MOST: usize = 40;

struct Waiting {
    scene: Scene,
    web: std::sync::Arc<Guest>,
    made: Value,
}

fn waiting() -> Result<Waiting> {
    let scene = Scene::ovs_with(options()?)?;
    let web = scene.host.container("web")?;
    let made = attach(&scene, "ovs0", &web, "--ip 192.0.2.1/24 --vlan 100")?;
    kill(&web)?;
    waits(&scene, &web, "its guest stopped")?;
    Ok(Waiting { scene, web, made })
}

impl Waiting {
    /// Starts the agent with a fault, and then the container.
    fn starts_with(&self, fault: &str) -> Result<()> {
        self.scene.agent.kill9()?;
        let faulty = options()?.binary("pwagent-faulty").variable("PIPEWRIGHT_FAULT", fault);
        self.scene.agent.set_options(faulty);
        self.scene.agent.start()?;
        self.web.docker("start")
    }

    fn stops(&self) -> Result<()> {
        kill(&self.web)?;
        waits(&self.scene, &self.web, "its guest stopped")?;
        residue::none(&self.scene.host)
    }
}

#[test]
fn a_step_that_is_refused_leaves_nothing_and_is_tried_again() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let story = waiting()?;
    let mut tried = 0;
    for step in 0..MOST {
        story.starts_with(&format!("refuse:{step}"))?;
        comes_back(&story.scene, &story.web, &story.made)?;
        let log = story.scene.agent.log();
        let life = log.rsplit("---- started again").next().unwrap_or_default();
        if !life.contains("STEP_FAILED") {
            break;
        }
        tried = step + 1;
        story.stops()?;
    }
    ensure!((4..MOST).contains(&tried), "{tried} steps");
    // The fault that was not met yet would be met by the detach.
    story.scene.agent.kill9()?;
    story.scene.agent.set_options(options()?);
    story.scene.agent.start()?;
    story.scene.ctl(&format!("detach {}", story.web.reference()))?;
    residue::none(&story.scene.host)?;
    story.scene.lab.finish()
}

#[test]
fn an_agent_that_is_killed_at_a_step_finds_the_attachment_waiting() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let story = waiting()?;
    for step in [0, 2, 5, 8] {
        story.starts_with(&format!("kill-after:{step}"))?;
        story.scene.agent.wait_end(std::time::Duration::from_secs(20))?;
        story.scene.agent.set_options(options()?);
        story.scene.agent.start()?;
        comes_back(&story.scene, &story.web, &story.made)?;
        story.stops()?;
    }
    story.scene.ctl(&format!("detach {}", story.web.reference()))?;
    until("nothing is listed", || Ok(story.scene.agent.list()?.is_empty()))?;
    story.scene.lab.finish()
}
