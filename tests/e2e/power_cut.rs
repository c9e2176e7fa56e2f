//! A host that loses its power: the kernel's links are gone, the disk has what was on its way to the caller, and no answer that
//! was given is taken back.

use std::time::Duration;

use anyhow::{Result, ensure};
use pipewright_tests::{AgentOptions, needs};
use serde_json::Value;
use uuid::Uuid;

use crate::refused_step::{LINUX, attach, steps};
use crate::scene::{Scene, until};

const END: Duration = Duration::from_secs(20);

/// An agent that dies after its last step: the outcome, which is only written, is what a power cut may take.
fn dies_before_the_outcome(scene: &Scene, step: usize, request: &str) -> Result<()> {
    scene.restart_with_fault(&format!("kill-after:{step}"))?;
    let answer = scene.agent.ctl_once(request)?;
    ensure!(answer.code != 0, "the agent lives: {}", answer.stdout);
    scene.agent.wait_end(END)
}

fn starts_in_another_boot(scene: &Scene) -> Result<()> {
    scene.agent.set_options(AgentOptions::default().boot("8d1c9a52-0000-4000-8000-000000000001\n"));
    scene.agent.start()
}

#[test]
fn a_request_that_may_have_been_answered_before_the_host_lost_its_power_has_its_answer_for_ever() -> Result<()>
{
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let request = Uuid::new_v4();
    let attach = attach(LINUX, &guest);
    let last = steps(&scene, &attach)? - 1;

    dies_before_the_outcome(&scene, last, &format!("{attach} --request-id {request}"))?;
    guest.kill()?;
    starts_in_another_boot(&scene)?;

    // Its link is gone with the power (here: soon after its guest), and the answer is what the caller may have heard.
    until("its record is gone", || Ok(scene.agent.list()?.is_empty()))?;
    let answer = scene.ctl(&format!("-o json {attach} --request-id {request}"))?.json()?;
    assert_eq!(answer["created"], true, "{answer}");
    assert_eq!(answer["attachment"]["state"], "ATTACHMENT_STATE_ATTACHED", "{answer}");
    assert_eq!(scene.agent.list()?, Vec::<Value>::new());
    scene.lab.finish()
}
