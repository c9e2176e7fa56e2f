//! Why a step was refused.

use crate::switches::ovs::SwitchError;

/// Why a step was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StepError {
    /// The kernel said no.
    #[error("{step}: {text}")]
    Kernel {
        /// The step as a line.
        step: String,
        /// Positive errno.
        errno: i32,
        /// The kernel's own words, or the errno's.
        text: String,
    },
    /// Open vSwitch or OVSDB said no.
    #[error("{step}: {source}")]
    Switch {
        /// The step as a line.
        step: String,
        /// Its reason.
        source: SwitchError,
    },
    /// What was read back is not what was asked for.
    #[error("{object} has {what} {found} instead of {expected}")]
    NotAsAsked {
        /// The link.
        object: String,
        /// The property.
        what: &'static str,
        /// As read back.
        found: String,
        /// As asked.
        expected: String,
    },
    /// It did not become ready in time.
    #[error("{object} is not forwarding after {seconds} s: its operstate is {operstate}")]
    NotForwarding {
        /// The host's end.
        object: String,
        /// How long we waited.
        seconds: u64,
        /// Last state seen.
        operstate: String,
    },
    /// The guest went away.
    #[error("the guest is gone")]
    GuestGone,
    /// Refused by the fault seam of the tests.
    #[error("{step}: refused by a test")]
    Injected {
        /// The step as a line.
        step: String,
    },
}
