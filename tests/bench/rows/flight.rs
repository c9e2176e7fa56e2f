//! Attaches with eight calls in flight, against the floor with its next order always waiting.

use std::time::{Duration, Instant};

use anyhow::Result;
use pipewright_tests::AgentOptions;

use super::Length;
use crate::arena::Arena;
use crate::guests::{Guests, Seat};
use crate::samples::Samples;
use crate::table::Line;

pub(super) const AT_ONCE: usize = 8;
/// Links of one round of one contestant.
const ROUND: u32 = 40;

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    let mut arena = Arena::linux(AgentOptions::default())?;
    let guests = Guests::add(&arena.lab, seats(length))?;
    let seats = guests.seats();
    let (floor, agent) = rounds(&mut arena, &seats, |arena, ours| arena.attach_all(ours, AT_ONCE))?;
    let attached: Vec<Seat> = chunks(&seats).flat_map(|(_, ours)| ours.to_vec()).collect();
    arena.detach_all(&attached, 16)?;
    arena.finish()?;
    Ok(vec![Line::against("attach, 8 in flight, each", &floor, &agent, 1.2)])
}

/// How many seats the rounds need.
pub(super) fn seats(length: Length) -> usize {
    2 * ROUND as usize * length.rounds(3, 9)
}

/// Rounds of the floor and of whoever attaches so in the agent's host; the time of each link.
pub(super) fn rounds(
    arena: &mut Arena,
    seats: &[Seat],
    attach_all: impl Fn(&Arena, &[Seat]) -> Result<Duration>,
) -> Result<(Samples, Samples)> {
    let (mut floor, mut other) = (Samples::default(), Samples::default());
    for (number, (floors, ours)) in chunks(seats).enumerate() {
        let links: Vec<_> = floors.iter().map(|seat| seat.link(arena.net)).collect();
        let begun = Instant::now();
        arena.floor.attach_all(&links)?;
        let floor_time = begun.elapsed();
        let time = attach_all(arena, ours)?;
        // The first round is for warming up.
        if number > 0 {
            floor.add(floor_time / ROUND);
            other.add(time / ROUND);
        }
    }
    Ok((floor, other))
}

/// Those of the floor and of the other, round by round.
fn chunks(seats: &[Seat]) -> impl Iterator<Item = (&[Seat], &[Seat])> {
    seats.chunks_exact(2 * ROUND as usize).map(|round| round.split_at(ROUND as usize))
}
