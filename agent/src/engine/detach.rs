//! Detach: nothing of ours remains, and what ours replaced is back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use pipewright_api::attachment::{Attachment, GuestIdentity, State};
use pipewright_api::net::LinkName;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::{Detach, DetachTarget};
use pipewright_api::spec::{GuestRef, Kind};
use tracing::Instrument;
use uuid::Uuid;

use super::Engine;
use crate::engine::attach::{answered, expecting, open_operation, tell};
use crate::engine::declared::declined;
use crate::engine::locks::{GuestLock, cookies};
use crate::engine::operations::{Answer, Done, Operation, fingerprint};
use crate::engine::outcome::Removed;
use crate::engine::records::{Record, Write};
use crate::engine::shelf::{keys, meant};
use crate::host::Host;
use crate::host::netns::Netns;
use crate::step::{self, Step};

impl<H: Host> Engine<H> {
    /// Takes links out of a guest; what is not there is done already.
    ///
    /// # Errors
    /// ROLLBACK_INCOMPLETE with each object that remains; asking again tries again.
    pub async fn detach(self: &Arc<Self>, asked: Detach) -> Result<Vec<Attachment>, Failure> {
        let Detach { request_id, target, dry_run } = asked;
        if dry_run {
            return Ok(self.meant(&target).await?.iter().map(|record| would_undo(record)).collect());
        }
        let fingerprint = fingerprint(&("detach", format!("{target:?}")))?;
        let engine = Arc::clone(self);
        let print = fingerprint.clone();
        let work = async move {
            let open = open_operation(request_id, print);
            let mut removed = Vec::new();
            let answer = engine.detach_all(&target, &open, &mut removed).await.map(Answer::Detached);
            Done { answer, then: Some(Box::new(move || removed.into_iter().for_each(Removed::tell))) }
        };
        match self.operations.answer(request_id, fingerprint, work, self.carry(&self.exits)).await? {
            Answer::Detached(attachments) => Ok(attachments),
            other => Err(super::list::strange_answer(&other)),
        }
    }

    async fn detach_all(
        &self,
        target: &DetachTarget,
        open: &Operation,
        removed: &mut Vec<Removed>,
    ) -> Result<Vec<Attachment>, Failure> {
        let meant = self.meant(target).await?;
        let Some((last, others)) = meant.split_last() else {
            self.settle_answer(Some(open), Answer::Detached(Vec::new())).await?;
            return Ok(Vec::new());
        };
        let mut gone = Vec::new();
        let mut failed = None;
        for record in others {
            let attachment = detached(record);
            match self.take_out_untold(record.attachment.id, open.id, None).await {
                Ok(None) => {}
                Ok(Some(one)) => {
                    gone.push(attachment);
                    removed.push(one);
                }
                Err(failure) => failed = Some(failure),
            }
        }
        // The answer is written together with the last outcome, unless it is a failure, which may be asked again.
        gone.push(detached(last));
        let answer = failed.is_none().then(|| (open, Answer::Detached(gone.clone())));
        match self.take_out_untold(last.attachment.id, open.id, answer).await? {
            Some(one) => removed.push(one),
            None => {
                gone.pop();
                if failed.is_none() {
                    self.settle_answer(Some(open), Answer::Detached(gone.clone())).await?;
                }
            }
        }
        failed.map_or(Ok(gone), Err)
    }

    /// Takes one attachment out under its guest's lock, unless it is gone by then.
    pub(super) async fn take_out(&self, id: Uuid, request: Uuid) -> Result<(), Failure> {
        let removed = self.take_out_untold(id, request, None).await?;
        removed.into_iter().for_each(Removed::tell);
        Ok(())
    }

    /// The same, for a caller who is answered before it is told in the log; `None` when it was gone by then.
    async fn take_out_untold(
        &self,
        id: Uuid,
        request: Uuid,
        answer: Option<(&Operation, Answer)>,
    ) -> Result<Option<Removed>, Failure> {
        let Some((_lock, record)) = self.hold(id).await else { return Ok(None) };
        if let Some(declined) = declined(&record) {
            self.records.settle(vec![declined]).await?;
        }
        self.remove_untold(&record, request, None, answer).await.map(Some)
    }

