//! The commands, one file each.

pub(crate) mod attach;
pub(crate) mod completions;
pub(crate) mod detach;
pub(crate) mod doctor;
pub(crate) mod fleet;
pub(crate) mod guest;
pub(crate) mod host;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod operation;
pub(crate) mod pipework;
pub(crate) mod tool;
pub(crate) mod wait;
pub(crate) mod watch;

use std::process::ExitCode;

use pipewright_api::tool::Tool;

use crate::args::{Cli, Command};
use crate::explain::Failed;

/// Runs the command.
///
/// # Errors
/// [`Failed`]: why it was not done.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, Failed> {
    let Cli { global, command } = cli;
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Attach(attach) => attach.run(&global).map(done),
        Command::Detach(detach) => block_on(detach.run(&global)).map(done),
        Command::List(list) => block_on(list.run(&global)).map(done),
        Command::Wait(wait) => wait.run(&global).map(done),
        Command::Watch(watch) => block_on(watch.run(&global)).map(done),
        Command::Operation(operation) => block_on(operation.run(&global)),
        Command::Doctor(doctor) => block_on(doctor.run(&global)),
        Command::Check(check) => block_on(check.run(&global)),
        Command::Host(host) => block_on(host.run(&global)).map(done),
        Command::Guest(guest) => block_on(guest.run(&global)).map(done),
        Command::Fleet(fleet) => fleet.run(&global),
        Command::Route(line) => block_on(line.run(Tool::Route, &global)),
        Command::Rule(line) => block_on(line.run(Tool::Rule, &global)),
        Command::Tc(line) => block_on(line.run(Tool::Tc, &global)),
        Command::Pipework(pipework) => Ok(pipework.run(&global)),
        Command::Completions(completions) => completions.run().map(done),
        Command::Man(man) => man.run().map(done),
    }
}

/// Runs a call on this thread. A command makes one or a few calls: threads would only make its start slower.
pub(crate) fn block_on<T, E: From<Failed>>(call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| Failed::Because(format!("cannot start: {why}")))?;
    runtime.block_on(call)
}
