//! `make soak`: attach and detach again and again; descriptors, threads and memory of the agent must stay as they were.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets};
use pipewright_tests::{Agent, AgentOptions};

use crate::arena::Arena;
use crate::guests::{Guests, Seat};
use crate::rows::memory::megabytes;

/// Calls open at once.
const AT_ONCE: usize = 8;
const GUESTS: usize = 40;
const LOOKS: usize = 10;
/// What belongs to work behind an answer is gone by then.
const REST: Duration = Duration::from_secs(30);
/// Of resident memory, from the look in the middle to the last: allocators keep some of what was busy.
const SLACK: f64 = 1.1;

/// # Errors
/// Something grew, or is left.
pub(crate) fn run(pairs: usize) -> Result<()> {
    println!("to a linux bridge");
    soak(Arena::linux(AgentOptions::default())?, pairs)?;
    println!("to Open vSwitch");
    soak(Arena::ovs()?, pairs / 10)
}

fn soak(arena: Arena, pairs: usize) -> Result<()> {
    let guests = Guests::add(&arena.lab, GUESTS)?;
    let seats = guests.seats();
    // What is made once.
    attach_and_detach(&arena, &seats, GUESTS)?;
    let base = Held::rested(&arena.agent, None)?;

    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["pairs", "s", "descriptors", "threads", "resident, MB", "state, MB"]);
    table.add_row(base.row(0, Duration::ZERO));
    let begun = Instant::now();
    let (mut warm, mut end) = (None, None);
    for look in 1..=LOOKS {
        attach_and_detach(&arena, &seats, pairs / LOOKS)?;
        let held = Held::rested(&arena.agent, Some(&base))?;
        table.add_row(held.row(pairs / LOOKS * look, begun.elapsed()));
        // By then buffers of the store and the allocator's arenas have their size.
        if look == LOOKS / 2 {
            warm = Some(held.resident);
        }
        end = Some(held);
    }
    println!("{table}");
    // First, so that what grew is the last thing said, and not below a log of every attach.
    drop(guests);
    arena.finish()?;
    let (warm, end) = warm.zip(end).context("nobody looked")?;
    ensure!(end.descriptors <= base.descriptors, "descriptors: {} → {}", base.descriptors, end.descriptors);
    ensure!(end.threads <= base.threads, "threads: {} → {}", base.threads, end.threads);
    ensure!(end.resident <= warm * SLACK, "memory: {warm:.1} → {:.1} MB", end.resident);
    Ok(())
}

fn attach_and_detach(arena: &Arena, seats: &[Seat], pairs: usize) -> Result<()> {
    let mut left = pairs;
    while left > 0 {
        let seats = &seats[..left.min(seats.len())];
        arena.attach_all(seats, AT_ONCE)?;
        arena.detach_all(seats, AT_ONCE)?;
        left -= seats.len();
    }
    Ok(())
}

/// What an agent holds.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    /// In MB, as what its state directory takes.
    resident: f64,
    disk: f64,
}

impl Held {
    fn by(agent: &Agent) -> Result<Self> {
        let pid = agent.pid().context("the agent ended")?;
        Ok(Self {
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
            threads: std::fs::read_dir(format!("/proc/{pid}/task"))?.count(),
            resident: megabytes(agent, "VmRSS")?,
            disk: size(&agent.state_dir())? as f64 / f64::from(1 << 20),
        })
    }

    /// Once nothing is done any more.
    fn rested(agent: &Agent, base: Option<&Self>) -> Result<Self> {
        let end = Instant::now() + REST;
        loop {
            let held = Self::by(agent)?;
            let has_more = |base: &Self| held.descriptors > base.descriptors || held.threads > base.threads;
            if !base.is_some_and(has_more) || Instant::now() >= end {
                return Ok(held);
            }
            crate::arena::rest();
        }
    }

    fn row(&self, pairs: usize, after: Duration) -> [String; 6] {
        [
            pairs.to_string(),
            format!("{:.0}", after.as_secs_f64()),
            self.descriptors.to_string(),
            self.threads.to_string(),
            format!("{:.1}", self.resident),
            format!("{:.1}", self.disk),
        ]
    }
}

/// What a folder takes of its disk, in bytes.
fn size(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // One that the store deletes meanwhile takes nothing.
        let Ok(about) = entry.metadata() else { continue };
        bytes += if about.is_dir() { size(&entry.path())? } else { about.blocks() * 512 };
    }
    Ok(bytes)
}
