//! One macvlan after another on a NIC.

use anyhow::Result;

use super::Length;
use crate::arena::Arena;
use crate::guests::Guests;
use crate::table::Line;

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    let mut arena = Arena::nic()?;
    let guests = Guests::add(&arena.lab, 2 * length.rounds(20, 100))?;
    let turns = arena.take_turns(&guests.seats())?;
    arena.detach_all(&turns.ours, 16)?;
    arena.finish()?;
    Ok(vec![Line::beside_floor("macvlan", &turns.floor, &turns.agent)])
}
