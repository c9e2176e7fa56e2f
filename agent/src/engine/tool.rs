//! Which guest a name means, and iproute2's programs in it.

use std::sync::Arc;

use pipewright_api::attachment::GuestIdentity;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::RunTool;
use pipewright_api::spec::GuestRef;
use pipewright_api::tool::{Ran, ToolLine};

use super::Engine;
use crate::engine::attach::open_operation;
use crate::engine::operations::{Answer, fingerprint, on_a_task};
use crate::engine::records::Write;
use crate::guests::Guest;
use crate::host::Host;
use crate::host::tool::ToolError;

/// Most bytes of either output that are sent.
const PRINTED: u64 = 4 << 20;
/// Most bytes of either output of a change: they are kept with its request.
const KEPT: u64 = 64 << 10;

impl<H: Host> Engine<H> {
    /// Which guest a name means.
    ///
    /// # Errors
    /// See the `.proto` file.
    pub async fn find(&self, guest: &GuestRef) -> Result<GuestIdentity, Failure> {
        Ok(self.meet(guest).await?.identity)
    }

    /// Runs a tool in a guest. One that can change something runs alone in its guest, and once at most for a request.
    ///
    /// # Errors
    /// See the `.proto` file.
    pub async fn run_tool(self: &Arc<Self>, asked: RunTool) -> Result<Ran, Failure> {
        let RunTool { request_id, guest, line } = asked;
        if !line.changes() {
            let found = self.meet(&guest).await?;
            return self.run_in(&found, &guest, &line, PRINTED).await;
        }
        let fingerprint = fingerprint(&("tool", &guest, &line))?;
        let engine = Arc::clone(self);
        let print = fingerprint.clone();
        let work = async move {
            let _turn = engine.turns.acquire().await;
            let found = engine.meet(&guest).await?;
            let _lock = engine.locks.guest(found.identity.netns_cookie).await;
            if engine.records.operation(request_id)?.is_some() {
                return Err(ended_over(&line, &guest));
            }
            let open = open_operation(request_id, print);
            engine.records.intend(&[Write::Operation(Box::new(open.clone()))])?;
            tracing::info!(guest = %guest, request = %request_id, "runs `{line}`");
            let outcome = engine.run_in(&found, &guest, &line, KEPT).await;
            let answer = outcome.map_or_else(Answer::Failed, Answer::Ran);
            engine.settle_answer(Some(&open), answer.clone()).await?;
            Ok(answer)
        };
        match self.operations.answer(request_id, fingerprint, work, on_a_task).await? {
            Answer::Ran(ran) => Ok(ran),
            other => Err(super::list::strange_answer(&other)),
        }
    }

    /// Finds a guest that is none of the host's own namespaces.
    pub(super) async fn meet(&self, guest: &GuestRef) -> Result<Guest, Failure> {
        let mut found = self.guests.find(guest).await?;
        let unreadable = |error| {
            let text = format!("guest \"{guest}\" cannot be looked into: {error}");
            Failure::new(Reason::GuestChanged, text)
        };
        let (cookie, is_host) = self.kernel.identify(&found.netns).await.map_err(unreadable)?;
        found.identity.netns_cookie = cookie;
        if is_host { Err(is_the_host(guest)) } else { Ok(found) }
    }

    async fn run_in(
        &self,
        found: &Guest,
        guest: &GuestRef,
        line: &ToolLine,
        most: u64,
    ) -> Result<Ran, Failure> {
        self.kernel.run_tool(&found.netns, line, most).await.map_err(|error| {
            let reason = match &error {
                ToolError::IsHost => return is_the_host(guest),
                ToolError::Missing(_) => Reason::NotSupportedHere,
                ToolError::TooMuch(_) => Reason::Exhausted,
                ToolError::TooLong => Reason::NotReady,
                ToolError::Io(_) => Reason::GuestChanged,
            };
            Failure::new(reason, format!("cannot run `{line}` in {guest}: {error}"))
        })
    }
}

/// What a tool has done cannot be told, nor undone, so it is not run a second time.
fn ended_over(line: &ToolLine, guest: &GuestRef) -> Failure {
    let text = format!(
        "nobody knows how far an earlier call of this request came with `{line}` in {guest}, since the agent was ended over it \
         or its disk took no answer: look what is there, and run what is missing as a request of its own"
    );
    Failure::new(Reason::StepFailed, text)
}

fn is_the_host(guest: &GuestRef) -> Failure {
    let text = format!("guest \"{guest}\" is in the host's own network namespace, which is left alone");
    Failure::new(Reason::GuestIsHost, text)
}
