//! Docker containers, over the Engine API, which Podman serves, too. One warm connection; requests carry no version, so the
//! daemon answers in its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bollard::errors::Error;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;
use pipewright_api::attachment::{GuestIdentity, Runtime};
use pipewright_api::reason::{Failure, Reason};

use super::{Guest, is_host, process};

/// Seconds that Docker has to answer.
const TIMEOUT: u64 = 10;

/// Who serves the API.
#[derive(Debug)]
pub(super) struct Server {
    /// Whose containers these are.
    pub(super) runtime: Runtime,
    /// As its makers write it.
    pub(super) name: &'static str,
    /// Its command line.
    pub(super) command: &'static str,
    /// Why it is of no help while it is away.
    pub(super) down: Reason,
}

const DOCKER: Server =
    Server { runtime: Runtime::Docker, name: "Docker", command: "docker", down: Reason::DockerDown };

/// The Docker daemon of this host, or what speaks as it does; it may be away.
#[derive(Debug, Clone)]
pub struct Docker {
    server: &'static Server,
    socket: PathBuf,
    client: Arc<OnceLock<bollard::Docker>>,
}

impl Docker {
    /// Docker at that unix socket. Nothing is connected before it is needed.
    pub fn new(socket: &Path) -> Self {
        Self::served_by(&DOCKER, socket)
    }

    pub(super) fn served_by(server: &'static Server, socket: &Path) -> Self {
        Self { server, socket: socket.to_owned(), client: Arc::default() }
    }

    /// Whether its socket is there, so that somebody meant it to be.
    pub(crate) fn is_installed(&self) -> bool {
        self.socket.exists()
    }

    pub(super) fn runtime(&self) -> Runtime {
        self.server.runtime
    }

    pub(super) fn client(&self) -> Result<&bollard::Docker, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let path = self.socket.to_string_lossy();
        let client = bollard::Docker::connect_with_unix(&path, TIMEOUT, bollard::API_DEFAULT_VERSION)
            .map_err(|error| self.down(&error))?;
        Ok(self.client.get_or_init(|| client))
    }

    pub(super) fn down(&self, error: &Error) -> Failure {
        let text = format!(
            "{} does not answer at {}: {error}; start it, or name the guest by pid:N or netns:NAME",
            self.server.name,
            self.socket.display()
        );
        Failure::new(self.server.down, text)
    }

    /// It closed a connection that it should have kept.
    pub(super) fn silent(&self) -> Failure {
        let Server { name, down, .. } = self.server;
        Failure::new(*down, format!("{name} at {} ended its events", self.socket.display()))
    }

    /// The daemon's version.
    ///
    /// # Errors
    /// DOCKER_DOWN or PODMAN_DOWN.
    pub async fn version(&self) -> Result<String, Failure> {
        let version = self.client()?.version().await.map_err(|error| self.down(&error))?;
        Ok(version.version.unwrap_or_default())
    }

    /// A container by name, id, or the beginning of its id; `None` when there is none.
    ///
    /// # Errors
    /// DOCKER_DOWN or PODMAN_DOWN, GUEST_NOT_RUNNING, GUEST_IS_HOST, GUEST_CHANGED, GUEST_AMBIGUOUS.
    pub async fn find(&self, name: &str) -> Result<Option<Guest>, Failure> {
        let answer = self.client()?.inspect_container(name, None::<InspectContainerOptions>).await;
        match answer {
            Ok(container) => open(self.server, name, container).map(Some),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            // Two ids begin with the same characters.
            Err(Error::DockerResponseServerError { status_code, message })
                if status_code == 400 || message.contains("more than one result") =>
            {
                let text = format!("container \"{name}\": {message}; write more of its id");
                Err(Failure::new(Reason::GuestAmbiguous, text))
            }
            Err(error) => Err(self.down(&error)),
        }
    }
}

fn open(server: &Server, asked: &str, container: ContainerInspectResponse) -> Result<Guest, Failure> {
    let id = container.id.unwrap_or_default();
    let name = container.name.unwrap_or_default().trim_start_matches('/').to_owned();
    let state = container.state.unwrap_or_default();
    let mode = container.host_config.and_then(|config| config.network_mode).unwrap_or_default();
    if mode == "host" {
        return Err(is_host(asked));
    }
    let Some(pid) = state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0) else {
        let status = state.status.map_or_else(|| "not running".to_owned(), |status| status.to_string());
        let text = format!("guest \"{asked}\" is {status}; start it with `{} start {asked}`", server.command);
        return Err(Failure::new(Reason::GuestNotRunning, text));
    };
    let netns = process::open(pid, &id).map_err(|failure| match failure.reason() {
        // It ran when the server was asked, a moment ago.
        Reason::GuestNotFound => changed(asked),
        _ => failure,
    })?;
    let started_at = state.started_at.unwrap_or_default();
    let runtime = server.runtime;
    let identity = GuestIdentity { runtime, id, name, pid: Some(pid), netns_cookie: 0, started_at };
    Ok(Guest { identity, netns })
}

/// It was there a moment ago.
pub(super) fn changed(asked: &str) -> Failure {
    let text = format!("guest \"{asked}\" stopped or restarted meanwhile; ask again");
    Failure::new(Reason::GuestChanged, text)
}
