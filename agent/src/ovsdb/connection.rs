//! The task that keeps a connection: it connects, and starts anew when the connection is lost.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::endpoint::Endpoint;
use super::monitor::Monitor;
use super::session::{Call, End, Lost, Session};

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// Silence after which the server is probed, and then again until it is given up.
    pub probe: Duration,
    /// First pause between attempts to connect; doubled each time, up to `backoff_max`, with jitter.
    pub backoff_min: Duration,
    /// Longest pause between attempts to connect.
    pub backoff_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            probe: Duration::from_secs(5),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(8),
        }
    }
}

/// Runs until every handle is gone.
pub(super) async fn run(
    endpoint: Arc<Endpoint>,
    patience: Patience,
    mut monitors: Vec<Monitor>,
    mut calls: mpsc::Receiver<Call>,
) {
    let fresh = || backoff(patience);
    let mut pauses = fresh();
    let mut urgent: Option<Call> = None;
    loop {
        let cause = match timeout(patience.connect, endpoint.connect()).await {
            Ok(Ok(stream)) => {
                tracing::debug!(%endpoint, "connected to OVSDB");
                let since = Instant::now();
                let mut session = Session::new(stream, &mut monitors, patience.probe);
                let end = session.serve(urgent.take(), &mut calls).await;
                let End::Lost(cause) = end else { return };
                session.close(&cause);
                // One that lasted was a good one; a server that hangs up at once is not run at.
                if since.elapsed() > patience.backoff_max {
                    pauses = fresh();
                }
                tracing::info!(%endpoint, cause, "lost the connection to OVSDB");
                cause
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {} s", patience.connect.as_secs_f32()),
        };
        for call in urgent.take().into_iter().chain(std::iter::from_fn(|| calls.try_recv().ok())) {
            // The caller may have gone away; then nobody waits for this.
            let _ = call.answer.send(Err(Lost::Down(cause.clone())));
        }
        let pause = pauses.next().unwrap_or(patience.backoff_max);
        // A call does not wait for the pause to end: it finds out now whether the server is back.
        tokio::select! {
            () = sleep(pause) => {}
            call = calls.recv() => match call {
                Some(call) => urgent = Some(call),
                None => return,
            },
        }
    }
}

fn backoff(patience: Patience) -> ExponentialBackoff {
    // Jitter adds up to the pause itself.
    ExponentialBuilder::new()
        .with_min_delay(patience.backoff_min)
        .with_max_delay(patience.backoff_max / 2)
        .without_max_times()
        .with_jitter()
        .build()
}
