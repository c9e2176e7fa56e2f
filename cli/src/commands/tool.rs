//! `pwctl route`, `pwctl rule` and `pwctl tc`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use pipewright_api::client::Client;
use pipewright_api::spec::GuestRef;
use pipewright_api::tool::{Ran, Tool, ToolLine};
use uuid::Uuid;

use crate::args::Global;
use crate::connect;
use crate::explain::{self, Failed};
use crate::values;

/// A line for one of iproute2's programs.
#[derive(Debug, Args)]
pub(crate) struct Line {
    /// Whose network: docker:NAME, podman:NAME, lxc:NAME, containerd:ID, crio:ID, machined:NAME, pid:N, netns:NAME, or a name that is
    /// looked up in all of these
    #[arg(value_name = "GUEST", value_parser = values::checked::<GuestRef>)]
    guest: GuestRef,
    /// What follows the program's name
    #[arg(value_name = "ARGS", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

impl Line {
    pub(crate) async fn run(self, tool: Tool, global: &Global) -> Result<ExitCode, Failed> {
        let line = ToolLine::new(tool, self.words).map_err(|why| Failed::Usage(why.to_string()))?;
        run(&connect::client(global)?, &self.guest, &line, global).await
    }
}

/// Runs a line, prints what the program prints, and ends as it ends.
pub(crate) async fn run(
    client: &Client,
    guest: &GuestRef,
    line: &ToolLine,
    global: &Global,
) -> Result<ExitCode, Failed> {
    let ran = client.run_tool(Uuid::new_v4(), guest, line).await;
    let Ran { exit_code, stdout, stderr } = ran.map_err(|error| explain::unrepeatable(&error, global))?;
    let mut out = io::stdout().lock();
    out.write_all(&stdout).and_then(|()| out.flush()).map_err(Failed::Output)?;
    // There is nowhere left to say that standard error is closed.
    let _ = io::stderr().lock().write_all(&stderr);
    // Programs end with 0 to 255, and with 128 and more by a signal.
    Ok(ExitCode::from(u8::try_from(exit_code).unwrap_or(u8::MAX)))
}