    /// The attachment with the locks of its guests, of those that it has then; `None` when it was gone by then.
    pub(super) async fn hold(&self, id: Uuid) -> Option<(Vec<GuestLock>, Arc<Record>)> {
        loop {
            let before = self.shelf.get(id)?;
            let locks = self.locks.ends(&before.attachment).await;
            let record = self.shelf.get(id)?;
            if cookies(&record.attachment) == cookies(&before.attachment) {
                return Some((locks, record));
            }
        }
    }

    /// Undoes an attachment, whatever state it is in. The caller holds the guest's lock.
    pub(super) async fn remove(
        &self,
        record: &Record,
        request: Uuid,
        cause: Option<&'static str>,
    ) -> Result<(), Failure> {
        self.remove_untold(record, request, cause, None).await.map(Removed::tell)
    }

    /// The same, and with it answers a request. Whatever is logged meanwhile says for whom.
    async fn remove_untold(
        &self,
        record: &Record,
        request: Uuid,
        cause: Option<&'static str>,
        answer: Option<(&Operation, Answer)>,
    ) -> Result<Removed, Failure> {
        let Attachment { id, spec, .. } = &record.attachment;
        let span = tracing::info_span!("detach", %request, guest = %spec.guest, ifname = %spec.ifname, attachment = %id);
        let begun = Instant::now();
        let removed =
            Box::pin(self.undo_wholly(record, request, cause, answer)).instrument(span.clone()).await;
        let took = begun.elapsed();
        self.meters.detached(removed.as_ref().map(|&()| ()), took);
        match removed {
            Ok(()) => Ok(Removed { span, took, cause }),
            Err(failure) => {
                span.in_scope(|| tell("detach", &failure));
                Err(failure)
            }
        }
    }

    async fn undo_wholly(
        &self,
        record: &Record,
        request: Uuid,
        cause: Option<&str>,
        answer: Option<(&Operation, Answer)>,
    ) -> Result<(), Failure> {
        let mut record = record.clone();
        record.attachment.state = State::Detaching;
        record.request = request;
        let (open, answer) = answer.unzip();
        let record = Arc::new(record);
        let mut writes = vec![Write::Attachment(Arc::clone(&record))];
        writes.extend(answer.clone().and_then(|answer| expecting(open, answer)));
        let intent = self.records.begin(&writes).await?;
        drop(writes);
        let record = self.shelf.put(Arc::unwrap_or_clone(record), cause);
        let id = record.attachment.id;
        let guest = self.reopen(&record).await;
        let is_plugged = record.attachment.spec.kind == Some(Kind::LinuxBridge);
        let turn = if is_plugged { self.unplugging.acquire().await.ok() } else { None };
        let leftovers = self.undo(id, guest.as_ref(), &record.plan).await;
        drop(turn);
        if leftovers.is_empty() {
            let mut writes = vec![Write::NoAttachment(id)];
            writes.extend(answer.and_then(|answer| answered(open, answer)));
            self.records.finish(&writes, intent).await?;
            self.shelf.remove(id, cause);
            self.timetable.forget(id);
            self.drift.forget(id);
            return Ok(());
        }
        let mut record = (*record).clone();
        record.attachment.state = State::Incomplete;
        record.attachment.leftovers.clone_from(&leftovers);
        let record = self.shelf.put(record, cause);
        let mut writes = vec![Write::Attachment(Arc::clone(&record))];
        writes.extend(open.map(|operation| Write::NoOperation(operation.id)));
        self.records.settle(writes).await?;
        let Attachment { spec, .. } = &record.attachment;
        let text = format!(
            "cannot detach {} from {}: {} left undone: {}; ask again when the cause is gone",
            spec.ifname,
            spec.guest,
            if leftovers.len() == 1 { "1 step".to_owned() } else { format!("{} steps", leftovers.len()) },
            leftovers.join("; ")
        );
        Err(Failure::new(Reason::RollbackIncomplete, text).with("leftovers", leftovers.join("\n")))
    }

