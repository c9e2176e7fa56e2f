//! Sockets, limits, and the way up and down.

use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use pipewright_api::wire;
use pipewright_api::wire::agent_server::AgentServer;
use pipewright_api::wire::guest_server::GuestServer;
use pipewright_api::wire::host_server::HostServer;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::transport::server::Router;

use super::agent::AgentService;
use super::guest::GuestService;
use super::host::HostService;
use crate::config::Listen;
use crate::engine::Engine;
use crate::host::Host;

/// Largest request in bytes; a document of a host with thousands of attachments fits.
const MAX_REQUEST: usize = 4 << 20;
/// Largest answer in bytes.
const MAX_ANSWER: usize = 8 << 20;
/// Calls that one connection may have open.
const MAX_STREAMS: u32 = 64;
/// Largest set of headers in bytes.
const MAX_HEADERS: u32 = 8 << 10;
/// How long a silent connection is left alone, and how long it has to answer then.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(5));

/// Why the agent cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else is there.
    #[error("another agent answers on unix:{0}; stop it, or choose another path with --listen")]
    InUse(PathBuf),
    /// It cannot be listened on.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address.
        listen: Listen,
        /// Why.
        source: io::Error,
    },
    /// The gRPC server ended.
    #[error("the gRPC server ended: {0}")]
    Server(#[from] tonic::transport::Error),
    /// The descriptors of our own messages do not parse.
    #[error("gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves the engine on every address until `stop` is done, then answers what was begun.
/// `ready` is called once all of them can be reached.
///
/// # Errors
/// [`ServeError`].
pub async fn serve<H: Host>(
    engine: Arc<Engine<H>>,
    listens: Vec<Listen>,
    ready: impl FnOnce(&[Listen]),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<AgentServer<AgentService<H>>>().await;
    reporter.set_serving::<HostServer<HostService<H>>>().await;
    reporter.set_serving::<GuestServer<GuestService<H>>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(wire::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let agent = AgentServer::new(AgentService(Arc::clone(&engine)))
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(MAX_ANSWER);
    let host = HostServer::new(HostService(Arc::clone(&engine)))
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(MAX_ANSWER);
    let guest = GuestServer::new(GuestService(Arc::clone(&engine)))
        .max_decoding_message_size(MAX_REQUEST)
        .max_encoding_message_size(MAX_ANSWER);
    let router = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .http2_max_pending_accept_reset_streams(Some(20))
        .add_service(health)
        .add_service(reflection)
        .add_service(agent)
        .add_service(host)
        .add_service(guest);
    let mut doors = Vec::new();
    for listen in &listens {
        doors.push(Door::open(listen).await?);
    }
    ready(&listens);
    let (closing, closed) = watch::channel(false);
    let serving = try_join_all(doors.into_iter().map(|door| door.serve(router.clone(), closed.clone())));
    let stopping = async {
        stop.await;
        reporter.set_not_serving::<AgentServer<AgentService<H>>>().await;
        engine.drain().await;
        closing.send_replace(true);
    };
    let (served, ()) = tokio::join!(serving, stopping);
    served.map(|_| ())
}

/// One address that is listened on.
enum Door {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Door {
    async fn open(listen: &Listen) -> Result<Self, ServeError> {
        let refused = |source| ServeError::Listen { listen: listen.clone(), source };
        match listen {
            Listen::Unix(path) => {
                clear_the_way(path).map_err(|error| match error.kind() {
                    io::ErrorKind::AddrInUse => ServeError::InUse(path.clone()),
                    _ => refused(error),
                })?;
                let listener = bind_privately(path).map_err(refused)?;
                Ok(Self::Unix(listener, path.clone()))
            }
            Listen::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await.map_err(refused)?)),
        }
    }

    async fn serve(self, router: Router, mut closed: watch::Receiver<bool>) -> Result<(), ServeError> {
        let end = async move {
            // An error means that the sender is gone, which ends the service, too.
            let _ = closed.wait_for(|closed| *closed).await;
        };
        match self {
            Self::Unix(listener, path) => {
                let connections = UnixListenerStream::new(listener);
                let served = router.serve_with_incoming_shutdown(connections, end).await;
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!("socket {} stays behind: {error}", path.display());
                }
                Ok(served?)
            }
            Self::Tcp(listener) => {
                Ok(router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), end).await?)
            }
        }
    }
}

/// Makes the socket's directory, and removes the socket of an agent that died. One that answers is left alone.
fn clear_the_way(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        std::fs::create_dir_all(folder)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o750))?;
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Binds under a name that nobody can know, and gives it its real one when its permissions are right: between binding
/// and chmod(2) anybody could connect otherwise.
fn bind_privately(path: &Path) -> io::Result<UnixListener> {
    let hidden = path.with_extension(format!("{}", uuid::Uuid::new_v4().simple()));
    let listener = UnixListener::bind(&hidden)?;
    let placed = std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o660))
        .and_then(|()| std::fs::rename(&hidden, path));
    match placed {
        Ok(()) => Ok(listener),
        Err(error) => {
            // The first error is the one to tell; the hidden name may stay.
            let _ = std::fs::remove_file(&hidden);
            Err(error)
        }
    }
}
