//! Attachments whose guest died: the kernel removes their links by itself, and what it cannot know of (ports in Open
//! vSwitch, bridges, records) is removed here.

use std::sync::Arc;
use std::time::Duration;

use pipewright_api::attachment::{Attachment, State};
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use super::Engine;
use crate::engine::aside::STOPPED;
use crate::engine::list::place;
use crate::engine::records::Record;
use crate::host::link::LinkFacts;
use crate::host::{Host, mark};

/// What watchers are told.
const GONE: &str = "its guest is gone";
/// What passes at least between two looks into guests.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

impl<H: Host> Engine<H> {
    /// Follows the host's links for as long as the agent runs.
    pub(super) fn follow_losses(self: &Arc<Self>) {
        let mut links = self.kernel.host_losses();
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                match links.recv().await {
                    Ok(event) => engine.link_is_gone(&event.name),
                    Err(RecvError::Lagged(_)) => engine.sweep().await,
                    Err(RecvError::Closed) => return,
                }
            }
        });
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                engine.follow_guests().await;
                engine.without_host_end.notified().await;
            }
        });
        let engine = Arc::clone(self);
        let mut switch = self.ovs.changes();
        tokio::spawn(async move {
            // What could not be undone while Open vSwitch was away is tried again when it is back.
            let mut was_there = false;
            loop {
                let is_there = engine.ovs.facts().is_connected;
                if is_there && !was_there {
                    engine.retry_incomplete().await;
                    if let Err(failure) = engine.adopt().await {
                        tracing::error!("links without records were not looked for: {failure}");
                    }
                    tracing::info!("Open vSwitch is connected");
                }
                was_there = is_there;
                if switch.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Follows guests for as long as there are attachments without a host's end.
    async fn follow_guests(self: &Arc<Self>) {
        let mut guests = match self.kernel.guest_changes() {
            Ok(guests) => guests,
            Err(error) => {
                tracing::error!(%error, "the death of guests with links of NICs is not noticed");
                return;
            }
        };
        // A guest can cause changes at will: many of them cost one look.
        while self.shelf.has_any_without_host_end() {
            self.look_into_guests().await;
            tokio::time::sleep(BETWEEN_LOOKS).await;
            if guests.changed().await.is_err() {
                return;
            }
        }
    }

    fn link_is_gone(self: &Arc<Self>, name: &str) {
        let Some(record) = self.shelf.by_host_end(name) else { return };
        // One that is still being made is looked at when it is: the lock is held until then.
        match record.attachment.state {
            State::Attaching | State::Attached => {}
            State::Detaching | State::Detached | State::Incomplete | State::Waiting => return,
        }
        let engine = Arc::clone(self);
        tokio::spawn(async move { engine.lose(record.attachment.id).await });
    }

    /// Looks for links without a host's end, whose going is an event of their guest.
    async fn look_into_guests(self: &Arc<Self>) {
        let (records, _) = self.shelf.attachments();
        let is_meant = |record: &&Arc<Record>| match record.attachment.state {
            State::Attaching | State::Attached => record.attachment.host_ifname.is_none(),
            State::Detaching | State::Detached | State::Incomplete | State::Waiting => false,
        };
        let (ids, places): (Vec<Uuid>, Vec<_>) = records
            .iter()
            .filter(is_meant)
            .filter_map(|record| Some((record.attachment.id, place(record)?)))
            .unzip();
        if ids.is_empty() {
            return;
        }
        match self.kernel.guest_links(places).await {
            Ok(links) => {
                let is_gone = |(id, link): &(Uuid, Option<LinkFacts>)| !is_own(*id, link.as_ref());
                for (id, _) in ids.into_iter().zip(links).filter(is_gone) {
                    let engine = Arc::clone(self);
                    tokio::spawn(async move { engine.lose(id).await });
                }
            }
            Err(error) => tracing::error!(%error, "the kernel does not show the links of guests"),
        }
    }

    /// Looks at every attachment, after events were missed.
    pub(super) async fn sweep(&self) {
        for record in self.shelf.attachments().0 {
            if record.attachment.state == State::Attached {
                self.lose(record.attachment.id).await;
            }
        }
    }

    /// Removes what is left of an attachment if its link is gone.
    async fn lose(&self, id: Uuid) {
        let Some((_lock, record)) = self.hold(id).await else { return };
        if record.attachment.state != State::Attached || self.is_present(&record).await {
            return;
        }
        let attachment = &record.attachment;
        tracing::info!(attachment = %id, guest = %attachment.spec.guest, "{} is gone with its guest", attachment.spec.ifname);
        self.meters.lost();
        if record.follows {
            return self.abandon(&record, STOPPED).await;
        }
        // A failure is in the log, and the attachment says what is left.
        let _told = self.remove(&record, record.request, Some(GONE)).await;
    }

    /// Whether an attachment's link exists: its host end, or the guest's link when that is all. When the kernel does not
    /// say, it does: unsure means leave it.
    async fn is_present(&self, record: &Record) -> bool {
        let Attachment { id, host_ifname, spec, .. } = &record.attachment;
        let (name, link) = match (host_ifname, place(record)) {
            (Some(name), _) => (name, self.kernel.link(name).await),
            (None, Some(place)) => (
                &spec.ifname,
                self.kernel.guest_links(vec![place]).await.map(|mut links| links.pop().flatten()),
            ),
            (None, None) => return true,
        };
        match link {
            Ok(link) => is_own(*id, link.as_ref()),
            Err(error) => {
                tracing::error!(attachment = %id, "the kernel does not show link {name}: {error}");
                true
            }
        }
    }
}

fn is_own(id: Uuid, link: Option<&LinkFacts>) -> bool {
    link.is_some_and(|link| link.group == mark::group(id))
}
