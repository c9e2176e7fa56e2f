//! Attachments that containers ask for themselves. Level-triggered, as following is: whatever was told of a container, what it says
//! is read anew and compared with the records.
//!
//! One attachment is made for each label of each start of a container: its request id comes from these, so neither an agent that is
//! started anew nor an event that is told twice makes another, and one that somebody detached stays away until the next start. Over
//! restarts the record follows as every other does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pipewright_api::attachment::{GuestIdentity, Origin, Runtime, State};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::AttachmentSpec;
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use super::Engine;
use crate::declared::{Container, is_label, is_ours};
use crate::engine::attach::{Wish, open_operation};
use crate::engine::board::{Refused, Subject};
use crate::engine::operations::{Answer, Operation, fingerprint};
use crate::engine::records::{Record, Write};
use crate::engine::timetable::Errand;
use crate::guests::life::Life;
use crate::host::Host;
use crate::host::dhcp::now;

/// Why an attachment is removed whose container was made anew.
const NOT_SAID: &str = "the container that came in its guest's place does not ask for it";

impl<H: Host> Engine<H> {
    /// A runtime told something of its containers.
    pub(super) fn hear_of_labels(&self, runtime: Runtime, life: &Life) {
        if !self.labels.is_on() {
            return;
        }
        self.read_soon(match life {
            Life::Unknown => Subject::All(runtime),
            Life::Changed { id, .. } => Subject::Container(runtime, id.clone()),
        });
    }

    fn read_soon(&self, subject: Subject) {
        let key = subject.key();
        self.board.put(subject);
        self.timetable.at((key, Errand::Declared), Some(now()));
    }

    /// Makes what a container asks for, or looks which containers ask.
    pub(super) fn declare(self: &Arc<Self>, key: Uuid) {
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let _alone = engine.locks.look(key).await;
            match engine.board.take(key) {
                Some(Subject::All(runtime)) => engine.read_all(runtime).await,
                Some(Subject::Container(runtime, id)) => engine.read_one(runtime, id).await,
                // Who had the lock before has read it.
                None => {}
            }
        });
    }

    async fn read_all(&self, runtime: Runtime) {
        let Some(teller) = self.guests.teller(runtime) else { return };
        let running = match teller.running().await {
            Ok(running) => running,
            // When it is back, all are looked at again.
            Err(failure) => return tracing::debug!(%runtime, "containers cannot be listed: {failure}"),
        };
        let asks = |names: &[String]| names.iter().any(|name| is_ours(name)) || self.labels.has_variables();
        let mut ids: BTreeSet<String> =
            running.into_iter().filter(|one| asks(&one.labels)).map(|one| one.id).collect();
        let told = self.board.refused().into_iter().filter(|refused| refused.runtime == runtime);
        ids.extend(told.map(|refused| refused.id));
        for id in ids {
            self.read_soon(Subject::Container(runtime, id));
        }
    }

    async fn read_one(&self, runtime: Runtime, id: String) {
        let Some(teller) = self.guests.teller(runtime) else { return };
        let turn = self.looking.acquire().await;
        let found = teller.container(&id).await;
        drop(turn);
        let subject = Subject::Container(runtime, id.clone());
        let container = match found {
            Ok(Some(container)) if container.is_running => container,
            Ok(Some(_) | None) => return self.board.forget(subject.key()),
            Err(failure) => {
                return tracing::debug!(container = id.as_str(), "what it asks for is not known: {failure}");
            }
        };
        let said = container.said(self.labels.has_variables());
        self.remove_unsaid(&container).await;
        let mut refused: BTreeMap<String, Failure> = said.wrong.into_iter().collect();
        let mut is_open = false;
        for origin in said.asked {
            match self.attach_said(&container, &origin).await {
                Ok(()) => {}
                Err(failure) => {
                    is_open |= !is_final(&failure);
                    if !is_passing(&failure) {
                        refused.insert(origin.key, failure);
                    }
                }
            }
        }
        let key = subject.key();
        self.tell_refused(key, &container.identity, refused);
        if is_open {
            self.board.put(subject);
            self.timetable.later((key, Errand::Declared), now(), true);
        }
    }

    /// Makes what a label asks for, unless it was made, or somebody detached it, since the container was started.
    async fn attach_said(&self, container: &Container, origin: &Origin) -> Result<(), Failure> {
        let guest = &container.identity;
        if self.shelf.attachments().0.iter().any(|record| record.is_said_by(guest, origin)) {
            return Ok(());
        }
        let request = request_id(guest, origin);
        if let Ok(Operation { answer: Some(Answer::Attached { .. } | Answer::Detached(_)), .. }) =
            self.operations.find(request)
        {
            return Ok(());
        }
        let spec = self.spec_of(container, origin).await?;
        self.labels.permit(origin, &spec, None)?;
        let _turn = self.turns.acquire().await;
        if *self.stopping.borrow() {
            return Ok(());
        }
        let open = open_operation(request, fingerprint(&("declared", &spec))?);
        let wish = Wish { request, spec, fleet: None, again: None, origin: Some(origin.clone()) };
        let (record, is_new) = self.make(&wish, Some(&open)).await?;
        if is_new {
            self.meters.labelled("attached");
            let id = record.attachment.id;
            tracing::info!(attachment = %id, guest = %record.asked.guest, label = origin.key, "its container asked for it");
        }
        Ok(())
    }

    async fn spec_of(&self, container: &Container, origin: &Origin) -> Result<AttachmentSpec, Failure> {
        match is_label(&origin.key) {
            true => container.by_label(&origin.line),
            false => container.by_pipework(&origin.line, &self.show().await?),
        }
    }

    /// Another container of that name asked for links, and this one in its place does not.
    async fn remove_unsaid(&self, container: &Container) {
        let guest = &container.identity;
        let said = container.said(true).asked;
        for record in self.shelf.followed(guest.runtime) {
            let is_unsaid = record.attachment.origin.as_ref().is_some_and(|origin| !said.contains(origin));
            let is_former = record.attachment.state == State::Waiting && record.near().was.id != guest.id;
            if is_unsaid && is_former && record.near().is(guest.runtime, &guest.id, &guest.name) {
                self.remove_label(&record).await;
            }
        }
    }

    async fn remove_label(&self, record: &Record) {
        let Some((_lock, record)) = self.hold(record.attachment.id).await else { return };
        self.meters.labelled("removed");
        // A failure is in the log, and the attachment says what is left.
        let _told = self.remove(&record, record.request, Some(NOT_SAID)).await;
    }

    /// Whether an attachment that a container asked for may go on with the container that is there now; removes it if not.
    pub(super) async fn goes_on(&self, record: &Record, near: &GuestIdentity) -> bool {
        let Some(origin) = record.attachment.origin.as_ref().filter(|_| record.near().was.id != near.id)
        else {
            return true;
        };
        let Some(teller) = self.guests.teller(near.runtime) else { return true };
        let Ok(Some(container)) = teller.container(&near.id).await else { return false };
        let others = self.shelf.attachments().0;
        let has_its_own = others.iter().any(|other| {
            other.attachment.id != record.attachment.id
                && other.attachment.guest.id == near.id
                && other.attachment.origin.as_ref() == Some(origin)
        });
        // Whatever the configuration says of variables now: who may not have it any more waits, and says why.
        if container.said(true).asked.contains(origin) && !has_its_own {
            return true;
        }
        self.remove_label(record).await;
        false
    }

    fn tell_refused(&self, key: Uuid, guest: &GuestIdentity, refused: BTreeMap<String, Failure>) {
        let GuestIdentity { runtime, id, name, .. } = guest;
        let refused = Refused { runtime: *runtime, id: id.clone(), name: name.clone(), whys: refused };
        for (label, failure) in self.board.tell(key, refused) {
            self.meters.labelled("refused");
            let reason = failure.reason().name();
            tracing::warn!(guest = %format_args!("{runtime}:{name}"), label, reason, "no link: {failure}");
        }
    }
}

