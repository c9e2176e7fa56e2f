//! What a look at a host finds wrong.

use uuid::Uuid;

pub use crate::wire::{FindingCode, Severity};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Errors first.
    pub findings: Vec<Finding>,
    /// How many attachments were looked at.
    pub attachments: u32,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What programs match on. One from a newer contract is [`FindingCode::Unspecified`].
    pub code: FindingCode,
    /// How bad it is.
    pub severity: Severity,
    /// `link eth1 in docker:web`
    pub object: String,
    /// What is wrong with it.
    pub text: String,
    /// What to do about it.
    pub advice: String,
    /// Whose it is; `None` for the host's own.
    pub attachment: Option<Uuid>,
}

impl FindingCode {
    /// `LINK_DOWN`: the name for people and programs.
    pub fn name(self) -> &'static str {
        self.as_str_name().trim_start_matches("FINDING_CODE_")
    }
}

impl Severity {
    /// `error`: the word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "?",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}
