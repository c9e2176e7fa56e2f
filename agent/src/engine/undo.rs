//! Taking back: rollback, detach and recovery are this one path. It goes on past errors and says what is left.

use uuid::Uuid;

use super::Engine;
use crate::host::netns::Netns;
use crate::host::{Host, Refused};
use crate::step::{self, Shared, Step, StepError};

impl<H: Host> Engine<H> {
    /// Takes a plan back, whatever part of it was done. Returns a line for each object that remains.
    pub(super) async fn undo(&self, id: Uuid, guest: Option<&Netns>, plan: &[Step]) -> Vec<String> {
        let (release, own): (Vec<Step>, Vec<Step>) =
            step::undo(plan).into_iter().partition(|step| step.releases().is_some());
        let mut reaching = own.clone();
        if guest.is_none() {
            self.reach_without_opening(id, &mut reaching);
        }
        let (mut left, mut leftovers) = (Vec::new(), Vec::new());
        for (index, line) in self.take_all(guest, &reaching).await {
            left.extend(own.get(index).cloned());
            leftovers.push(line);
        }
        for step in release {
            let Some(shared) = step.releases() else { continue };
            if step::stays(plan, &left).any(|held| held == shared) {
                continue;
            }
            let lines = self.release(id, shared, &step).await;
            if !lines.is_empty() {
                left.push(step);
                leftovers.extend(lines);
            }
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
        let refused = self.take_all(None, std::slice::from_ref(step)).await;
        refused.into_iter().map(|(_, line)| line).collect()
    }

    /// Takes steps and goes on past those that are refused: their places, and a line for each.
    async fn take_all(&self, guest: Option<&Netns>, steps: &[Step]) -> Vec<(usize, String)> {
        let mut leftovers = Vec::new();
        let mut begin = 0;
        while let Some(rest) = steps.get(begin..).filter(|rest| !rest.is_empty()) {
            let Err(Refused { index, error }) = self.host.take(guest, rest).await else { break };
            let in_guest = rest.get(index).is_some_and(Step::is_in_guest);
            // What was in a guest went with it.
            if !(in_guest && matches!(error, StepError::GuestGone)) {
                leftovers.push((begin + index, error.to_string()));
            }
            begin += index + 1;
        }
        leftovers
    }
}
