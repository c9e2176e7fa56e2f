//! One attach after another to a linux bridge, and one detach after another.

use std::time::Duration;

use anyhow::Result;
use pipewright_tests::AgentOptions;

use super::Length;
use crate::arena::Arena;
use crate::guests::Guests;
use crate::samples::Samples;
use crate::table::Line;

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    let mut arena = Arena::linux(AgentOptions::default())?;
    let guests = Guests::add(&arena.lab, 2 * length.rounds(20, 100))?;
    let turns = arena.take_turns(&guests.seats())?;

    let (mut floor, mut agent) = (Samples::default(), Samples::default());
    for (ours, floors) in turns.ours.iter().zip(&turns.floors) {
        agent.add(arena.detach(ours)?);
        floor.time(|| arena.floor.detach(&floors.link(arena.net)))?;
    }
    arena.finish()?;
    Ok(vec![
        Line::against("attach", &turns.floor, &turns.agent, 2.2),
        Line::within("detach", Some(&floor), &agent, Duration::from_millis(2)),
    ])
}
