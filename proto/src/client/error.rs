//! What can come of a call other than its answer.

use std::error::Error;
use std::io;

use tonic::{Code, ConnectError, Status};
use uuid::Uuid;

use super::Endpoint;
use crate::reason::{Failure, Reason};

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

/// How a call ended without its answer.
#[derive(Debug)]
pub(super) enum Ended {
    /// The agent refused.
    Refused(Failure),
    /// The agent refused because it is stopping: another may be there soon.
    Stopping(Failure),
    /// Nobody was connected to, so nothing was sent.
    Unconnected(String),
    /// The connection ended after the request may have been sent.
    Cut(String),
    /// No answer came in time, or something in between gave up.
    Unanswered(String),
    /// What answered was no agent of ours.
    Odd(String),
    /// As [`ClientError::Protocol`].
    Protocol(String),
}

impl From<&Status> for Ended {
    fn from(status: &Status) -> Self {
        match Failure::from_status(status) {
            Some(failure) if failure.reason() == Reason::Stopping => return Self::Stopping(failure),
            Some(failure) => return Self::Refused(failure),
            None => {}
        }
        if let Some(error) = find_connect_error(status) {
            return Self::Unconnected(why_unconnected(error));
        }
        let text = text_of(status);
        match status.code() {
            Code::Unimplemented => Self::Protocol(
                "it does not know this call: it is an older agent, or something else listens there"
                    .to_owned(),
            ),
            // A server's own time limit, the client's, and a closed connection.
            Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable | Code::Unknown => {
                match status.source().is_some() {
                    true => Self::Cut(text),
                    false => Self::Unanswered(text),
                }
            }
            code => Self::Odd(format!("{code:?}: {text}")),
        }
    }
}

impl Ended {
    /// Itself, with what came of asking again: that never tells what the first time did.
    pub(super) fn and_since(self, last: Option<Self>) -> Self {
        match (self, last) {
            (Self::Cut(why), Some(last)) => Self::Cut(format!("{why}; asked again: {}", last.why())),
            (Self::Stopping(_), Some(last @ (Self::Unanswered(_) | Self::Odd(_)))) => last,
            (first, _) => first,
        }
    }

    fn why(&self) -> &str {
        match self {
            Self::Refused(failure) | Self::Stopping(failure) => failure.message(),
            Self::Unconnected(why)
            | Self::Cut(why)
            | Self::Unanswered(why)
            | Self::Odd(why)
            | Self::Protocol(why) => why,
        }
    }

    /// What it means to the caller.
    pub(super) fn into_error(self, asked: Asked, endpoint: &Endpoint) -> ClientError {
        let endpoint = endpoint.clone();
        match (self, asked) {
            (Self::Refused(failure) | Self::Stopping(failure), _) => ClientError::Refused(failure),
            (Self::Unconnected(why), _) => ClientError::Unreachable { endpoint, why },
            (Self::Protocol(why), _) | (Self::Odd(why), Asked::Only) => {
                ClientError::Protocol { endpoint, why }
            }
            (Self::Cut(why) | Self::Unanswered(why), Asked::Only) => {
                ClientError::Unreachable { endpoint, why: format!("{why}; ask again") }
            }
            (Self::Cut(why) | Self::Unanswered(why) | Self::Odd(why), Asked::Change(request_id)) => {
                ClientError::Unknown { request_id, why }
            }
        }
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
