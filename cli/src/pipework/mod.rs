//! The argument front: lines written for the `pipework` script, carried out by an agent.

mod carry;
#[cfg(test)]
mod twins;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use pipewright_lines::pipework::{Refused, USAGE};

use crate::args::Global;
use crate::explain::Failed;
use crate::output;

/// Whether a program that was started under this name is pipework: a link of that name leads to pwctl.
pub(crate) fn is_meant(name: &std::ffi::OsStr) -> bool {
    Path::new(name).file_name().is_some_and(|name| name == "pipework")
}

/// Carries out a line of pipework's. Exit codes are pipework's: 0, 1, and the tool's own for `route`, `rule` and `tc`.
pub(crate) fn run(words: Vec<OsString>, global: &Global) -> ExitCode {
    match carry::out(words, global) {
        Ok(code) => code,
        Err(Stopped::Refused(Refused::Syntax)) => {
            // Nobody is left to tell when standard output is closed, too.
            let _ = output::print(USAGE);
            ExitCode::FAILURE
        }
        Err(Stopped::Refused(Refused::Because(why))) => {
            output::note(&why);
            ExitCode::FAILURE
        }
        Err(Stopped::Failed(failed)) => {
            output::note(&failed.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Why a line was not carried out.
#[derive(Debug)]
enum Stopped {
    /// By its words, or by what the host interface is.
    Refused(Refused),
    /// By the agent, or on the way to it.
    Failed(Failed),
}

impl From<Refused> for Stopped {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Failed> for Stopped {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}
