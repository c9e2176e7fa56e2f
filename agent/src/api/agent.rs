//! `pipewright.v1.Agent`.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use pipewright_api::attachment::Attached;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::{Attach, Detach, GetOperation, List, Wait, Watch};
use pipewright_api::wire::{self, agent_server::Agent};
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

use crate::engine::{Engine, is_meant};
use crate::host::Host;

/// The service.
#[derive(Debug)]
pub(super) struct AgentService<H>(pub(super) Arc<Engine<H>>);

#[tonic::async_trait]
impl<H: Host> Agent for AgentService<H> {
    async fn attach(
        &self,
        request: Request<wire::AttachRequest>,
    ) -> Result<Response<wire::AttachResponse>, Status> {
        let asked = Attach::try_from(request.into_inner())?;
        let (attachment, created) = self.0.attach(asked).await?;
        Ok(Response::new(Attached { attachment, created }.into()))
    }

    async fn detach(
        &self,
        request: Request<wire::DetachRequest>,
    ) -> Result<Response<wire::DetachResponse>, Status> {
        let asked = Detach::try_from(request.into_inner())?;
        Ok(Response::new(self.0.detach(asked).await?.into()))
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let asked = List::try_from(request.into_inner())?;
        Ok(Response::new(self.0.list(&asked).await?.into()))
    }

    async fn wait(
        &self,
        request: Request<wire::WaitRequest>,
    ) -> Result<Response<wire::WaitResponse>, Status> {
        let asked = Wait::try_from(request.into_inner())?;
        Ok(Response::new(self.0.wait(asked).await?.into()))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let Watch { resume, guest } = Watch::try_from(request.into_inner())?;
        let (past, live) = self.0.watch(resume)?;
        let live = BroadcastStream::new(live).map(|change| change.map_err(|_| too_slow()));
        let changes = stream::iter(past.into_iter().map(Ok)).chain(live);
        let events = changes.filter_map(move |change| {
            let wanted = match &change {
                Ok(change) => guest.as_ref().is_none_or(|guest| is_meant(guest, change.guest())),
                Err(_) => true,
            };
            std::future::ready(
                wanted.then(|| change.map(|change| change.event().into()).map_err(Status::from)),
            )
        });
        // Or the agent could not stop while somebody watches.
        Ok(Response::new(Box::pin(events.take_until(self.0.stopped()))))
    }

    async fn get_operation(
        &self,
        request: Request<wire::GetOperationRequest>,
    ) -> Result<Response<wire::GetOperationResponse>, Status> {
        let GetOperation { request_id } = GetOperation::try_from(request.into_inner())?;
        Ok(Response::new(self.0.operation(request_id)?.into()))
    }
}

fn too_slow() -> Failure {
    let text =
        "changes came faster than they were read and some were dropped; list again and watch from there";
    Failure::new(Reason::Resync, text)
}
