//! Why a call was refused: a reason that programs match on, a text for people, and facts beside it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use crate::wire::Reason;

/// The domain of our reasons in google.rpc.ErrorInfo.
pub const DOMAIN: &str = "pipewright.v1";

impl Reason {
    /// The gRPC code that goes with the reason; a failure by a cause may carry the cause's instead.
    pub fn code(self) -> Code {
        match self {
            Self::InvalidField | Self::GuestAmbiguous => Code::InvalidArgument,
            Self::GuestNotFound | Self::AttachmentNotFound | Self::OperationNotFound => Code::NotFound,
            Self::IfnameTaken | Self::SpecDiffers | Self::AddressInUse => Code::AlreadyExists,
            Self::GuestNotRunning
            | Self::GuestIsHost
            | Self::NoUplink
            | Self::UplinkBusy
            | Self::NotSupportedHere => Code::FailedPrecondition,
            Self::DockerDown | Self::PodmanDown | Self::OvsdbDown | Self::Stopping => Code::Unavailable,
            Self::NotGranted => Code::PermissionDenied,
            Self::NotReady => Code::DeadlineExceeded,
            Self::GuestChanged => Code::Aborted,
            Self::Resync => Code::OutOfRange,
            Self::Exhausted => Code::ResourceExhausted,
            Self::StepFailed | Self::RollbackIncomplete | Self::Internal | Self::Unspecified => {
                Code::Internal
            }
        }
    }

    /// `GUEST_NOT_FOUND`: the name that travels.
    pub fn name(self) -> &'static str {
        self.as_str_name().trim_start_matches("REASON_")
    }

    /// The reverse of [`Reason::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::from_str_name(&format!("REASON_{name}"))
    }
}

/// A refusal: what, which object, why, what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    code: i32,
    #[serde(with = "by_name")]
    reason: Reason,
    message: String,
    metadata: BTreeMap<String, String>,
}

impl Failure {
    /// A refusal with the reason's own code.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { code: reason.code() as i32, reason, message: message.into(), metadata: BTreeMap::new() }
    }

    /// A field of the request that cannot be: `spec.mac: "zz" is not a MAC address: …`.
    pub fn field(path: &str, why: impl fmt::Display) -> Self {
        Self::new(Reason::InvalidField, format!("{path}: {why}")).with("field", path)
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// Takes over the code of the failure's cause.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.code = code as i32;
        self
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        Code::from_i32(self.code)
    }

    /// What programs match on.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// For people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// A fact beside the message.
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// All facts beside the message.
    pub fn facts(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Reads the refusal that a status carries; `None` when it was not an agent of ours that made it. A reason from a
    /// newer contract becomes [`Reason::Unspecified`]: it is a refusal all the same.
    pub fn from_status(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
        Some(Self {
            code: status.code() as i32,
            reason: Reason::from_name(&info.reason).unwrap_or(Reason::Unspecified),
            message: status.message().to_owned(),
            metadata: info.metadata.into_iter().collect(),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let metadata: HashMap<String, String> = failure.metadata.clone().into_iter().collect();
        let mut details = ErrorDetails::with_error_info(failure.reason.name(), DOMAIN, metadata);
        if let Some(field) = failure.fact("field") {
            details.add_bad_request_violation(field, &failure.message);
        }
        Status::with_error_details(failure.code(), failure.message, details)
    }
}

/// A reason in a stored record: by name, which outlives a renumbering.
mod by_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Reason;

    pub(super) fn serialize<S: Serializer>(reason: &Reason, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(reason.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Reason, D::Error> {
        let name = String::deserialize(from)?;
        Reason::from_name(&name).ok_or_else(|| D::Error::custom(format!("unknown reason {name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_crosses_the_wire_unchanged() {
        let failure = Failure::field("spec.mac", "\"zz\" is not a MAC address").with("hint", "six pairs");

        let status = Status::from(failure.clone());

        assert_eq!(Failure::from_status(&status), Some(failure));
        assert_eq!(status.code(), Code::InvalidArgument);
    }

    #[test]
    fn a_reason_from_a_newer_contract_is_still_a_refusal() {
        let details = ErrorDetails::with_error_info("MOON_IN_THE_WAY", DOMAIN, HashMap::new());
        let status = Status::with_error_details(Code::FailedPrecondition, "the moon is in the way", details);

        let failure = Failure::from_status(&status).unwrap();

        assert_eq!(failure.reason(), Reason::Unspecified);
        assert_eq!((failure.code(), failure.message()), (Code::FailedPrecondition, "the moon is in the way"));
    }

    #[test]
    fn a_status_of_somebody_else_is_no_failure_of_ours() {
        assert_eq!(Failure::from_status(&Status::unavailable("connection refused")), None);
    }
}
