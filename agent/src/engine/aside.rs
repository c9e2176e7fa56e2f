//! Attachments that wait for their guests: what is left of them on the host is taken back, the record stays.

use std::sync::Arc;
use std::time::SystemTime;

use pipewright_api::attachment::State;
use pipewright_api::reason::{Failure, Reason};
use uuid::Uuid;

use super::Engine;
use crate::engine::locks::GuestLock;
use crate::engine::records::{Record, Write};
use crate::host::Host;

/// Why an attachment waits whose guest does not run.
pub(super) const STOPPED: &str = "its guest stopped";
/// Why an attachment waits when the host was started.
pub(super) const REBOOTED: &str = "the host was started anew";
/// What watchers are told of one that is in the namespace that its guest left.
const RESTARTED: &str = "its guest started again";

impl<H: Host> Engine<H> {
    /// Sets an attachment aside, and looks for its guest. The caller holds its locks.
    pub(super) async fn abandon(&self, record: &Record, why: &str) {
        let id = record.attachment.id;
        self.meters.followed("waits");
        match self.set_aside(record, why).await {
            Ok(record) => self.look_soon(&record),
            Err(failure) => tracing::error!(attachment = %id, "it cannot be set aside: {failure}"),
        }
    }

    /// Takes back what is left of an attachment, and has its record wait. The caller holds its locks.
    ///
    /// # Errors
    /// EXHAUSTED when the record store does not take it.
    async fn set_aside(&self, record: &Record, why: &str) -> Result<Arc<Record>, Failure> {
        // A killed agent finds what waits, with all that is to be taken back.
        let mut intent = record.clone();
        intent.attachment.state = State::Waiting;
        why.clone_into(&mut intent.attachment.waiting);
        intent.waits_since.get_or_insert_with(SystemTime::now);
        self.records.intend(&[Write::Attachment(Arc::new(intent))])?;
        let mut going = record.clone();
        going.attachment.state = State::Detaching;
        let going = self.shelf.put(going, Some(why));
        let id = going.attachment.id;
        self.timetable.forget(id);
        let guest = self.reopen(&going).await;
        let leftovers = self.undo(id, guest.as_ref(), &going.plan).await;
        drop(guest);
        if !leftovers.is_empty() {
            tracing::error!(attachment = %id, "left undone: {}", leftovers.join("; "));
        }
        let mut record = (*going).clone();
        record.wait(why, leftovers);
        let record = self.shelf.put(record, Some(why));
        self.records.settle(vec![Write::Attachment(Arc::clone(&record))]).await?;
        Ok(record)
    }

    /// Takes an attachment out of the namespace that its guest had before.
    ///
    /// # Errors
    /// EXHAUSTED, and ROLLBACK_INCOMPLETE of one that was being detached.
    pub(super) async fn leave(&self, id: Uuid) -> Result<(), Failure> {
        let Some((_lock, record)) = self.hold(id).await else { return Ok(()) };
        match record.attachment.state {
            State::Attached | State::Attaching => self.set_aside(&record, RESTARTED).await.map(drop),
            State::Incomplete | State::Detaching => self.remove(&record, record.request, None).await,
            State::Waiting | State::Detached => Ok(()),
        }
    }

    /// An attachment that waits, held so that nobody else attaches or removes it; `None` when somebody did.
    ///
    /// # Errors
    /// ROLLBACK_INCOMPLETE when something of it is on the host and cannot be removed.
    pub(super) async fn take_up(
        &self,
        waiting: &Record,
    ) -> Result<Option<(GuestLock, Arc<Record>)>, Failure> {
        let id = waiting.attachment.id;
        let lock = self.locks.record(id).await;
        let found = self.shelf.get(id).filter(|record| record.attachment.state == State::Waiting);
        let Some(mut record) = found else { return Ok(None) };
        if !record.plan.is_empty() {
            let why = record.attachment.waiting.clone();
            record = self.set_aside(&record, &why).await?;
        }
        if record.plan.is_empty() {
            return Ok(Some((lock, record)));
        }
        let leftovers = &record.attachment.leftovers;
        let text = format!(
            "what was left of {} of guest \"{}\" cannot be taken back: {}",
            record.asked.ifname,
            record.asked.guest,
            leftovers.join("; ")
        );
        Err(Failure::new(Reason::RollbackIncomplete, text).with("leftovers", leftovers.join("\n")))
    }

    /// Has an attachment wait that was there when the host went down.
    pub(super) async fn outlast(&self, record: &Record) {
        let Some((_lock, record)) = self.hold(record.attachment.id).await else { return };
        if record.follows && record.attachment.state == State::Attached {
            self.abandon(&record, REBOOTED).await;
        }
    }

    /// Says why an attachment waits, if that is another reason than before.
    pub(super) async fn explain(&self, id: Uuid, why: &str) {
        let Some((_lock, record)) = self.hold(id).await else { return };
        if record.attachment.state != State::Waiting || record.attachment.waiting == why {
            return;
        }
        let mut record = (*record).clone();
        why.clone_into(&mut record.attachment.waiting);
        self.write_down(record, why).await;
    }

    /// Puts up a changed record, and writes it.
    pub(super) async fn write_down(&self, record: Record, cause: &str) {
        let record = self.shelf.put(record, Some(cause));
        self.write(&record).await;
    }

    /// Writes a record that was put up. That the store does not take it is in the log: the shelf is right all the same.
    pub(super) async fn write(&self, record: &Arc<Record>) {
        if let Err(failure) = self.records.settle(vec![Write::Attachment(Arc::clone(record))]).await {
            tracing::error!(attachment = %record.attachment.id, guest = %record.asked.guest, "{failure}");
        }
    }
}
