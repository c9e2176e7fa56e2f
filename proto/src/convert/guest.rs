//! The service `Guest`.

use super::At;
use super::attachment::guest;
use super::request::request_id;
use crate::attachment::GuestIdentity;
use crate::reason::Failure;
use crate::request::{Find, RunTool};
use crate::tool::{Ran, Tool, ToolLine};
use crate::wire;

impl TryFrom<wire::FindRequest> for Find {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD.
    fn try_from(request: wire::FindRequest) -> Result<Self, Failure> {
        Ok(Self { guest: At::top("guest").required(&request.guest)? })
    }
}

impl From<Find> for wire::FindRequest {
    fn from(request: Find) -> Self {
        Self { guest: request.guest.into() }
    }
}

impl TryFrom<wire::FindResponse> for GuestIdentity {
    type Error = Failure;

    fn try_from(answer: wire::FindResponse) -> Result<Self, Failure> {
        let at = At::top("guest");
        guest(at.present(answer.guest)?, &at)
    }
}

impl From<GuestIdentity> for wire::FindResponse {
    fn from(guest: GuestIdentity) -> Self {
        Self { guest: Some(guest.into()) }
    }
}

impl TryFrom<wire::RunToolRequest> for RunTool {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD; a word that may not be passed on is named by its number.
    fn try_from(request: wire::RunToolRequest) -> Result<Self, Failure> {
        let at = At::top("tool");
        let tool = match at.variant::<wire::Tool>(request.tool, "route, rule and tc")? {
            None | Some(wire::Tool::Unspecified) => {
                return Err(at.refuse("it is required: route, rule or tc"));
            }
            Some(wire::Tool::Route) => Tool::Route,
            Some(wire::Tool::Rule) => Tool::Rule,
            Some(wire::Tool::Tc) => Tool::Tc,
        };
        let at = At::top("arguments");
        let line = ToolLine::new(tool, request.arguments).map_err(|error| match error.word {
            Some(number) => at.item(number).refuse(error),
            None => at.refuse(error),
        })?;
        Ok(Self {
            request_id: request_id(&request.request_id)?,
            guest: At::top("guest").required(&request.guest)?,
            line,
        })
    }
}

impl From<Tool> for wire::Tool {
    fn from(tool: Tool) -> Self {
        match tool {
            Tool::Route => Self::Route,
            Tool::Rule => Self::Rule,
            Tool::Tc => Self::Tc,
        }
    }
}

impl From<RunTool> for wire::RunToolRequest {
    fn from(request: RunTool) -> Self {
        Self {
            request_id: request.request_id.to_string(),
            guest: request.guest.into(),
            tool: wire::Tool::from(request.line.tool()).into(),
            arguments: request.line.words().to_vec(),
        }
    }
}

impl TryFrom<wire::RunToolResponse> for Ran {
    type Error = Failure;

    fn try_from(answer: wire::RunToolResponse) -> Result<Self, Failure> {
        Ok(Self { exit_code: answer.exit_code, stdout: answer.stdout, stderr: answer.stderr })
    }
}

impl From<Ran> for wire::RunToolResponse {
    fn from(ran: Ran) -> Self {
        Self { exit_code: ran.exit_code, stdout: ran.stdout, stderr: ran.stderr }
    }
}
