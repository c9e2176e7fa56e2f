//! Attaches with eight calls in flight, against the floor with its next order always waiting.

use anyhow::Result;
use pipewright_tests::AgentOptions;

use super::Length;
use crate::arena::Arena;
use crate::guests::Guests;
use crate::samples::Samples;
use crate::table::Line;

const AT_ONCE: usize = 8;
/// Links of one round of one contestant.
const ROUND: u32 = 40;

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    let mut arena = Arena::linux(AgentOptions::default())?;
    let round = ROUND as usize;
    let guests = Guests::add(&arena.lab, 2 * round * length.rounds(3, 9))?;
    let (mut floor, mut agent) = (Samples::default(), Samples::default());
    let mut attached = Vec::new();
    for (number, seats) in guests.seats().chunks_exact(2 * round).enumerate() {
        let (floors, ours) = seats.split_at(round);
        let links: Vec<_> = floors.iter().map(|seat| seat.link(arena.net)).collect();
        let mut floor_time = Samples::default();
        floor_time.time(|| arena.floor.attach_all(&links))?;
        let time = arena.attach_all(ours, AT_ONCE)?;
        attached.extend_from_slice(ours);
        // The first round is for warming up.
        if number > 0 {
            floor.add(floor_time.median() / ROUND);
            agent.add(time / ROUND);
        }
    }
    arena.detach_all(&attached, 16)?;
    arena.finish()?;
    Ok(vec![Line::against("attach, 8 in flight, each", &floor, &agent, 1.2)])
}
