//! An attach that failed: nothing of it is left, or what is left is said.

use pipewright_api::attachment::State;
use pipewright_api::reason::{Failure, Reason};

use super::Engine;
use crate::engine::attach::answered;
use crate::engine::operations::{Answer, Operation};
use crate::engine::records::{Record, Write};
use crate::host::netns::Netns;
use crate::host::{Host, Refused};
use crate::status;

impl<H: Host> Engine<H> {
    /// Takes back what was made but cannot be remembered.
    pub(super) async fn forgo(&self, record: &Record, guest: &Netns, unwritten: Failure) -> Failure {
        let leftovers = self.undo(record.attachment.id, Some(guest), &record.plan).await;
        self.step_back(record, leftovers.clone(), Some(unwritten.message()));
        if leftovers.is_empty() {
            return unwritten;
        }
        let text = format!("{unwritten}; and not all could be taken back: {}", leftovers.join("; "));
        Failure::new(Reason::RollbackIncomplete, text).with("leftovers", leftovers.join("\n"))
    }

    pub(super) async fn roll_back(
        &self,
        record: &Record,
        guest: &Netns,
        refused: Refused,
        open: Option<&Operation>,
    ) -> Failure {
        let mut going = record.clone();
        going.attachment.state = State::Detaching;
        self.shelf.put(going, Some("it is taken back"));
        let leftovers = self.undo(record.attachment.id, Some(guest), &record.plan).await;
        let failure = status::of_attach(&record.attachment, &refused.error, &leftovers);
        let mut writes: Vec<Write> = answered(open, Answer::Failed(failure.clone())).into_iter().collect();
        writes.push(self.step_back(record, leftovers, Some(failure.message())));
        match self.records.settle(writes).await {
            Ok(()) => failure,
            Err(unwritten) => unwritten,
        }
    }

    /// Puts the record up as it is after an undo, and says what is to be written: it is gone, or says what is left; one that
    /// waited for its guest waits again.
    pub(super) fn step_back(&self, record: &Record, leftovers: Vec<String>, cause: Option<&str>) -> Write {
        let id = record.attachment.id;
        let mut record = record.clone();
        if record.follows {
            record.wait(cause.unwrap_or_default(), leftovers);
        } else if leftovers.is_empty() {
            self.shelf.remove(id, cause);
            return Write::NoAttachment(id);
        } else {
            record.attachment.state = State::Incomplete;
            record.attachment.leftovers = leftovers;
        }
        Write::Attachment(self.shelf.put(record, cause))
    }
}
