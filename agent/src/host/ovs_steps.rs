//! Steps that Open vSwitch takes.

use crate::step::{Step, StepError};

/// Takes one step.
///
/// # Errors
/// Always, until the switch module is wired in.
pub(super) fn take(step: &Step) -> Result<(), StepError> {
    let text = "this agent does not drive Open vSwitch yet".to_owned();
    Err(StepError::Kernel { step: step.to_string(), errno: libc::EOPNOTSUPP, text })
}
