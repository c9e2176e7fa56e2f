//! `pwctl attach`: a new process for each, against the warm floor.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};
use pipewright_tests::AgentOptions;
use pipewright_tests::agent::program;

use super::Length;
use crate::arena::{Arena, rest};
use crate::guests::{GATEWAY, Guests, PREFIX, Seat};
use crate::samples::Samples;
use crate::table::Line;

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    let mut arena = Arena::linux(AgentOptions::default())?;
    let guests = Guests::add(&arena.lab, 2 * length.rounds(10, 40))?;
    let (mut floor, mut agent) = (Samples::default(), Samples::default());
    let mut attached = Vec::new();
    for pair in guests.seats().chunks_exact(2) {
        let [ours, floors] = pair else { continue };
        let mut pwctl = pwctl(&arena, ours)?;
        rest();
        let begun = Instant::now();
        let status = pwctl.status()?;
        agent.add(begun.elapsed());
        ensure!(status.success(), "pwctl: {status}");
        attached.push(ours.clone());
        rest();
        floor.time(|| arena.floor.attach(&floors.link(arena.net)))?;
    }
    arena.detach_all(&attached, 16)?;
    arena.finish()?;
    Ok(vec![Line::against("`pwctl attach`, a process each", &floor, &agent, 4.5)])
}

fn pwctl(arena: &Arena, seat: &Seat) -> Result<Command> {
    let mut pwctl = Command::new(program("pwctl")?);
    pwctl
        .args(["--endpoint", &arena.agent.endpoint(), "attach", arena.net.uplink, &seat.guest])
        .args(["--ip", &format!("{}/{PREFIX}", seat.address()), "--gateway", &GATEWAY.to_string()])
        .env("PWCTL_CONFIG", "/dev/null")
        .env_remove("PWCTL_HOST")
        .env_remove("PWCTL_ENDPOINT")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Ok(pwctl)
}
