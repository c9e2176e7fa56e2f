//! What containers ask for themselves, in labels and variables. Pure: who writes a label is not who runs the host, so a label is
//! read (`said`), made a spec of, and held against what the configuration allows (`policy`).
//!
//! | what | line |
//! |---|---|
//! | label `pipewright.attach`, or `pipewright.attach.NAME` for each of several | what follows `pwctl attach`, without the guest |
//! | variable with `pipework_cmd` in its name | pipework's arguments, with `@CONTAINER_NAME@` and the like in them |

use std::collections::BTreeMap;

use pipewright_api::attachment::{GuestIdentity, Origin};
use pipewright_api::host::HostFacts;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{AttachmentSpec, GuestRef};
use pipewright_lines::label;
use pipewright_lines::pipework::{self, Form, Refused};

use crate::guests::{container_by_id, is_id};

mod macros;
mod policy;
mod said;

pub use policy::{Made, Policy, Settings};
pub use said::{Said, is_label, is_ours};

/// A container, as far as its declarations depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Which one.
    pub identity: GuestIdentity,
    /// It has processes.
    pub is_running: bool,
    /// As its own programs see it.
    pub hostname: String,
    /// Those of its image included.
    pub labels: BTreeMap<String, String>,
    /// `NAME=VALUE`, those of its image included.
    pub variables: Vec<String>,
}

impl Container {
    /// What a label asks for it.
    ///
    /// # Errors
    /// INVALID_FIELD.
    pub fn by_label(&self, line: &str) -> Result<AttachmentSpec, Failure> {
        label::spec(line, self.reference()).map_err(wrong)
    }

    /// What a line of pipework's asks for it.
    ///
    /// # Errors
    /// INVALID_FIELD, also for a line that asks for something of another guest, or for no link.
    pub fn by_pipework(&self, line: &str, host: &HostFacts) -> Result<AttachmentSpec, Failure> {
        let words = label::words(&macros::expand(line, self)).map_err(wrong)?;
        let words = words.strip_prefix(&["pipework".to_owned()]).unwrap_or(&words);
        let is_link = pipework::could_be_link(words)
            .is_some_and(|name| host.links.iter().any(|link| link.name == name));
        let mut form = match pipework::parse(words, is_link).map_err(refused)? {
            Form::Attach(form) => form,
            Form::Tool { .. } => {
                return Err(wrong(
                    "route, rule and tc are not for variables: run `pwctl pipework` on the host",
                ));
            }
            Form::Wait { .. } => return Err(wrong("--wait is for the container itself: run `pwwait` in it")),
        };
        if !self.is_meant(&form.guest) {
            let why = format!("{} is another guest: write @CONTAINER_NAME@", form.guest);
            return Err(wrong(why));
        }
        form.guest = self.reference();
        let has_named_end = form.host_ifname.is_some();
        let mut spec = pipework::spec(&form, host, &self.identity).map_err(refused)?;
        // They name the process, and the attachment outlives that.
        spec.labels = Default::default();
        if !has_named_end {
            spec.host_ifname = None;
        }
        Ok(spec)
    }

    /// It and no other, whatever others are called.
    fn reference(&self) -> GuestRef {
        container_by_id(&self.identity)
    }

    /// Whether a line means this container, by a name that it has for itself.
    fn is_meant(&self, guest: &GuestRef) -> bool {
        let GuestIdentity { id, name, .. } = &self.identity;
        let is_its = |word: &str| word == name || word == self.hostname || is_id(word, id);
        guest.container_word().is_some_and(is_its)
    }
}

/// Whether a variable, rather than a label, is meant.
fn is_variable(origin: &Origin) -> bool {
    !is_label(&origin.key)
}

fn refused(why: Refused) -> Failure {
    match why {
        Refused::Syntax => {
            wrong("is no line of pipework's: HOSTINTERFACE [-i IFNAME] @CONTAINER_NAME@ ADDRESS/LENGTH")
        }
        Refused::Because(why) => wrong(why.replace('\n', " ")),
    }
}

fn wrong(why: impl Into<String>) -> Failure {
    Failure::new(Reason::InvalidField, why)
}

#[cfg(test)]
mod tests;
