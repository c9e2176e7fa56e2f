//! Attachments whose guest died: the kernel removes their links by itself, and what it cannot know of (ports in Open
//! vSwitch, bridges, records) is removed here.

use std::sync::Arc;

use pipewright_api::attachment::State;
use pipewright_api::net::LinkName;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use super::Engine;
use crate::host::{Host, mark};

/// What watchers are told.
const GONE: &str = "its guest is gone";

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
        let mut switch = self.ovs.changes();
        tokio::spawn(async move {
            // What could not be undone while Open vSwitch was away is tried again when it is back.
            let mut was_there = engine.ovs.facts().is_connected;
            while switch.changed().await.is_ok() {
                let is_there = engine.ovs.facts().is_connected;
                if is_there && !was_there {
                    engine.retry_incomplete().await;
                }
                was_there = is_there;
            }
        });
    }

    fn link_is_gone(self: &Arc<Self>, name: &str) {
        let Some(record) = self.shelf.by_host_end(name) else { return };
        // One that is still being made is looked at when it is: the lock is held until then.
        match record.attachment.state {
            State::Attaching | State::Attached => {}
            State::Detaching | State::Detached | State::Incomplete => return,
        }
        let engine = Arc::clone(self);
        tokio::spawn(async move { engine.lose(record.attachment.id).await });
    }

    /// Looks at every attachment, after events were missed.
    pub(super) async fn sweep(&self) {
        for record in self.shelf.attachments().0 {
            if record.attachment.state == State::Attached {
                self.lose(record.attachment.id).await;
            }
        }
    }

    /// Removes what is left of an attachment if its host end is gone.
    async fn lose(&self, id: Uuid) {
        let Some(record) = self.shelf.get(id) else { return };
        let _lock = self.locks.guest(record.attachment.guest.netns_cookie).await;
        let Some(record) = self.shelf.get(id) else { return };
        if record.attachment.state != State::Attached
            || self.is_present(id, &record.attachment.host_ifname).await
        {
            return;
        }
        let attachment = &record.attachment;
        tracing::info!(attachment = %id, guest = %attachment.spec.guest, "{} is gone with its guest", attachment.spec.ifname);
        if let Err(failure) = self.remove(&record, record.request, Some(GONE), Vec::new).await {
            tracing::error!(attachment = %id, guest = %attachment.spec.guest, "{failure}");
        }
    }

    /// Whether an attachment's host end exists. When the kernel does not say, it does: unsure means leave it.
    async fn is_present(&self, id: Uuid, host_end: &LinkName) -> bool {
        match self.kernel.link(host_end).await {
            Ok(link) => link.is_some_and(|link| link.group == mark::group(id)),
            Err(error) => {
                tracing::error!(attachment = %id, "the kernel does not show link {host_end}: {error}");
                true
            }
        }
    }
}
