//! What runtimes tell of the lives of their guests, while there are attachments that follow those, or labels count.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use pipewright_api::attachment::Runtime;
use tokio::time::{Instant, sleep};

use super::Engine;
use crate::guests::life::Life;
use crate::host::Host;

/// Pauses between attempts to listen: doubled each time, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl<H: Host> Engine<H> {
    /// Listens to the runtimes for as long as the agent runs.
    pub(super) fn follow_runtimes(self: &Arc<Self>) {
        for runtime in [Runtime::Docker, Runtime::Podman] {
            let engine = Arc::clone(self);
            tokio::spawn(async move {
                tokio::select! {
                    () = engine.stopped() => {}
                    () = engine.listen(runtime) => {}
                }
            });
        }
    }

    async fn listen(&self, runtime: Runtime) {
        let Some(teller) = self.guests.teller(runtime) else { return };
        let mut following = self.following.subscribe();
        let mut pauses = pauses();
        loop {
            following.mark_unchanged();
            // A runtime that nobody has installed asks for nothing.
            let may_ask = self.labels.is_on() && teller.is_installed();
            if self.shelf.followed(runtime).is_empty() && !may_ask {
                tokio::select! {
                    // An error means that the engine is gone.
                    changed = following.changed() => if changed.is_err() {
                        return;
                    },
                    () = sleep(LONGEST_PAUSE), if self.labels.is_on() => {}
                }
                continue;
            }
            let since = Instant::now();
            let failure = teller.tell(|life| self.hear(runtime, &life)).await;
            // One that lasted was a good one; a runtime that hangs up at once is not run at.
            if since.elapsed() > LONGEST_PAUSE {
                pauses = self::pauses();
            }
            tracing::info!(%runtime, "starts and stops of guests are not told: {failure}");
            sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }

    fn hear(&self, runtime: Runtime, life: &Life) {
        self.hear_of_labels(runtime, life);
        for record in self.shelf.followed(runtime) {
            let is_meant = match life {
                Life::Unknown => true,
                Life::Changed { id, name } => record.ends().any(|guest| guest.is(runtime, id, name)),
            };
            if is_meant {
                self.look_soon(&record);
            }
        }
    }
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}
