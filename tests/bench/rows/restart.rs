//! How long after Docker's event that a container started its link is back, by the clock that both are told by.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use pipewright_api::attachment::State;
use pipewright_tests::{AgentOptions, Docker, Guest, Need};
use tokio_stream::StreamExt;

use super::Length;
use crate::arena::Arena;
use crate::guests::Seat;
use crate::samples::Samples;
use crate::table::Line;

const WHAT: &str = "link back after a container's start";

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    if let Some((_, why)) = Need::Docker.unmet() {
        return Ok(vec![Line::free(WHAT, why, "", true)]);
    }
    let arena = Arena::linux(AgentOptions::with_docker()?)?;
    let web = arena.agents_host.container("web")?;
    let seat = Seat::in_guest(&web, 1)?;
    arena.attach(&seat)?;
    let mut late = Samples::default();
    for _ in 0..length.rounds(5, 20) {
        late.add(round(&arena, &web)?);
    }
    arena.detach(&seat)?;
    arena.finish()?;
    Ok(vec![Line::within(WHAT, None, &late, Duration::from_millis(200))])
}

fn round(arena: &Arena, web: &Guest) -> Result<Duration> {
    let begin = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut changes = arena.runtime.block_on(arena.client.watch(None, None))?;
    let back = std::thread::scope(|scope| {
        // The change is heard when it comes, not when `docker restart` ends.
        let restart = scope.spawn(|| web.restart());
        let back = arena.runtime.block_on(async {
            while let Some(change) = changes.next().await {
                if change?.attachment.state == State::Attached {
                    return Ok(SystemTime::now().duration_since(UNIX_EPOCH)?);
                }
            }
            bail!("the agent closed the watch")
        })?;
        restart.join().map_err(|_| anyhow!("the thread panicked"))??;
        Ok::<_, anyhow::Error>(back)
    })?;
    Ok(back.saturating_sub(started(web, begin)?))
}

/// When the last start of a container since then was told.
fn started(web: &Guest, since: Duration) -> Result<Duration> {
    let moment = |time: Duration| format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
    let until = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let name = web.reference().trim_start_matches("docker:");
    let told = Docker::shared()?.docker(&[
        "events",
        "--since",
        &moment(since),
        "--until",
        &moment(until),
        "--filter",
        &format!("container={name}"),
        "--filter",
        "event=start",
        "--format",
        "{{.TimeNano}}",
    ])?;
    let last = told.lines().next_back().context("Docker told of no start")?;
    Ok(Duration::from_nanos(last.trim().parse()?))
}
