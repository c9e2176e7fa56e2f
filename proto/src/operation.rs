//! What became of a request: kept by the agent, so that a caller whose connection was lost can ask.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::reason::Failure;

/// One request that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The id that the caller chose.
    pub request_id: Uuid,
    /// How far it is.
    pub state: OperationState,
    /// The attachments that it made or removed.
    pub attachment_ids: Vec<Uuid>,
    /// When it was accepted.
    pub started_at: SystemTime,
}

/// How far an operation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Steps are being taken; ask again.
    Running,
    /// It was done.
    Done,
    /// It was refused, and the host is as it was, unless the reason is ROLLBACK_INCOMPLETE.
    Failed(Failure),
}

impl OperationState {
    /// Why it failed.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Running | Self::Done => None,
        }
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed(_) => "failed",
        })
    }
}