    /// The guest's namespace, if something has to be undone in it and it is still the one that was attached to.
    pub(super) async fn reopen(&self, record: &Record) -> Option<Netns> {
        match step::undo(&record.plan).iter().any(Step::looks_into_guest) {
            true => self.reopen_guest(record).await,
            false => None,
        }
    }

    /// The guest's namespace, if it is still the one that was attached to.
    pub(super) async fn reopen_guest(&self, record: &Record) -> Option<Netns> {
        let identity = &record.attachment.guest;
        let netns = self.guests.reopen(identity).await?;
        match self.kernel.cookie(&netns).await {
            Ok(cookie) if cookie == identity.netns_cookie => Some(netns),
            Ok(_) | Err(_) => None,
        }
    }

    /// The attachments that a target means, in order of ids.
    ///
    /// # Errors
    /// GUEST_AMBIGUOUS when a bare word means guests of more than one runtime.
    async fn meant(&self, target: &DetachTarget) -> Result<Vec<Arc<Record>>, Failure> {
        match target {
            DetachTarget::Id(id) => Ok(self.shelf.get(*id).into_iter().collect()),
            DetachTarget::Guest { guest, ifname } => {
                let (all, _) = self.shelf.attachments();
                one_guest(guest, &all)?;
                let is_it = |end: Option<&LinkName>| ifname.is_none() || end == ifname.as_ref();
                let ends = |record: &Arc<Record>| meant(guest, record).map(|(_, name)| name.clone());
                let mut found: Vec<(LinkName, Arc<Record>)> =
                    all.iter().filter_map(|record| Some((ends(record)?, Arc::clone(record)))).collect();
                if found.is_empty() && !all.is_empty() {
                    found = self.under_another_name(guest, all).await;
                }
                found.retain(|(end, _)| is_it(Some(end)));
                Ok(found.into_iter().map(|(_, record)| record).collect())
            }
        }
    }

    /// Containers that share a namespace (`--net=container:`) go by many names, of which only one was recorded. A name
    /// that cannot be looked up stands for none: what is not there is detached.
    async fn under_another_name(
        &self,
        guest: &GuestRef,
        all: Vec<Arc<Record>>,
    ) -> Vec<(LinkName, Arc<Record>)> {
        let Ok(found) = self.guests.find(guest).await else { return Vec::new() };
        let Ok(cookie) = self.kernel.cookie(&found.netns).await else { return Vec::new() };
        let end = |record: &Arc<Record>| keys(record).find(|(of, _)| *of == cookie).map(|(_, name)| name);
        all.into_iter().filter_map(|record| Some((end(&record)?, record))).collect()
    }
}

/// Refuses a bare word that means guests of more than one runtime; a name within one means one guest at a time.
fn one_guest(word: &GuestRef, records: &[Arc<Record>]) -> Result<(), Failure> {
    let name = |record: &Arc<Record>| {
        let (GuestIdentity { runtime, name, .. }, _) = meant(word, record)?;
        Some(format!("{runtime}:{name}"))
    };
    let candidates: BTreeSet<String> = records.iter().filter_map(name).collect();
    if !matches!(word, GuestRef::Bare(_)) || candidates.len() < 2 {
        return Ok(());
    }
    let list: Vec<String> = candidates.into_iter().collect();
    let text = format!("guest \"{word}\" is ambiguous; write one of: {}", list.join(", "));
    Err(Failure::new(Reason::GuestAmbiguous, text).with("candidates", list.join(",")))
}

fn detached(record: &Record) -> Attachment {
    Attachment { state: State::Detached, ..record.shown() }
}

fn would_undo(record: &Record) -> Attachment {
    let plan = step::undo(&record.plan).iter().map(ToString::to_string).collect();
    Attachment { plan, ..record.attachment.clone() }
}
