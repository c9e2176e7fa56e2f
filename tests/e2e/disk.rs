//! A disk that takes nothing, or forgets what it took: nothing is half done, what is attached goes on, and after the next start
//! all is as before. The disk's errors are strace's, which has the kernel answer so to the real agent's calls.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::process::Process;
use pipewright_tests::reach::Reach;
use pipewright_tests::{needs, reach};
use serde_json::Value;

use crate::refused_step::{LINUX, unchanged};
use crate::scene::Scene;

const ATTACHED: Duration = Duration::from_secs(20);

/// From now on calls of the agent on files of its state directory fail so.
fn fail(scene: &Scene, calls: &str, error: &str) -> Result<Process> {
    let pid = scene.agent.pid().context("the agent runs")?.to_string();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-p", &pid, "-e", &format!("inject={calls}:error={error}")]);
    for entry in std::fs::read_dir(scene.agent.state_dir())? {
        let path = entry?.path();
        if path.is_file() {
            strace.arg("-P").arg(path);
        }
    }
    let strace = Process::spawn("strace", &mut strace)?;
    strace.wait_line(|line| line.contains("attached"), ATTACHED)?;
    Ok(strace)
}

/// One attachment works before, during and after; another attach and its detach do nothing meanwhile.
fn takes_nothing(calls: &str, error: &str) -> Result<()> {
    let scene = Scene::linux()?;
    let (web, peer, late) = (scene.host.guest("web")?, scene.host.guest("peer")?, scene.host.guest("late")?);
    let before = scene.settled()?;
    for (guest, address) in [(&web, "192.0.2.10/24"), (&peer, "192.0.2.11/24")] {
        scene.ctl(&format!("attach {LINUX} {} --ip {address}", guest.reference()))?;
    }
    let attached = scene.settled()?;
    let listed = scene.agent.list()?;
    let reaches = || -> Result<()> {
        ensure!(reach(&web.inside()?, &peer.inside()?, "192.0.2.11".parse()?)? == Reach::BOTH);
        Ok(())
    };
    let attach = format!("attach {LINUX} {} --ip 192.0.2.12/24", late.reference());

    let strace = fail(&scene, calls, error)?;
    for line in [&attach, &format!("detach {}", web.reference()), &attach] {
        let answer = scene.agent.ctl(line)?;
        assert_eq!(answer.code, 1, "{line}: {}", answer.stdout);
        assert!(answer.stderr.contains("[EXHAUSTED]"), "{line}: {}", answer.stderr);
        unchanged(line, &attached, &scene.settled()?);
    }
    assert_eq!(scene.agent.list()?, listed);
    reaches()?;
    drop(strace);

    // The disk is well again. What it has of the refused attach is taken back by the next start.
    scene.restart()?;
    unchanged("after the next start", &attached, &scene.settled()?);
    let ids = |list: &[Value]| list.iter().map(|one| one["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&scene.agent.list()?), ids(&listed));
    reaches()?;
    scene.ctl(&attach)?;
    for guest in [&web, &peer, &late] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    unchanged("in the end", &before, &scene.settled()?);
    scene.lab.finish()
}

#[test]
fn a_disk_that_is_full_refuses_what_is_asked_and_nothing_is_half_done() -> Result<()> {
    needs!(Root, Strace);
    takes_nothing("write,writev,pwrite64,ftruncate,fallocate", "ENOSPC")
}

#[test]
fn a_disk_that_does_not_take_what_was_written_refuses_what_is_asked_and_nothing_is_half_done() -> Result<()> {
    needs!(Root, Strace);
    takes_nothing("fsync,fdatasync,sync_file_range", "EIO")
}
