//! Whether the parts of what is asked fit together. The kernel and Open vSwitch take most of what is refused here.

mod attachment;
mod host;
mod ipoib;
mod mode;

use super::At;
use crate::net::{LinkName, RESERVED_PREFIX};
use crate::reason::Failure;
use crate::spec::{AttachmentSpec, HostSpec};

pub(super) use attachment::{added_route, attachment};
pub(super) use host::host;

/// Most addresses, gateways or routes of one link.
pub const LIST_MAX: usize = 64;
/// Most VLANs of one trunk: all that there are.
pub const TRUNK_MAX: usize = 4094;
/// Most attachments of one host's document.
pub const ATTACHMENTS_MAX: usize = 4096;
/// Most switches of one host's document.
pub const SWITCHES_MAX: usize = 256;

impl AttachmentSpec {
    /// Whether the parts fit together, for a spec that was not read from the wire. A spec out of an attachment carries
    /// the derived name of its host end, which nobody may ask for.
    ///
    /// # Errors
    /// INVALID_FIELD; paths begin with `spec`.
    pub fn check(&self) -> Result<(), Failure> {
        attachment(self, &At::top("spec"))
    }
}

impl HostSpec {
    /// Whether the parts fit together, for a document that was not read from the wire.
    ///
    /// # Errors
    /// INVALID_FIELD; paths begin with `spec`.
    pub fn check(&self) -> Result<(), Failure> {
        host(self, &At::top("spec"))
    }
}

/// Names of our own form are ours: an operator can tell by the name what may be deleted by hand.
fn not_reserved(name: &LinkName, at: &At<'_>) -> Result<(), Failure> {
    match name.as_str().starts_with(RESERVED_PREFIX) {
        true => Err(at.refuse(format_args!(
            "{name} begins with \"{RESERVED_PREFIX}\", which marks names that the agent makes: use another"
        ))),
        false => Ok(()),
    }
}