impl Record {
    /// Whether it is what a label of a container asks for: made for that container, or waiting for one of its name.
    fn is_said_by(&self, guest: &GuestIdentity, origin: &Origin) -> bool {
        let near = self.near();
        let is_its_own = near.was.id == guest.id || self.attachment.state == State::Waiting;
        self.attachment.origin.as_deref() == Some(origin)
            && is_its_own
            && near.is(guest.runtime, &guest.id, &guest.name)
    }
}

/// What is written when somebody detaches an attachment that its container asked for: it is not made again before the next start.
pub(super) fn declined(record: &Record) -> Option<Write> {
    let origin = record.attachment.origin.as_ref()?;
    let id = request_id(&record.attachment.guest, origin);
    let open = open_operation(id, String::new());
    Some(Write::Operation(Box::new(Operation { answer: Some(Answer::Detached(Vec::new())), ..open })))
}

/// One for each label of each start of a container.
fn request_id(guest: &GuestIdentity, origin: &Origin) -> Uuid {
    let GuestIdentity { runtime, id, started_at, .. } = guest;
    derived(&[&runtime.to_string(), id, started_at, &origin.key])
}

/// The first bytes of a hash of texts, as a UUID of one's own making (RFC 9562 §5.8).
pub(super) fn derived(texts: &[&str]) -> Uuid {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    let hash = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// Whether the container stopped or was started anew meanwhile, which is told.
fn is_passing(failure: &Failure) -> bool {
    matches!(failure.reason(), Reason::GuestChanged | Reason::GuestNotRunning | Reason::GuestNotFound)
}

/// Whether asking again is of no use until the container is started anew.
fn is_final(failure: &Failure) -> bool {
    matches!(
        failure.reason(),
        Reason::InvalidField | Reason::NotGranted | Reason::NotSupportedHere | Reason::GuestIsHost
    )
}
