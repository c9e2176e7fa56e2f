//! Asking again when the connection ended before the answer.
//!
//! An agent that is killed or restarted ends its connections and is back a moment later. A request id makes a change once at
//! most, so whoever asked need not hear of it.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Response, Status};

use super::error::Ended;

/// How long an agent that was there is asked again, unless the caller says it.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Before the second time of asking again. The first is at once: a connection may be older than the agent.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Each pause is twice the one before, up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// In all.
    pub(super) within: Duration,
    /// From when its connection ended to when it is asked again for the last time.
    pub(super) patience: Duration,
}

/// Calls, and again while connections end before the answer. `call` is told what is left of the time.
pub(super) async fn until_answered<W, C>(
    limits: Limits,
    mut call: impl FnMut(Duration) -> C,
) -> Result<W, Ended>
where
    C: Future<Output = Result<Response<W>, Status>>,
{
    let begun = Instant::now();
    let mut first = match once(limits.within, &mut call).await {
        // Where nobody listens there is nobody to wait for.
        Err(ended @ (Ended::Cut(_) | Ended::Stopping(_))) => ended,
        answer => return answer,
    };
    let (ended_at, mut pause, mut last) = (Instant::now(), Duration::ZERO, None);
    loop {
        let left = limits.within.saturating_sub(begun.elapsed());
        if pause >= left.min(limits.patience.saturating_sub(ended_at.elapsed())) {
            return Err(first.and_since(last));
        }
        tokio::time::sleep(pause).await;
        let again = match once(left.saturating_sub(pause), &mut call).await {
            Ok(answer) => return Ok(answer),
            Err(Ended::Refused(failure)) => return Err(Ended::Refused(failure)),
            Err(again) => again,
        };
        match again {
            // Now something may have been changed, too.
            Ended::Cut(_) if matches!(first, Ended::Stopping(_)) => first = again,
            Ended::Cut(_) | Ended::Stopping(_) | Ended::Unconnected(_) => last = Some(again),
            Ended::Unanswered(_) | Ended::Odd(_) | Ended::Protocol(_) | Ended::Refused(_) => {
                return Err(first.and_since(Some(again)));
            }
        }
        pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }
}

async fn once<W, C>(within: Duration, call: &mut impl FnMut(Duration) -> C) -> Result<W, Ended>
where
    C: Future<Output = Result<Response<W>, Status>>,
{
    match tokio::time::timeout(within, call(within)).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Ended::from(&status)),
        Err(_) => Err(Ended::Unanswered(format!("no answer within {within:?}"))),
    }
}
