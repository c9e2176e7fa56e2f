//! `pipewright.v1.Host`.

use std::sync::Arc;

use pipewright_api::request::{Apply, Diagnose};
use pipewright_api::wire;
use tonic::{Request, Response, Status};

use crate::engine::Engine;
use crate::host::Host;

/// The service.
#[derive(Debug)]
pub(super) struct HostService<H>(pub(super) Arc<Engine<H>>);

#[tonic::async_trait]
impl<H: Host> wire::host_server::Host for HostService<H> {
    async fn show(&self, _: Request<wire::ShowRequest>) -> Result<Response<wire::ShowResponse>, Status> {
        Ok(Response::new(self.0.show().await?.into()))
    }

    async fn diagnose(
        &self,
        request: Request<wire::DiagnoseRequest>,
    ) -> Result<Response<wire::DiagnoseResponse>, Status> {
        let asked = Diagnose::try_from(request.into_inner())?;
        Ok(Response::new(self.0.diagnose(asked).await?.into()))
    }

    async fn apply(
        &self,
        request: Request<wire::ApplyRequest>,
    ) -> Result<Response<wire::ApplyResponse>, Status> {
        let asked = Apply::try_from(request.into_inner())?;
        Ok(Response::new(self.0.apply(asked).await?.into()))
    }
}
