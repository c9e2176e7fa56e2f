//! `pwagent`: plugs network links into the containers of this host.

use std::process::ExitCode;

use clap::Parser;
use pipewright_agent::config::{Config, Flags};
use pipewright_agent::daemon;

fn main() -> ExitCode {
    #[cfg(target_env = "gnu")]
    pipewright_agent::host::sys::share_arenas();
    let ended = Flags::parse().resolve().map_err(Into::into).and_then(run);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: what, and why.
            eprintln!("pwagent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    // Two threads are enough: the kernel's links have one lock, and whoever blocks has a thread of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(daemon::run(config, |host| host))
}
