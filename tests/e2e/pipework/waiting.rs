//! `pipework --wait`, inside a guest, where no agent can be asked.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use pipewright_tests::{Guest, needs, process::Process};

use super::Stage;

const SOON: Duration = Duration::from_secs(20);

/// Starts `pipework WORDS` inside; it says a line when it ends.
fn start(stage: &Stage, guest: &Arc<Guest>, words: &str) -> Result<Process> {
    let mut command = guest.inside()?.command("sh")?;
    command.args(["-c", &format!("{} {words}; echo ended with $?", stage.pipework.display())]);
    Process::spawn("pipework --wait", &mut command)
}

#[test]
fn waiting_ends_when_the_link_is_up_with_carrier() -> Result<()> {
    needs!(Root);
    let stage = Stage::plain_without_docker()?;
    let web = stage.host.guest("web")?;
    let waiting = start(&stage, &web, "--wait -i eth3")?;

    // One that is there and down is not ready, which pipework takes for ready.
    web.ip("link add eth3 type veth peer name other")?;
    web.ip("link set eth3 up")?;
    let down = start(&stage, &web, "--wait -i other")?;
    assert!(waiting.wait_line(|_| true, Duration::from_millis(300)).is_err());
    assert!(down.wait_line(|_| true, Duration::from_millis(300)).is_err());
    web.ip("link set other up")?;

    for process in [waiting, down] {
        process.wait_line(|line| line == "ended with 0", SOON)?;
    }
    stage.lab.finish()
}

#[test]
fn a_link_that_was_ready_all_along_is_not_waited_for() -> Result<()> {
    needs!(Root);
    let stage = Stage::plain_without_docker()?;
    let web = stage.host.guest("web")?;
    web.ip("link add eth1 up type veth peer name other")?;
    web.ip("link set other up")?;

    start(&stage, &web, "--wait")?.wait_line(|line| line == "ended with 0", SOON)?;
    stage.lab.finish()
}

#[test]
fn a_link_that_an_agent_plugs_in_ends_the_wait() -> Result<()> {
    needs!(Root);
    let stage = Stage::plain_without_docker()?;
    let web = stage.host.guest("web")?;
    let waiting = start(&stage, &web, "--wait")?;

    stage.pipework(&format!("br1 {} 192.0.2.1/24", web.reference()))?;

    waiting.wait_line(|line| line == "ended with 0", SOON)?;
    stage.end()
}
