//! Taking back: rollback, detach and recovery are this one path. It goes on past errors and says what is left.

use uuid::Uuid;

use super::Engine;
use crate::host::netns::Netns;
use crate::host::{Host, Refused};
use crate::step::{self, Shared, Step, StepError};

impl<H: Host> Engine<H> {
    /// Takes a plan back, whatever part of it was done. Returns a line for each object that remains.
    pub(super) async fn undo(&self, id: Uuid, guest: Option<&Netns>, plan: &[Step]) -> Vec<String> {
        let mut steps = step::undo(plan);
        if guest.is_none() {
            self.reach_without_opening(id, &mut steps);
        }
        let (release, own): (Vec<Step>, Vec<Step>) =
            steps.into_iter().partition(|step| step.releases().is_some());
        let mut leftovers = self.take_all(guest, &own).await;
        for step in release {
            let Some(shared) = step.releases() else { continue };
            leftovers.extend(self.release(id, shared, &step).await);
        }
        leftovers
    }

    /// A guest that cannot be opened may live all the same; its link is then deleted, or looked for, by the number
    /// of its namespace.
    fn reach_without_opening(&self, id: Uuid, steps: &mut [Step]) {
        let known = self.shelf.get(id).and_then(|record| record.netns_id);
        for step in steps {
            if let Step::DeleteGuestLink { netns_id, .. } | Step::ReturnNic { netns_id, .. } = step {
                *netns_id = known;
            }
        }
    }

    /// Lets go of something of the host when nothing needs it any more.
    async fn release(&self, id: Uuid, shared: Shared<'_>, step: &Step) -> Vec<String> {
        if self.shelf.is_used_by_others(shared, id) {
            return Vec::new();
        }
        let _alone = self.locks.release_bridge(shared.link()).await;
        // Somebody may have come while we waited.
        if self.shelf.is_used_by_others(shared, id) {
            return Vec::new();
        }
        self.take_all(None, std::slice::from_ref(step)).await
    }

    /// Takes steps and goes on past those that are refused.
    async fn take_all(&self, guest: Option<&Netns>, steps: &[Step]) -> Vec<String> {
        let mut leftovers = Vec::new();
        let mut rest = steps;
        while !rest.is_empty() {
            let Err(Refused { index, error }) = self.host.take(guest, rest).await else { break };
            let in_guest = rest.get(index).is_some_and(Step::is_in_guest);
            // What was in a guest went with it.
            if !(in_guest && matches!(error, StepError::GuestGone)) {
                leftovers.push(error.to_string());
            }
            rest = rest.get(index + 1..).unwrap_or_default();
        }
        leftovers
    }
}
