//! Docker containers, over the Engine API. One warm connection; requests carry no version, so the daemon answers in its
//! own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bollard::errors::Error;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;
use pipewright_api::attachment::{GuestIdentity, Runtime};
use pipewright_api::reason::{Failure, Reason};

use super::{Guest, process};

/// Seconds that Docker has to answer.
const TIMEOUT: u64 = 10;

/// The Docker daemon of this host, which may be away.
#[derive(Debug, Clone)]
pub struct Docker {
    socket: PathBuf,
    client: Arc<OnceLock<bollard::Docker>>,
}

impl Docker {
    /// Docker at that unix socket. Nothing is connected before it is needed.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), client: Arc::default() }
    }

    fn client(&self) -> Result<&bollard::Docker, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let path = self.socket.to_string_lossy();
        let client = bollard::Docker::connect_with_unix(&path, TIMEOUT, bollard::API_DEFAULT_VERSION)
            .map_err(|error| self.down(&error))?;
        Ok(self.client.get_or_init(|| client))
    }

    fn down(&self, error: &Error) -> Failure {
        let text = format!(
            "Docker does not answer at {}: {error}; start it, or name the guest by pid:N or netns:NAME",
            self.socket.display()
        );
        Failure::new(Reason::DockerDown, text)
    }

    /// The daemon's version.
    ///
    /// # Errors
    /// DOCKER_DOWN.
    pub async fn version(&self) -> Result<String, Failure> {
        let version = self.client()?.version().await.map_err(|error| self.down(&error))?;
        Ok(version.version.unwrap_or_default())
    }

    /// A container by name, id, or the beginning of its id; `None` when there is none.
    ///
    /// # Errors
    /// DOCKER_DOWN, GUEST_NOT_RUNNING, GUEST_IS_HOST, GUEST_CHANGED.
    pub async fn find(&self, name: &str) -> Result<Option<Guest>, Failure> {
        let answer = self.client()?.inspect_container(name, None::<InspectContainerOptions>).await;
        match answer {
            Ok(container) => open(name, container).map(Some),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            // Two ids begin with the same characters.
            Err(Error::DockerResponseServerError { status_code: 400, message }) => Err(Failure::new(
                Reason::GuestAmbiguous,
                format!("container \"{name}\": {message}; write more of its id"),
            )),
            Err(error) => Err(self.down(&error)),
        }
    }
}

fn open(asked: &str, container: ContainerInspectResponse) -> Result<Guest, Failure> {
    let id = container.id.unwrap_or_default();
    let name = container.name.unwrap_or_default().trim_start_matches('/').to_owned();
    let state = container.state.unwrap_or_default();
    let mode = container.host_config.and_then(|config| config.network_mode).unwrap_or_default();
    if mode == "host" {
        let text = format!(
            "guest \"{asked}\" runs with --net=host: its links are the host's own, which are left alone"
        );
        return Err(Failure::new(Reason::GuestIsHost, text));
    }
    let Some(pid) = state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0) else {
        let status = state.status.map_or_else(|| "not running".to_owned(), |status| status.to_string());
        let text = format!("guest \"{asked}\" is {status}; start it with `docker start {asked}`");
        return Err(Failure::new(Reason::GuestNotRunning, text));
    };
    let netns = process::open(pid, &id).map_err(|failure| match failure.reason() {
        // It ran when Docker was asked, a moment ago.
        Reason::GuestNotFound => Failure::new(
            Reason::GuestChanged,
            format!("guest \"{asked}\" stopped or restarted meanwhile; ask again"),
        ),
        _ => failure,
    })?;
    let started_at = state.started_at.unwrap_or_default();
    let identity =
        GuestIdentity { runtime: Runtime::Docker, id, name, pid: Some(pid), netns_cookie: 0, started_at };
    Ok(Guest { identity, netns })
}
