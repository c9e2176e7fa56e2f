//! One attach after another to containers, by the name that Docker knows; the floor is given the namespace.

use anyhow::Result;
use pipewright_tests::{AgentOptions, Need};

use super::Length;
use crate::arena::Arena;
use crate::guests::Seat;
use crate::table::Line;

const CONTAINERS: usize = 6;

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    if let Some((_, why)) = Need::Docker.unmet() {
        return Ok(vec![Line::free("attach by Docker name", why, "", true)]);
    }
    let mut arena = Arena::linux(AgentOptions::with_docker()?)?;
    let containers: Vec<_> = (0..CONTAINERS)
        .map(|number| arena.agents_host.container(&format!("c{number}")))
        .collect::<Result<_>>()?;
    let seats: Vec<Seat> = (0..)
        .zip(containers.iter().cycle().take(2 * length.rounds(18, 60)))
        .map(|(number, container)| Seat::in_guest(container, number))
        .collect::<Result<_>>()?;
    let turns = arena.take_turns(&seats)?;
    arena.detach_all(&turns.ours, 8)?;
    arena.finish()?;
    Ok(vec![Line::against("attach by Docker name", &turns.floor, &turns.agent, 2.4)])
}
