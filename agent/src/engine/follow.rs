//! Attachments that follow their guests. Level-triggered: whatever happened to a guest, it is looked where it is now, and what
//! the attachment should be is compared with what it is.

use std::sync::Arc;

use pipewright_api::attachment::{GuestIdentity, State};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{AttachmentSpec, Uplink};
use uuid::Uuid;

use super::Engine;
use crate::engine::aside::STOPPED;
use crate::engine::attach::Wish;
use crate::engine::followed::Followed;
use crate::engine::records::Record;
use crate::engine::timetable::Errand;
use crate::guests::{Guest, container_by_id};
use crate::host::Host;
use crate::host::dhcp::now;

/// Why an attachment waits whose guest is no more.
pub(super) const DELETED: &str = "its guest was deleted";

/// Runtimes that are asked at once where guests are; attaches must not wait for those that do not answer.
pub(super) const AT_ONCE: usize = 8;

/// Where a guest is.
enum Whereabouts {
    /// It runs.
    Runs(Box<Guest>),
    /// Its runtime has it, and it does not run.
    Stopped,
    /// Its runtime has neither it nor one of its name.
    Gone,
    /// It runs where no link can be made.
    Unfit(Failure),
    /// Its runtime does not answer, which says nothing of the guest.
    Unknown(Failure),
}

impl<H: Host> Engine<H> {
    /// Has an attachment that follows its guest looked at.
    pub(super) fn look_soon(&self, record: &Record) {
        self.timetable.at((record.attachment.id, Errand::Follow), Some(now()));
    }

