//! Why OVSDB did not do it, or why nobody knows whether it did.

use std::fmt;

/// Why a call has no result. Cheap to clone, since one transaction may be for many callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OvsdbError {
    /// Nothing was sent.
    #[error("OVSDB at {endpoint} cannot be reached: {cause}; is openvswitch running?")]
    Down {
        /// Whom we called.
        endpoint: String,
        /// What the connection failed of.
        cause: String,
    },
    /// It was sent, and no answer came. The server may have done it, or may yet do it: read again.
    #[error("the outcome of a call to OVSDB at {endpoint} is unknown: {cause}")]
    Unknown {
        /// Whom we called.
        endpoint: String,
        /// What became of the answer.
        cause: String,
    },
    /// The transaction was refused; nothing of it happened.
    #[error("OVSDB refused {what}: {refusal}{}", Details(details))]
    Refused {
        /// Place of the operation that was refused; `None` when the commit was (RFC 7047 §4.1.3, the extra element).
        operation: Option<usize>,
        /// The operation, or the commit.
        what: String,
        /// Why.
        refusal: Refusal,
        /// The server's words; may be empty.
        details: String,
    },
    /// The server does not do what was asked: an unknown database, method or table.
    #[error("OVSDB refused {method}: {error}")]
    Rejected {
        /// The JSON-RPC method.
        method: &'static str,
        /// The server's words.
        error: String,
    },
    /// The answer is not what RFC 7047 says.
    #[error("the answer of OVSDB to {method} cannot be read: {why}")]
    Unreadable {
        /// The JSON-RPC method.
        method: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// Errors that RFC 7047 §5.2 and §4.1.3 name, and those that ovsdb-server adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A row would refer to what is not there, or would be referred to and is deleted.
    ReferentialIntegrity,
    /// An index, the number of rows or a column's own limits.
    Constraint,
    /// A value out of its type's range.
    Range,
    /// No such operation on such a value.
    Domain,
    /// A precondition was not met.
    TimedOut,
    /// `abort` was asked for.
    Aborted,
    /// The lock is not held by this connection.
    NotOwner,
    /// Two rows of one name.
    DuplicateName,
    /// The server's memory or disk is full.
    Resources,
    /// The server could not write.
    Io,
    /// The server cannot do this.
    NotSupported,
    /// The request is not what RFC 7047 says, perhaps a table or column that the server's schema lacks.
    Syntax,
    /// The server reached no quorum, or is no leader.
    NotLeader,
    /// One that we do not know.
    Other(String),
}

impl From<&str> for Refusal {
    fn from(error: &str) -> Self {
        match error {
            "referential integrity violation" => Self::ReferentialIntegrity,
            "constraint violation" => Self::Constraint,
            "range error" => Self::Range,
            "domain error" => Self::Domain,
            "timed out" => Self::TimedOut,
            "aborted" => Self::Aborted,
            "not owner" => Self::NotOwner,
            "duplicate uuid-name" | "duplicate uuid name" => Self::DuplicateName,
            "resources exhausted" => Self::Resources,
            "I/O error" => Self::Io,
            "not supported" => Self::NotSupported,
            "syntax error" | "unknown table" | "unknown column" | "unknown database" => Self::Syntax,
            "not leader" | "cluster error" | "raft error" => Self::NotLeader,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReferentialIntegrity => "a row refers to one that is not there",
            Self::Constraint => "it breaks a rule of the database",
            Self::Range => "a value is out of range",
            Self::Domain => "the operation does not fit the value",
            Self::TimedOut => "a precondition is not met",
            Self::Aborted => "it was aborted",
            Self::NotOwner => "the lock is held by another",
            Self::DuplicateName => "two rows have one name",
            Self::Resources => "the server's memory or disk is full",
            Self::Io => "the server cannot write its file",
            Self::NotSupported => "the server does not do this",
            Self::Syntax => "the server does not understand it",
            Self::NotLeader => "the server is not the leader of its cluster",
            Self::Other(error) => error,
        })
    }
}

struct Details<'a>(&'a str);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            details => write!(f, " ({details})"),
        }
    }
}
