//! The next start after a crash: what was being made is taken back, what was being taken back is finished. Running it
//! again does no harm.

use std::sync::Arc;

use futures_util::future::join_all;
use pipewright_api::attachment::State;
use pipewright_api::reason::Failure;

use super::Engine;
use crate::engine::operations::{Answer, Operation};
use crate::engine::records::{Loaded, Record, Write};
use crate::host::Host;

/// Why an attachment waits that was being made again.
const ENDED: &str = "the agent was ended while it was made again";

impl<H: Host> Engine<H> {
    /// Puts up the records and makes good what is half done.
    pub(super) async fn recover(&self, loaded: Loaded) -> Result<(), Failure> {
        let Loaded { mut attachments, switches, unanswered, has_rebooted, .. } = loaded;
        for switch in switches {
            self.shelf.put_switch(switch);
        }
        let total = attachments.len();
        for record in &attachments {
            for lease in &record.leases {
                self.kernel.leases().recall(record.attachment.id, lease);
            }
        }
        if has_rebooted {
            // The caller may have been told that it is attached: whether or not, what is left of it is the record.
            let begun = attachments.iter_mut().filter(|record| record.attachment.state == State::Attaching);
            begun.for_each(|record| record.attachment.state = State::Attached);
            attachments.iter_mut().for_each(Record::outlive_host);
            // Their clock began anew with the host.
            let missed = attachments.iter_mut().filter(|record| record.missed_since.is_some());
            let anew = missed.map(|record| {
                record.missed_since = None;
                Write::Attachment(Arc::new(record.clone()))
            });
            self.records.settle(anew.collect()).await?;
        }
        let records: Vec<Arc<Record>> =
            attachments.into_iter().map(|record| self.shelf.put(record, Some("the agent started"))).collect();
        let half_done = records.iter().filter(|record| record.attachment.state != State::Attached);
        join_all(half_done.map(|record| self.finish(record))).await;
        if has_rebooted {
            join_all(records.iter().map(|record| self.outlast(record))).await;
        }
        self.sweep().await;
        join_all(records.iter().map(|record| self.finish_traffic(record))).await;
        self.adopt().await?;
        let interrupted: Vec<Write> =
            unanswered.into_iter().map(|operation| close(operation, has_rebooted)).collect();
        self.records.settle(interrupted).await?;
        tracing::info!(found = total, kept = self.shelf.len(), "attachments recovered");
        Ok(())
    }

    /// Tries again what an earlier undo left.
    pub(super) async fn retry_incomplete(&self) {
        let (mut records, _) = self.shelf.attachments();
        records.retain(|record| matches!(record.attachment.state, State::Incomplete | State::Waiting));
        join_all(records.iter().map(|record| self.finish(record))).await;
        records.iter().for_each(|record| self.look_soon(record));
    }

    async fn finish(&self, record: &Record) {
        // Somebody may have finished it meanwhile.
        let Some((_lock, record)) = self.hold(record.attachment.id).await else { return };
        match record.attachment.state {
            State::Attached => return,
            // Nothing of it is left.
            State::Waiting if record.plan.is_empty() => return,
            State::Waiting => return self.abandon(&record, &record.attachment.waiting).await,
            State::Attaching if record.follows => return self.abandon(&record, ENDED).await,
            State::Attaching | State::Detaching | State::Detached | State::Incomplete => {}
        }
        let cause = Some("it was left half done");
        // A failure is in the log, and the attachment says what is left.
        let _told = self.remove(&record, record.request, cause).await;
    }
}

fn close(mut operation: Operation, has_rebooted: bool) -> Write {
    let expected = operation.expected.take().filter(|_| has_rebooted);
    operation.answer = Some(expected.unwrap_or(Answer::Interrupted));
    Write::Operation(Box::new(operation))
}
