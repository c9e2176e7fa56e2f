//! What can come of a call other than its answer.

use std::error::Error;
use std::io;

use tonic::{Code, ConnectError, Status};
use uuid::Uuid;

use super::Endpoint;
use crate::reason::Failure;

/// Why there is no answer, told apart by what the caller can know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The agent refused.
    #[error("{0}")]
    Refused(Failure),
    /// Nothing was changed: the request was never sent, or it only asked.
    #[error("cannot reach the agent at {endpoint}: {why}")]
    Unreachable {
        /// Where it was looked for.
        endpoint: Endpoint,
        /// And what to do.
        why: String,
    },
    /// A change was asked for and the answer was lost, so the change may have been made or not.
    #[error("it is unknown what became of request {request_id}: {why}; ask again with the same request id")]
    Unknown {
        /// With which asking again, or [`super::Client::operation`], tells.
        request_id: Uuid,
        /// How the answer was lost.
        why: String,
    },
    /// What answered does not speak our contract, or another version of it.
    #[error("cannot understand the answer of {endpoint}: {why}")]
    Protocol {
        /// Who answered.
        endpoint: Endpoint,
        /// What was wrong with it.
        why: String,
    },
}

impl ClientError {
    /// The refusal, if the agent made one.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused(failure) => Some(failure),
            Self::Unreachable { .. } | Self::Unknown { .. } | Self::Protocol { .. } => None,
        }
    }
}

/// What a lost answer leaves open.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// Nothing: the call changes nothing.
    Only,
    /// Whether the change was made.
    Change(Uuid),
}

impl Asked {
    pub(super) fn change(request_id: Uuid, dry_run: bool) -> Self {
        if dry_run { Self::Only } else { Self::Change(request_id) }
    }
}

/// What a status means to the caller.
pub(super) fn from_status(status: &Status, asked: Asked, endpoint: &Endpoint) -> ClientError {
    if let Some(failure) = Failure::from_status(status) {
        return ClientError::Refused(failure);
    }
    if let Some(error) = find_connect_error(status) {
        return ClientError::Unreachable { endpoint: endpoint.clone(), why: why_unconnected(error) };
    }
    let protocol = |why: String| ClientError::Protocol { endpoint: endpoint.clone(), why };
    match status.code() {
        Code::Unimplemented => protocol(
            "it does not know this call: it is an older agent, or something else listens there".to_owned(),
        ),
        // A server's own time limit, the client's, and a closed connection.
        Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable | Code::Unknown => {
            lost(text_of(status), asked, endpoint)
        }
        code => match asked {
            Asked::Only => protocol(format!("{code:?}: {}", text_of(status))),
            Asked::Change(_) => lost(text_of(status), asked, endpoint),
        },
    }
}

/// The request was sent, and no answer came.
pub(super) fn lost(why: String, asked: Asked, endpoint: &Endpoint) -> ClientError {
    match asked {
        Asked::Only => {
            ClientError::Unreachable { endpoint: endpoint.clone(), why: format!("{why}; ask again") }
        }
        Asked::Change(request_id) => ClientError::Unknown { request_id, why },
    }
}

fn chain(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |&error| error.source())
}

/// Connecting comes before sending, so this is the one case in which nothing was sent for certain.
fn find_connect_error(status: &Status) -> Option<&ConnectError> {
    chain(status).find_map(|error| error.downcast_ref())
}

fn why_unconnected(ConnectError(cause): &ConnectError) -> String {
    let advice = match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::PermissionDenied) => {
            "ask as root, or as a member of the group that owns the socket"
        }
        Some(io::ErrorKind::TimedOut) => "check that the host is up and that no firewall is in the way",
        _ => "check that pwagent runs there and listens on this endpoint",
    };
    format!("{cause}; {advice}")
}

/// The innermost cause says most: the outer ones read `transport error`.
fn text_of(status: &Status) -> String {
    match (status.code(), chain(status).last()) {
        (Code::Cancelled, _) if status.message() == "Timeout expired" => "no answer in time".to_owned(),
        (_, Some(cause)) => format!("the connection was lost ({cause})"),
        (code, None) if status.message().is_empty() => format!("{code:?}"),
        (_, None) => status.message().to_owned(),
    }
}
