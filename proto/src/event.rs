//! A change of an attachment, as a watcher sees it.

use crate::attachment::Attachment;

/// One change. A state of [`crate::attachment::State::Detached`] means that the attachment is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Watching from here on misses nothing and repeats nothing.
    pub revision: u64,
    /// The attachment after the change.
    pub attachment: Attachment,
    /// Why, when nobody asked for it: `guest is gone`.
    pub cause: Option<String>,
}
