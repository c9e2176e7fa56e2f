//! One attach after another to a VLAN of an Open vSwitch, until the switch has done it.

use anyhow::Result;
use pipewright_tests::Need;

use super::Length;
use crate::arena::Arena;
use crate::guests::Guests;
use crate::table::Line;

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    if let Some((_, why)) = Need::Ovs.unmet() {
        return Ok(vec![Line::free("Open vSwitch, realised", why, "", true)]);
    }
    let mut arena = Arena::ovs()?;
    let guests = Guests::add(&arena.lab, 2 * length.rounds(15, 45))?;
    let turns = arena.take_turns(&guests.seats())?;
    arena.detach_all(&turns.ours, 16)?;
    arena.finish()?;
    Ok(vec![Line::against("Open vSwitch, VLAN 100, realised", &turns.floor, &turns.agent, 1.3)])
}
