//! `pwctl`: asks agents to plug links into guests, and rolls out fleet files.

mod args;
mod commands;
mod connect;
mod explain;
mod output;
mod pipework;
mod table;
mod values;

use std::process::ExitCode;

use clap::Parser;

use crate::explain::Failed;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if words.next().is_some_and(|name| pipework::is_meant(&name)) {
        return pipework::run(words.collect(), &args::Global::default());
    }
    let cli = args::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(failed) => report(&failed),
    }
}

/// Says why, and maps to the exit code: 1 failed, 2 usage.
fn report(failed: &Failed) -> ExitCode {
    match failed {
        // Whoever read us has seen enough, as in `pwctl list | head -1`.
        Failed::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Failed::Output(_) | Failed::Because(_) | Failed::Client(_) => {
            output::note(&failed.to_string());
            ExitCode::FAILURE
        }
        Failed::Usage(_) => {
            output::note(&failed.to_string());
            ExitCode::from(2)
        }
    }
}
