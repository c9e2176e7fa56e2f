//! Agents that follow a script, each behind a socket of its own, so that connections can be lost for real.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pipewright_api::client::Endpoint;
use pipewright_api::reason::Failure;
use pipewright_api::spec::HostSpec;
use pipewright_api::wire;
use pipewright_coordinator::name::Name;
use pipewright_coordinator::rollout::Target;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Barrier, Mutex, Notify};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// What an agent does with one call of Apply.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Says that it made a change.
    Change,
    /// Refuses.
    Refuse(Failure),
    /// Makes the change, and the connection is lost before the answer.
    Lose,
    /// The same, and nobody listens any more.
    Die,
    /// Never answers.
    Hang,
    /// Waits until another agent is asked, too.
    Meet(Arc<Barrier>),
}

/// What an agent was asked.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Every call of Apply.
    pub(crate) applies: Mutex<Vec<wire::ApplyRequest>>,
    /// Every call of List.
    pub(crate) lists: Mutex<Vec<wire::ListRequest>>,
}

/// How many calls run at the same time over all agents.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    now: AtomicUsize,
    /// The most there were.
    pub(crate) most: AtomicUsize,
}

#[derive(Debug)]
struct Agent {
    script: Mutex<Vec<Act>>,
    seen: Arc<Seen>,
    crowd: Arc<Crowd>,
    lose: Arc<Notify>,
    die: Arc<Notify>,
    attachments: Vec<wire::Attachment>,
}

/// Some agents, gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Agents {
    folder: TempDir,
    tasks: JoinSet<()>,
    /// Calls at the same time.
    pub(crate) crowd: Arc<Crowd>,
    /// What each was asked.
    pub(crate) seen: BTreeMap<Name, Arc<Seen>>,
}

impl Agents {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            tasks: JoinSet::new(),
            crowd: Arc::default(),
            seen: BTreeMap::new(),
        }
    }

    fn socket(&self, host: &str, end: &str) -> PathBuf {
        self.folder.path().join(format!("{host}.{end}"))
    }

    /// Where an agent listens, or would.
    pub(crate) fn endpoint(&self, host: &str) -> Endpoint {
        Endpoint::Unix(self.socket(host, "sock"))
    }

    /// Starts an agent: one act for each call of Apply, and what it lists.
    pub(crate) fn start(&mut self, host: &str, script: &[Act], attachments: &[wire::Attachment]) {
        let seen = Arc::<Seen>::default();
        let (lose, die) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let agent = Arc::new(Agent {
            script: Mutex::new(script.iter().rev().cloned().collect()),
            seen: seen.clone(),
            crowd: self.crowd.clone(),
            lose: lose.clone(),
            die: die.clone(),
            attachments: attachments.to_vec(),
        });
        self.seen.insert(host.parse().unwrap(), seen);
        let behind = self.socket(host, "behind");
        let listener = UnixListener::bind(&behind).unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(wire::host_server::HostServer::from_arc(agent.clone()))
            .add_service(wire::agent_server::AgentServer::from_arc(agent))
            .serve_with_incoming(UnixListenerStream::new(listener));
        self.tasks.spawn(async { server.await.unwrap() });
        let front = self.socket(host, "sock");
        let listener = UnixListener::bind(&front).unwrap();
        self.tasks.spawn(async move {
            tokio::select! {
                () = forward(&listener, &behind, &lose) => {}
                () = die.notified() => std::fs::remove_file(front).unwrap(),
            }
        });
    }

    /// A host with an empty document.
    pub(crate) fn target(&self, host: &str) -> (Name, Target) {
        let spec = HostSpec { fleet: "lab".parse().unwrap(), switches: Vec::new(), attachments: Vec::new() };
        (host.parse().unwrap(), Target { endpoint: self.endpoint(host), spec })
    }
}

/// Passes connections on, and cuts all of them when told.
async fn forward(listener: &UnixListener, behind: &PathBuf, lose: &Notify) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut stream, _) = accepted.unwrap();
                let mut inner = UnixStream::connect(behind).await.unwrap();
                connections.spawn(async move { copy_bidirectional(&mut stream, &mut inner).await });
            }
            () = lose.notified() => connections.abort_all(),
        }
    }
}

#[tonic::async_trait]
impl wire::host_server::Host for Agent {
    async fn show(&self, _: Request<wire::ShowRequest>) -> Result<Response<wire::ShowResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn diagnose(
        &self,
        _: Request<wire::DiagnoseRequest>,
    ) -> Result<Response<wire::DiagnoseResponse>, Status> {
        Err(Status::unimplemented("no coordinator asks for it"))
    }

    async fn apply(
        &self,
        request: Request<wire::ApplyRequest>,
    ) -> Result<Response<wire::ApplyResponse>, Status> {
        let now = self.crowd.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.crowd.most.fetch_max(now, Ordering::SeqCst);
        self.seen.applies.lock().await.push(request.into_inner());
        let act = self.script.lock().await.pop().expect("the script has an act for every call");
        match act {
            Act::Change => {}
            Act::Meet(barrier) => {
                barrier.wait().await;
            }
            Act::Refuse(failure) => return Err(failure.into()),
            Act::Hang => return std::future::pending().await,
            Act::Lose => {
                self.lose.notify_one();
                return std::future::pending().await;
            }
            Act::Die => {
                self.die.notify_one();
                return std::future::pending().await;
            }
        }
        self.crowd.now.fetch_sub(1, Ordering::SeqCst);
        let change = wire::Change {
            action: wire::ChangeAction::Create.into(),
            object: "switch br0".to_owned(),
            ..wire::Change::default()
        };
        Ok(Response::new(wire::ApplyResponse { changes: vec![change] }))
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl wire::agent_server::Agent for Agent {
    type WatchStream = tokio_stream::Empty<Result<wire::WatchResponse, Status>>;

    async fn list(&self, request: Request<wire::ListRequest>) -> Answer<wire::ListResponse> {
        self.seen.lists.lock().await.push(request.into_inner());
        let attachments = self.attachments.clone();
        Ok(Response::new(wire::ListResponse { attachments, ..wire::ListResponse::default() }))
    }

    async fn attach(&self, _: Request<wire::AttachRequest>) -> Answer<wire::AttachResponse> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn detach(&self, _: Request<wire::DetachRequest>) -> Answer<wire::DetachResponse> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn wait(&self, _: Request<wire::WaitRequest>) -> Answer<wire::WaitResponse> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn watch(&self, _: Request<wire::WatchRequest>) -> Answer<Self::WatchStream> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn get_operation(
        &self,
        _: Request<wire::GetOperationRequest>,
    ) -> Answer<wire::GetOperationResponse> {
        Err(Status::unimplemented("not in the script"))
    }
}
