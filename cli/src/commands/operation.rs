//! `pwctl operation`.

use std::process::ExitCode;

use clap::Args;
use pipewright_api::operation::{Operation as Found, OperationState};
use pipewright_api::wire;
use uuid::Uuid;

use crate::args::Global;
use crate::connect;
use crate::explain::{self, Failed};
use crate::output;

/// Ask what became of a request whose answer was lost
///
/// Changes nothing. Exits with 0 when the request was done, and with 1 when it failed, is still running or never arrived.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  pwctl operation 0198c0de-0000-7000-8000-000000000001")]
pub(crate) struct Operation {
    /// The id that the request carried; what fails with *unknown* prints it
    #[arg(value_name = "REQUEST_ID")]
    request_id: Uuid,
}

impl Operation {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode, Failed> {
        let operation = connect::client(global)?.operation(self.request_id).await?;
        let text = line(&operation);
        let code = match operation.state {
            OperationState::Done => ExitCode::SUCCESS,
            OperationState::Running | OperationState::Failed(_) => ExitCode::FAILURE,
        };
        let answer: wire::GetOperationResponse = operation.into();
        output::answer(global.output, &answer, |_| text)?;
        Ok(code)
    }
}

fn line(operation: &Found) -> String {
    let id = operation.request_id;
    match &operation.state {
        OperationState::Running => format!("request {id} is still being carried out; ask again"),
        OperationState::Done => {
            let ids: Vec<String> = operation.attachment_ids.iter().map(ToString::to_string).collect();
            match ids.is_empty() {
                true => format!("request {id} was done and changed nothing"),
                false => format!("request {id} was done: {}", ids.join(" ")),
            }
        }
        OperationState::Failed(failure) => format!("request {id} failed: {}", explain::refusal(failure)),
    }
}
