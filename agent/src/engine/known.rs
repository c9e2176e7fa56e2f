//! What there is already of a guest and a name, when somebody asks for a link.

use std::sync::Arc;

use pipewright_api::attachment::{Attachment, GuestIdentity, State};
use pipewright_api::reason::{Failure, Reason};
use uuid::Uuid;

use super::Engine;
use crate::engine::attach::Wish;
use crate::engine::decided;
use crate::engine::entered::Entered;
use crate::engine::records::Record;
use crate::host::Host;

/// What there is already of that guest and name.
pub(super) enum Known {
    No,
    /// What is asked for.
    Attached(Arc<Record>),
    /// What a rollback or detach that stopped short left in the way, or a link that somebody unplugged by hand.
    Remains(Arc<Record>),
    /// What is asked for, which waits for this guest.
    Waiting(Arc<Record>),
    /// What is asked for, in the namespace that the guest had before it was started again.
    Elsewhere(Arc<Record>),
}

impl<H: Host> Engine<H> {
    /// Looks for the attachment of that guest and name.
    pub(super) async fn known(&self, wish: &Wish, entered: &Entered) -> Result<Known, Failure> {
        self.is_free_there(wish, entered)?;
        let Some(record) = self.shelf.find(entered.facts.cookie, &wish.spec.ifname) else {
            return self.known_before(wish, &entered.guest.identity);
        };
        // We hold the guest's lock, so nobody works on it: a rollback or detach stopped short.
        if record.attachment.state != State::Attached {
            return match wish.again {
                None => Ok(Known::Remains(record)),
                // Nobody asks for that to be removed.
                Some(_) => Err(in_the_way(&record)),
            };
        }
        let is_near = record.attachment.guest.netns_cookie == entered.facts.cookie;
        if is_near && record.is_asked(wish) {
            return Ok(match wish.again.is_some() || self.is_plugged(&record, &self.links().await?) {
                true => Known::Attached(record),
                false => Known::Remains(record),
            });
        }
        Err(differs(wish, &record))
    }

    /// Looks for an attachment that follows the guest and has not come with it yet.
    fn known_before(&self, wish: &Wish, guest: &GuestIdentity) -> Result<Known, Failure> {
        let Some(record) = self.shelf.of_former(guest, &wish.spec.ifname) else {
            return match wish.again {
                None => Ok(Known::No),
                Some(id) => Err(detached(id)),
            };
        };
        if !record.is_asked(wish) {
            return Err(differs(wish, &record));
        }
        Ok(match record.attachment.state {
            State::Waiting => Known::Waiting(record),
            State::Attached | State::Attaching | State::Detaching | State::Detached | State::Incomplete => {
                Known::Elsewhere(record)
            }
        })
    }
}

impl Record {
    /// Whether somebody who wishes that means this attachment.
    fn is_asked(&self, wish: &Wish) -> bool {
        if wish.again == Some(self.attachment.id) {
            return true;
        }
        wish.again.is_none()
            && decided::asked_again(&wish.spec, self) == *self.asked
            && self.attachment.fleet == wish.fleet
    }
}

fn detached(id: Uuid) -> Failure {
    Failure::new(Reason::AttachmentNotFound, format!("attachment {id} was detached meanwhile"))
}

fn differs(wish: &Wish, record: &Record) -> Failure {
    let Attachment { id, state, .. } = record.attachment;
    let is = if state == State::Waiting { "waits to be attached" } else { "is attached already" };
    let text = format!(
        "{} of guest \"{}\" {is} in another way (attachment {id}); detach it first, or choose another ifname",
        wish.spec.ifname, wish.spec.guest
    );
    Failure::new(Reason::SpecDiffers, text).with("attachment", id.to_string())
}

/// A dry run changes nothing, so it cannot look behind what is left.
pub(super) fn in_the_way(record: &Record) -> Failure {
    let Attachment { id, spec, leftovers, state, .. } = &record.attachment;
    let why = match state {
        State::Attached => format!("was unplugged from {} by somebody", spec.uplink),
        State::Attaching | State::Detaching | State::Detached | State::Incomplete | State::Waiting => {
            format!("was not wholly taken back: {}", leftovers.join("; "))
        }
    };
    let text = format!(
        "{} of guest \"{}\" {why}; an attach begins with taking it back, or `pwctl detach {id}` does it",
        spec.ifname, spec.guest
    );
    Failure::new(Reason::RollbackIncomplete, text).with("leftovers", leftovers.join("\n"))
}
