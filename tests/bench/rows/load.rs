//! Hundreds of detaches at once, and attaches beside them.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use pipewright_tests::AgentOptions;

use super::Length;
use crate::arena::{self, Arena};
use crate::guests::Guests;
use crate::samples::{Samples, milliseconds};
use crate::table::Line;

const AT_ONCE: usize = 48;

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    let arena = Arena::linux(AgentOptions::default())?;
    let links = length.rounds(100, 300);
    let guests = Guests::add(&arena.lab, 2 * links)?;
    let seats = guests.seats();
    let (going, coming) = seats.split_at(links);

    let (mut each, mut beside) = (Samples::default(), Samples::default());
    for _ in 0..length.rounds(1, 3) {
        arena.attach_all(going, 16)?;
        let begun = Instant::now();
        // Somebody else's connection: one takes 64 calls.
        let other = arena.connect()?;
        let (client, net) = (&arena.client, arena.net);
        let detaching = async {
            let calls = stream::iter(going).map(|seat| arena::detach(client, seat)).buffer_unordered(AT_ONCE);
            let gone: Vec<usize> = calls.try_collect().await?;
            anyhow::Ok((gone.len(), begun.elapsed()))
        };
        let attaching = async {
            let mut times = Vec::new();
            for seat in coming {
                let begun = Instant::now();
                arena::attach(&other, seat, net).await?;
                times.push((begun, begun.elapsed()));
            }
            anyhow::Ok(times)
        };
        let ((gone, took), times) =
            arena.runtime.block_on(async { futures_util::try_join!(detaching, attaching) })?;
        each.add(took / u32::try_from(gone)?);
        // Those that began while detaches were under way.
        times.iter().filter(|(at, _)| *at < begun + took).for_each(|&(_, time)| beside.add(time));
        arena.detach_all(coming, AT_ONCE)?;
    }
    // Threads that wait for the kernel's barriers have sockets open.
    arena.settle()?;
    arena.finish()?;

    let p99 = beside.percentile(99);
    let limit = Duration::from_millis(15);
    Ok(vec![
        Line::within("detach under load, each", None, &each, Duration::from_micros(1200)),
        Line::free(
            format!("attach beside it, p99 (n={})", beside.len()),
            milliseconds(p99),
            "≤ 15 ms",
            p99 <= limit,
        ),
    ])
}
