//! Taking back: rollback, detach and recovery are this one path. It goes on past errors and says what is left.

use pipewright_api::net::LinkName;
use uuid::Uuid;

use super::Engine;
use crate::host::netns::Netns;
use crate::host::{Host, Refused};
use crate::step::{self, Step, StepError};

impl<H: Host> Engine<H> {
    /// Takes a plan back, whatever part of it was done. Returns a line for each object that remains.
    pub(super) async fn undo(&self, id: Uuid, guest: Option<&Netns>, plan: &[Step]) -> Vec<String> {
        let steps = step::undo(plan);
        let (release, own): (Vec<Step>, Vec<Step>) =
            steps.into_iter().partition(|step| matches!(step, Step::ReleaseBridge { .. }));
        let mut leftovers = self.take_all(guest, &own).await;
        for step in release {
            let Step::ReleaseBridge { bridge, .. } = &step else { continue };
            leftovers.extend(self.release(id, bridge, &step).await);
        }
        leftovers
    }

    /// Deletes a bridge of ours when nothing needs it any more.
    async fn release(&self, id: Uuid, bridge: &LinkName, step: &Step) -> Vec<String> {
        if self.shelf.is_used_by_others(bridge, id) {
            return Vec::new();
        }
        let _alone = self.locks.release_bridge(bridge).await;
        // Somebody may have come while we waited.
        if self.shelf.is_used_by_others(bridge, id) {
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
