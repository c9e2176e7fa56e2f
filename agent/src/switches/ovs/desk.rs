//! The database within reach: the connection, and the live copy of what is in it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::SwitchError;
use super::live::LiveCopy;
use crate::ovsdb::{Client, OvsdbError};

/// Pause before a lost server is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Client and live copy.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) client: Client,
    pub(super) live: Arc<LiveCopy>,
    /// For one answer of the server.
    pub(super) call: Duration,
}

/// Whether it is worth trying again when the server is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing hangs on it.
    IsFinal,
    /// A transaction is without an answer.
    IsWaitedOut,
}

impl Desk {
    /// Returns when the live copy is complete; at once if it is.
    ///
    /// # Errors
    /// [`SwitchError::Down`], or [`SwitchError::Refused`] if the server does not let us watch its tables.
    pub(super) async fn sync(&self, deadline: Instant) -> Result<(), SwitchError> {
        if self.live.read().is_synced {
            return Ok(());
        }
        self.confirm(deadline, Loss::IsFinal).await
    }

    /// Returns when the live copy shows all that the server did before this call: its answer comes after the updates.
    ///
    /// # Errors
    /// As [`Desk::sync`].
    pub(super) async fn confirm(&self, deadline: Instant, loss: Loss) -> Result<(), SwitchError> {
        loop {
            let error = match self.look(deadline).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let is_final = loss == Loss::IsFinal || !matches!(error, SwitchError::Down { .. });
            if is_final || Instant::now() + RETRY >= deadline {
                return Err(error);
            }
            // No event tells that a server is back; only a call makes the client look before its own pause ends.
            let mut changes = self.live.changes();
            // Woken or not, the next turn finds out.
            let _ = timeout(RETRY, changes.changed()).await;
        }
    }

    async fn look(&self, deadline: Instant) -> Result<(), SwitchError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let down = |error: OvsdbError| match error {
            // A question may stay without an answer: nothing hangs on it.
            OvsdbError::Unknown { endpoint, cause } => {
                SwitchError::Down { cause: format!("OVSDB at {endpoint} does not answer: {cause}") }
            }
            other => SwitchError::Down { cause: other.to_string() },
        };
        self.client.echo(self.call.min(left)).await.map_err(down)?;
        let live = self.live.read();
        match &live.refusal {
            _ if live.is_synced => Ok(()),
            Some(details) => Err(SwitchError::Refused {
                what: "cannot watch the Open_vSwitch database".to_owned(),
                details: format!(
                    "{details}; if it is of an older Open vSwitch, `ovsdb-client convert` it to the schema of this one"
                ),
            }),
            None => {
                Err(SwitchError::Down { cause: format!("lost OVSDB at {} again", self.client.endpoint()) })
            }
        }
    }
}
