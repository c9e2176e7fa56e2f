//! An agent that answers every call in one way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pipewright_api::client::Endpoint;
use pipewright_api::reason::Failure;
use pipewright_api::wire;
use pipewright_api::wire::agent_server::{Agent, AgentServer};
use pipewright_api::wire::attachment_spec::Addressing;
use pipewright_api::wire::host_server::{Host, HostServer};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// How it answers.
pub(crate) enum Answer {
    Never,
    Refuse(Failure),
    Status(Status),
    Attach(Box<wire::AttachResponse>),
    /// The first page to the first call, and so on.
    Pages(Vec<wire::ListResponse>),
    Events(Vec<wire::WatchResponse>, Failure),
    WaitFor(Duration),
}

/// One that runs, on threads of its own: stopping them closes its connections as the death of a process does.
pub(crate) struct Standin {
    pub(crate) endpoint: Endpoint,
    folder: Option<TempDir>,
    asked: Arc<Notify>,
    threads: Option<Runtime>,
}

impl Standin {
    pub(crate) fn start(answer: Answer) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), answer)
    }

    pub(crate) fn start_in(folder: TempDir, answer: Answer) -> Self {
        let path = folder.path().join("agent.sock");
        let asked = Arc::new(Notify::new());
        let service = Service { answer: Arc::new(answer), calls: Arc::default(), asked: asked.clone() };
        let threads =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        serve(&path, service, &threads);
        Self { endpoint: Endpoint::Unix(path), folder: Some(folder), asked, threads: Some(threads) }
    }

    /// Until a call without an answer of its own has arrived.
    pub(crate) async fn is_asked(&self) {
        self.asked.notified().await;
    }

    /// Dies with every connection; its folder is left.
    pub(crate) async fn kill(mut self) -> TempDir {
        let threads = self.threads.take().unwrap();
        let patience = Duration::from_secs(20);
        tokio::task::spawn_blocking(move || threads.shutdown_timeout(patience)).await.unwrap();
        self.folder.take().unwrap()
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Listens before it returns.
fn serve(path: &Path, service: Service, threads: &Runtime) {
    if path.exists() {
        std::fs::remove_file(path).unwrap();
    }
    let _on_its_threads = threads.enter();
    let incoming = UnixListenerStream::new(UnixListener::bind(path).unwrap());
    let server = Server::builder()
        .add_service(AgentServer::new(service.clone()))
        .add_service(HostServer::new(service))
        .serve_with_incoming(incoming);
    threads.spawn(server);
}

#[derive(Clone)]
struct Service {
    answer: Arc<Answer>,
    calls: Arc<AtomicUsize>,
    asked: Arc<Notify>,
}

impl Service {
    /// The answer to a call that this stand-in has no message for.
    async fn otherwise<T>(&self) -> Result<Response<T>, Status> {
        self.asked.notify_one();
        match &*self.answer {
            Answer::Refuse(failure) => Err(failure.clone().into()),
            Answer::Status(status) => Err(status.clone()),
            _ => std::future::pending().await,
        }
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<wire::WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for Service {
    type WatchStream = Events;

    async fn attach(
        &self,
        _: Request<wire::AttachRequest>,
    ) -> Result<Response<wire::AttachResponse>, Status> {
        match &*self.answer {
            Answer::Attach(answer) => Ok(Response::new((**answer).clone())),
            _ => self.otherwise().await,
        }
    }

    async fn detach(
        &self,
        _: Request<wire::DetachRequest>,
    ) -> Result<Response<wire::DetachResponse>, Status> {
        self.otherwise().await
    }

    async fn list(
        &self,
        request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let Answer::Pages(pages) = &*self.answer else { return self.otherwise().await };
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let token = match call {
            0 => "",
            call => &pages[call - 1].next_page_token,
        };
        assert_eq!(request.get_ref().page_token, token, "token of call {call}");
        Ok(Response::new(pages[call].clone()))
    }

    async fn wait(&self, _: Request<wire::WaitRequest>) -> Result<Response<wire::WaitResponse>, Status> {
        let Answer::WaitFor(time) = &*self.answer else { return self.otherwise().await };
        tokio::time::sleep(*time).await;
        let state = wire::GuestLinkState { exists: true, up: true, ..wire::GuestLinkState::default() };
        Ok(Response::new(wire::WaitResponse { state: Some(state) }))
    }

    async fn watch(&self, _: Request<wire::WatchRequest>) -> Result<Response<Events>, Status> {
        let Answer::Events(events, end) = &*self.answer else { return self.otherwise().await };
        let events: Vec<_> = events.iter().cloned().map(Ok).collect();
        let end = Status::from(end.clone());
        Ok(Response::new(Box::pin(tokio_stream::iter(events).chain(tokio_stream::once(Err(end))))))
    }

    async fn get_operation(
        &self,
        _: Request<wire::GetOperationRequest>,
    ) -> Result<Response<wire::GetOperationResponse>, Status> {
        self.otherwise().await
    }
}

#[tonic::async_trait]
impl Host for Service {
    async fn show(&self, _: Request<wire::ShowRequest>) -> Result<Response<wire::ShowResponse>, Status> {
        self.otherwise().await
    }

    async fn diagnose(
        &self,
        _: Request<wire::DiagnoseRequest>,
    ) -> Result<Response<wire::DiagnoseResponse>, Status> {
        self.otherwise().await
    }

    async fn apply(&self, _: Request<wire::ApplyRequest>) -> Result<Response<wire::ApplyResponse>, Status> {
        self.otherwise().await
    }
}

/// An attachment with this id.
pub(crate) fn attachment(id: u128) -> wire::Attachment {
    wire::Attachment {
        id: uuid::Uuid::from_u128(id).to_string(),
        spec: Some(wire::AttachmentSpec {
            guest: "docker:web".to_owned(),
            ifname: "eth1".to_owned(),
            uplink: "br0".to_owned(),
            addressing: Some(Addressing::NoAddress(wire::NoAddress {})),
            ..wire::AttachmentSpec::default()
        }),
        state: wire::AttachmentState::Attached.into(),
        guest: Some(wire::GuestIdentity { runtime: "docker".to_owned(), ..wire::GuestIdentity::default() }),
        host_ifname: "pwabcdefghijkl".to_owned(),
        mac: "02:00:5e:10:00:01".to_owned(),
        mtu: 1500,
        created_at: Some(pbjson_types::Timestamp { seconds: 0, nanos: 0 }),
        ..wire::Attachment::default()
    }
}
