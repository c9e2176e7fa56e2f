//! `pipewright.v1.Guest`.

use std::sync::Arc;

use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::{ChangeTraffic, Find, ListTraffic, RunTool};
use pipewright_api::wire;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use crate::engine::Engine;
use crate::host::Host;

/// The service.
#[derive(Debug)]
pub(super) struct GuestService<H>(pub(super) Arc<Engine<H>>);

#[tonic::async_trait]
impl<H: Host> wire::guest_server::Guest for GuestService<H> {
    async fn find(
        &self,
        request: Request<wire::FindRequest>,
    ) -> Result<Response<wire::FindResponse>, Status> {
        let asked = Find::try_from(request.into_inner())?;
        Ok(Response::new(self.0.find(&asked.guest).await?.into()))
    }

    async fn run_tool(
        &self,
        request: Request<wire::RunToolRequest>,
    ) -> Result<Response<wire::RunToolResponse>, Status> {
        only_locally(&request)?;
        let asked = RunTool::try_from(request.into_inner())?;
        Ok(Response::new(self.0.run_tool(asked).await?.into()))
    }

    async fn add_traffic(
        &self,
        request: Request<wire::AddTrafficRequest>,
    ) -> Result<Response<wire::AddTrafficResponse>, Status> {
        let asked = ChangeTraffic::try_from(request.into_inner())?;
        Ok(Response::new(self.0.add_traffic(asked).await?.into()))
    }

    async fn remove_traffic(
        &self,
        request: Request<wire::RemoveTrafficRequest>,
    ) -> Result<Response<wire::RemoveTrafficResponse>, Status> {
        let asked = ChangeTraffic::try_from(request.into_inner())?;
        Ok(Response::new(self.0.remove_traffic(asked).await?.into()))
    }

    async fn list_traffic(
        &self,
        request: Request<wire::ListTrafficRequest>,
    ) -> Result<Response<wire::ListTrafficResponse>, Status> {
        let asked = ListTraffic::try_from(request.into_inner())?;
        Ok(Response::new(self.0.list_traffic(&asked.guest).await?.into()))
    }
}

/// Who may open the socket's file is an administrator of the host; of a caller from elsewhere nothing is known.
fn only_locally<T>(request: &Request<T>) -> Result<(), Failure> {
    match request.extensions().get::<UdsConnectInfo>() {
        Some(_) => Ok(()),
        None => {
            let text = "tools run for callers on the agent's unix socket only; run pwctl on that host";
            Err(Failure::new(Reason::NotGranted, text))
        }
    }
}
