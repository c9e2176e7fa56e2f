//! Attaches with eight calls in flight, against the floor with its next order always waiting.

use anyhow::Result;
use pipewright_tests::AgentOptions;

use super::Length;
use crate::arena::Arena;
use crate::guests::Guests;
use crate::samples::Samples;
use crate::table::Line;

pub(super) const AT_ONCE: usize = 8;
/// Links of one round of one contestant.
pub(super) const ROUND: usize = 40;

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    let mut arena = Arena::linux(AgentOptions::default())?;
    let guests = Guests::add(&arena.lab, 2 * ROUND * length.rounds(3, 9))?;
    let (mut floor, mut agent) = (Samples::default(), Samples::default());
    let mut attached = Vec::new();
    for (number, seats) in guests.seats().chunks_exact(2 * ROUND).enumerate() {
        let (floors, ours) = seats.split_at(ROUND);
        let links: Vec<_> = floors.iter().map(|seat| seat.link(arena.net)).collect();
        // The first round is for warming up.
        if number == 1 {
            (floor, agent) = Default::default();
        }
        floor.time_each(ROUND, || arena.floor.attach_all(&links))?;
        agent.time_each(ROUND, || arena.attach_all(ours, AT_ONCE).map(drop))?;
        attached.extend_from_slice(ours);
    }
    arena.detach_all(&attached, 16)?;
    arena.finish()?;
    Ok(vec![Line::against("attach, 8 in flight, each", &floor, &agent, 1.2)])
}
