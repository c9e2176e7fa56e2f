//! Whose guests an attachment follows: the same container, or another one under the name that was asked for.

use std::sync::Arc;
use std::time::SystemTime;

use pipewright_api::attachment::{GuestIdentity, Runtime, State};
use pipewright_api::spec::{Follow, GuestRef, Uplink};

use crate::engine::records::Record;

/// A guest at one end of an attachment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Followed<'a> {
    /// As it was found the last time.
    pub(super) was: &'a GuestIdentity,
    /// Its name, if that was asked for rather than its id.
    pub(super) name: Option<&'a str>,
}

impl<'a> Followed<'a> {
    fn new(was: &'a GuestIdentity, asked: &GuestRef) -> Self {
        let is_name = asked.container_word() == Some(was.name.as_str());
        Self { was, name: is_name.then_some(was.name.as_str()) }
    }

    /// Whether a container is this guest, or has come in its place.
    pub(super) fn is(&self, runtime: Runtime, id: &str, name: &str) -> bool {
        self.was.runtime == runtime && (self.was.id == id || self.name == Some(name))
    }
}

impl Record {
    /// The guest whose link it is.
    pub(super) fn near(&self) -> Followed<'_> {
        Followed::new(&self.attachment.guest, &self.asked.guest)
    }

    /// The guest at the other end.
    pub(super) fn far(&self) -> Option<Followed<'_>> {
        match (&self.attachment.peer, &self.asked.uplink) {
            (Some(peer), Uplink::Guest(asked)) => Some(Followed::new(peer, asked)),
            (_, Uplink::Link(_) | Uplink::Mac(_) | Uplink::Dummy | Uplink::Host | Uplink::Guest(_)) => None,
        }
    }

    /// The guests at its ends.
    pub(super) fn ends(&self) -> impl Iterator<Item = Followed<'_>> {
        std::iter::once(self.near()).chain(self.far())
    }

    /// Makes it what waits for its guests. What is left of it can still be taken back.
    pub(super) fn wait(&mut self, why: &str, leftovers: Vec<String>) {
        // Of one that waited before this was recorded, nobody knows.
        if self.attachment.state != State::Waiting {
            self.waits_since.get_or_insert_with(SystemTime::now);
        }
        self.attachment.state = State::Waiting;
        why.clone_into(&mut self.attachment.waiting);
        self.forget_guests();
        if let Some(unfinished) = self.changing.take() {
            self.attachment.traffic.retain(|traffic| *traffic != unfinished);
        }
        self.leases.clear();
        (self.attachment.lease, self.attachment.lease6) = (None, None);
        if leftovers.is_empty() {
            self.plan = Arc::default();
            self.netns_id = None;
        }
        self.attachment.leftovers = leftovers;
    }

    /// The host was started anew: no guest of before runs, and their numbers are others' now.
    pub(super) fn outlive_host(&mut self) {
        let is_attached = self.attachment.state == State::Attached;
        self.follows |= is_attached && self.attachment.spec.follow == Some(Follow::Restarts);
        if self.follows && (is_attached || self.attachment.state == State::Waiting) {
            self.netns_id = None;
            self.forget_guests();
        }
    }

    fn forget_guests(&mut self) {
        for guest in std::iter::once(&mut self.attachment.guest).chain(&mut self.attachment.peer) {
            guest.pid = None;
            guest.netns_cookie = 0;
        }
    }
}
