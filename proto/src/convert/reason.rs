//! Refusals that travel inside a message.

use tonic::Code;

use crate::reason::{Failure, Reason};
use crate::wire;

impl From<wire::Failure> for Failure {
    /// A reason from a newer contract becomes [`Reason::Unspecified`]: it is a refusal all the same.
    fn from(failure: wire::Failure) -> Self {
        let reason = Reason::try_from(failure.reason).unwrap_or(Reason::Unspecified);
        let refusal = Self::new(reason, failure.message).with_code(Code::from_i32(failure.code));
        failure.metadata.into_iter().fold(refusal, |refusal, (key, fact)| refusal.with(&key, fact))
    }
}

impl From<Failure> for wire::Failure {
    fn from(failure: Failure) -> Self {
        Self {
            code: failure.code().into(),
            reason: failure.reason().into(),
            message: failure.message().to_owned(),
            metadata: failure.facts().clone().into_iter().collect(),
        }
    }
}
