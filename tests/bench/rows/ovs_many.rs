//! An Open vSwitch that has a thousand ports already: one attach after another, and fifty at once.

use std::fmt::Write as _;

use anyhow::Result;
use pipewright_tests::Need;

use super::Length;
use crate::arena::Arena;
use crate::guests::{Guests, run_batch};
use crate::samples::{Samples, milliseconds, ratio};
use crate::table::Line;

const AT_ONCE: u32 = 50;
const BATCH: usize = 100;

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    if let Some((_, why)) = Need::Ovs.unmet() {
        return Ok(vec![Line::free("Open vSwitch with many ports", why, "", true)]);
    }
    let mut arena = Arena::ovs()?;
    let ports = length.rounds(200, 1000);
    let (singles, groups) = (length.rounds(5, 8), length.rounds(2, 3));
    let fifty = AT_ONCE as usize;
    let guests = Guests::add(&arena.lab, 1 + singles + groups * fifty)?;
    let seats = guests.seats();
    fill(&arena, &seats[0].netns, ports)?;

    let (mut one, mut many) = (Samples::default(), Samples::default());
    let (alone, together) = seats[1..].split_at(singles);
    for seat in alone {
        one.add(arena.attach(seat)?);
    }
    for group in together.chunks_exact(fifty) {
        many.add(arena.attach_all(group, fifty)? / AT_ONCE);
    }
    // Deleting a thousand ports one by one takes ovs-vswitchd a quarter of a minute; nobody needs them any more.
    arena.floor.dump()?;
    arena.leave();
    let cheaper = ratio(one.median(), many.median());
    let line =
        Line::free(format!("50 at once with {ports} ports, each"), many.shown(), "≥ 10×", cheaper >= 10.0);
    let alone = format!("one by one: {}", milliseconds(one.median()));
    Ok(vec![line.beside(alone, format!("1/{cheaper:.1}"))])
}

/// Ports of nobody in particular: veths whose other ends are out of the way.
fn fill(arena: &Arena, attic: &str, ports: usize) -> Result<()> {
    let host = &arena.agents_host;
    let attic = attic.trim_start_matches("/run/netns/");
    let links = (0..ports).fold(String::new(), |mut lines, n| {
        let _ = writeln!(
            lines,
            "link add fill{n} numtxqueues 1 numrxqueues 1 type veth peer name far{n} numtxqueues 1 numrxqueues 1 netns {attic}"
        );
        lines
    });
    run_batch(host.inside().command("ip")?, &links)?;
    for group in (0..ports).collect::<Vec<_>>().chunks(BATCH) {
        let adds: Vec<String> =
            group.iter().map(|n| format!("add-port {} fill{n}", arena.net.uplink)).collect();
        host.ovs()?.vsctl(&adds.join(" -- "))?;
    }
    Ok(())
}
