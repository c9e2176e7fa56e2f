//! Errors of the machine as refusals to the caller: reason, code, and a text that says what is left.

use pipewright_api::attachment::Attachment;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::traffic::Traffic;
use tonic::Code;

use crate::step::StepError;
use crate::switches::ovs::SwitchError;

/// What the caller of Attach is told of a refused step.
pub fn of_attach(attachment: &Attachment, error: &StepError, leftovers: &[String]) -> Failure {
    let Attachment { id, spec, .. } = attachment;
    let what = format!("cannot attach {} to {} ({}): {error}", spec.ifname, spec.guest, spec.uplink);
    if !leftovers.is_empty() {
        let left = leftovers.join("; ");
        let text =
            format!("{what}; and not all of it could be taken back: {left}; `pwctl detach {id}` tries again");
        return Failure::new(Reason::RollbackIncomplete, text).with("leftovers", leftovers.join("\n"));
    }
    let text = format!("{what}; nothing is left of it");
    match error {
        StepError::GuestGone => {
            let text = format!(
                "guest \"{}\" stopped or restarted meanwhile; nothing of ours is left in it",
                spec.guest
            );
            Failure::new(Reason::GuestChanged, text)
        }
        StepError::Switch { source, .. } => {
            let cause = Failure::from(source.clone());
            Failure::new(cause.reason(), text).with_code(cause.code())
        }
        StepError::Kernel { errno, .. } => {
            Failure::new(Reason::StepFailed, text).with_code(code_of(*errno)).with("errno", errno.to_string())
        }
        StepError::NotSupported { .. } | StepError::NoFiltering { .. } | StepError::NotMovable { .. } => {
            Failure::new(Reason::NotSupportedHere, text)
        }
        StepError::ParentBusy { parent, .. } => {
            Failure::new(Reason::UplinkBusy, text).with("holder", format!("link {parent}"))
        }
        StepError::AddressInUse { address, holder, .. } => {
            let failure = Failure::new(Reason::AddressInUse, format!("{text}; give another address"))
                .with("address", address.to_string());
            match holder {
                Some(mac) => failure.with("holder", mac.to_string()),
                None => failure,
            }
        }
        StepError::NoLease { .. } => {
            let hint = "look whether one serves that network, or give an address with --ip";
            let text = format!("{text}; {hint}");
            Failure::new(Reason::StepFailed, text).with_code(Code::FailedPrecondition)
        }
        StepError::NotAsAsked { .. } | StepError::NotForwarding { .. } | StepError::Injected { .. } => {
            Failure::new(Reason::StepFailed, text)
        }
    }
}

/// What the caller of AddTraffic is told of a refused step.
pub fn of_traffic(attachment: &Attachment, traffic: &Traffic, error: &StepError) -> Failure {
    let Attachment { spec, .. } = attachment;
    let what = format!("cannot add `{traffic}` to {} of {}: {error}", spec.ifname, spec.guest);
    match error {
        StepError::GuestGone => Failure::new(Reason::GuestChanged, what),
        StepError::Kernel { errno: libc::EEXIST, .. } => {
            let text = format!("{what}; there is one of somebody else's, which is left alone");
            Failure::new(Reason::StepFailed, text).with_code(Code::AlreadyExists)
        }
        StepError::Kernel { errno: libc::ENOENT | libc::EOPNOTSUPP, .. } => match traffic {
            Traffic::Qdisc(qdisc) => {
                let module = qdisc.kind();
                let text = format!(
                    "{what}; load its module with `modprobe sch_{module}`, or use a kernel that has it"
                );
                Failure::new(Reason::NotSupportedHere, text)
            }
            Traffic::Route(_) | Traffic::Rule(_) => Failure::new(Reason::NotSupportedHere, what),
        },
        StepError::Kernel { errno, .. } => {
            Failure::new(Reason::StepFailed, what).with_code(code_of(*errno)).with("errno", errno.to_string())
        }
        _ => Failure::new(Reason::StepFailed, what),
    }
}

/// The code that goes with an errno of the kernel.
fn code_of(errno: i32) -> Code {
    match errno {
        libc::EEXIST => Code::AlreadyExists,
        libc::EOPNOTSUPP | libc::EBUSY | libc::EADDRINUSE => Code::FailedPrecondition,
        libc::ENOSPC | libc::ENOMEM | libc::ENOBUFS | libc::EXFULL => Code::ResourceExhausted,
        libc::EINVAL | libc::ENETUNREACH | libc::EHOSTUNREACH => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

impl From<SwitchError> for Failure {
    fn from(error: SwitchError) -> Self {
        let reason = match &error {
            SwitchError::Down { .. } | SwitchError::Unknown { .. } | SwitchError::NotRealised { .. } => {
                Reason::OvsdbDown
            }
            SwitchError::NoBridge { .. } => Reason::NoUplink,
            SwitchError::PortTaken { .. } => Reason::IfnameTaken,
            SwitchError::NoPort { .. } | SwitchError::Refused { .. } | SwitchError::PortError { .. } => {
                Reason::StepFailed
            }
        };
        Self::new(reason, error.to_string())
    }
}