    /// Makes an attachment as its guest is now.
    pub(super) fn follow(self: &Arc<Self>, id: Uuid) {
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let _alone = engine.locks.look(id).await;
            engine.look_after(id).await;
        });
    }

    async fn look_after(&self, id: Uuid) {
        let Some(record) = self.shelf.get(id).filter(|record| record.follows) else { return };
        let turn = self.looking.acquire().await;
        let near = self.whereabouts(record.near()).await;
        let far = match record.far() {
            Some(far) => Some(self.whereabouts(far).await),
            None => None,
        };
        drop(turn);
        let (near, far) = match (near, far) {
            (Whereabouts::Runs(near), None) => (near, None),
            (Whereabouts::Runs(near), Some(Whereabouts::Runs(far))) => (near, Some(far)),
            (Whereabouts::Runs(_), Some(absent)) | (absent, _) => return self.miss(&record, absent).await,
        };
        if !self.goes_on(&record, &near.identity).await {
            return;
        }
        let is_there = self.is_there(&record, &near, far.as_deref()).await;
        // Nothing of them is held while the link is made; they are opened again for that.
        let identity = |guest: Box<Guest>| guest.identity;
        let (near, far) = (identity(near), far.map(identity));
        match record.attachment.state {
            State::Attached if is_there => return,
            State::Attached => {
                if let Err(failure) = self.leave(id).await {
                    return tracing::error!(attachment = %id, "it cannot be set aside: {failure}");
                }
            }
            State::Waiting => {}
            // Somebody is at work on it, or meant to remove it.
            State::Attaching | State::Detaching | State::Detached | State::Incomplete => return,
        }
        self.attach_again(&record, &near, far.as_ref()).await;
    }

    /// Whether an attachment is in the namespaces that its guests have now.
    async fn is_there(&self, record: &Record, near: &Guest, far: Option<&Guest>) -> bool {
        let expected = std::iter::once(&record.attachment.guest).chain(&record.attachment.peer);
        for (guest, was) in std::iter::once(near).chain(far).zip(expected) {
            // One that cannot be asked is stopping; its end is told.
            if self.kernel.cookie(&guest.netns).await.is_ok_and(|cookie| cookie != was.netns_cookie) {
                return false;
            }
        }
        true
    }

    async fn attach_again(&self, record: &Record, near: &GuestIdentity, far: Option<&GuestIdentity>) {
        let id = record.attachment.id;
        let _turn = self.turns.acquire().await;
        if *self.stopping.borrow() {
            return;
        }
        let mut spec = AttachmentSpec { guest: container_by_id(near), ..(*record.asked).clone() };
        if let Some(far) = far {
            spec.uplink = Uplink::Guest(container_by_id(far));
        }
        let fleet = record.attachment.fleet.clone();
        let origin = record.attachment.origin.as_deref().cloned();
        let wish = Wish { request: record.request, spec, fleet, again: Some(id), origin };
        match self.make(&wish, None).await {
            Ok((_, true)) => self.meters.followed("attached"),
            // A caller was faster.
            Ok((_, false)) => {}
            Err(failure) => {
                self.meters.followed("refused");
                self.explain(id, failure.message()).await;
                self.timetable.later((id, Errand::Follow), now(), true);
            }
        }
    }

    /// An attachment has a guest that does not run.
    async fn miss(&self, record: &Record, absent: Whereabouts) {
        let id = record.attachment.id;
        match absent {
            Whereabouts::Runs(_) => {}
            Whereabouts::Stopped => self.remember(id).await,
            Whereabouts::Gone => self.outwait(id).await,
            Whereabouts::Unfit(failure) => self.explain(id, failure.message()).await,
            // When it is back, everything is looked at again.
            Whereabouts::Unknown(failure) => tracing::debug!(attachment = %id, "{failure}"),
        }
    }

    /// Its guest does not run, or runs again.
    async fn remember(&self, id: Uuid) {
        let Some((_lock, record)) = self.hold(id).await else { return };
        let is_known = record.attachment.waiting == STOPPED && record.missed_since.is_none();
        if record.attachment.state != State::Waiting || is_known {
            return;
        }
        let mut record = (*record).clone();
        record.missed_since = None;
        STOPPED.clone_into(&mut record.attachment.waiting);
        self.write_down(record, STOPPED).await;
    }

    /// Its guest was deleted: another of its name may come for some time.
    async fn outwait(&self, id: Uuid) {
        let Some((_lock, record)) = self.hold(id).await else { return };
        if record.attachment.state != State::Waiting {
            return;
        }
        let since = record.missed_since.unwrap_or_else(now);
        let waited = now().saturating_sub(since);
        let Some(rest) = self.recreate_within.checked_sub(waited).filter(|rest| !rest.is_zero()) else {
            tracing::info!(attachment = %id, guest = %record.asked.guest, "{DELETED}");
            self.meters.followed("removed");
            // A failure is in the log, and the attachment says what is left.
            let _told = self.remove(&record, record.request, Some(DELETED)).await;
            return;
        };
        if record.missed_since.is_none() {
            let mut record = (*record).clone();
            record.missed_since = Some(since);
            DELETED.clone_into(&mut record.attachment.waiting);
            self.write_down(record, DELETED).await;
        }
        self.timetable.at((id, Errand::Follow), Some(now() + rest));
    }

    /// The container itself, or one that runs in its place under its name.
    async fn whereabouts(&self, guest: Followed<'_>) -> Whereabouts {
        let Some(teller) = self.guests.teller(guest.was.runtime) else { return Whereabouts::Stopped };
        let mut seen = Whereabouts::Gone;
        for word in std::iter::once(guest.was.id.as_str()).chain(guest.name) {
            seen = match teller.find(word).await {
                Ok(Some(guest)) => return Whereabouts::Runs(Box::new(guest)),
                Ok(None) => seen,
                Err(failure) => match failure.reason() {
                    Reason::GuestNotRunning | Reason::GuestChanged => Whereabouts::Stopped,
                    Reason::DockerDown | Reason::PodmanDown => return Whereabouts::Unknown(failure),
                    _ => Whereabouts::Unfit(failure),
                },
            }
        }
        seen
    }
}
