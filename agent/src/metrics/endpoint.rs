//! Where Prometheus reads: `GET /metrics` by HTTP/1, and nothing else.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Exposition;
use crate::engine::Engine;
use crate::host::Host;

/// Readers at once; more wait.
const READERS: usize = 4;
/// How long one may take, from its connection to the last byte of the page.
const PATIENCE: Duration = Duration::from_secs(10);
/// What passes after accept(2) refused, for instance because there are no descriptors.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}: {source}; choose another address with --metrics")]
pub struct NoEndpoint {
    address: SocketAddr,
    source: io::Error,
}

/// A socket that is listened on.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
}

impl Endpoint {
    /// Listens on an address.
    ///
    /// # Errors
    /// [`NoEndpoint`].
    pub async fn bind(address: SocketAddr) -> Result<Self, NoEndpoint> {
        let refused = |source| NoEndpoint { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Where it listens, with the port that the kernel chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers readers for as long as the agent runs.
    pub async fn serve<H: Host>(self, engine: Arc<Engine<H>>) {
        let exposition = Arc::new(Exposition::new(engine.meters(), engine.step_times()));
        let readers = Arc::new(Semaphore::new(READERS));
        loop {
            // Its semaphore is never closed.
            let Ok(turn) = Arc::clone(&readers).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (engine, exposition) = (Arc::clone(&engine), Arc::clone(&exposition));
                    tokio::spawn(async move {
                        answer(stream, engine, exposition).await;
                        drop(turn);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a reader of metrics is not let in");
                    tokio::time::sleep(AFTER_REFUSAL).await;
                }
            }
        }
    }
}

async fn answer<H: Host>(stream: TcpStream, engine: Arc<Engine<H>>, exposition: Arc<Exposition>) {
    let service = service_fn(|request| {
        let (engine, exposition) = (Arc::clone(&engine), Arc::clone(&exposition));
        async move { Ok::<_, Infallible>(respond(&request, &engine, &exposition).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(8 << 10)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a reader of metrics went away"),
        Err(_) => tracing::debug!("a reader of metrics took too long"),
    }
}

async fn respond<B, H: Host>(
    request: &Request<B>,
    engine: &Engine<H>,
    exposition: &Exposition,
) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "metrics are only read\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    match exposition.page(&engine.readings().await) {
        Ok(page) => {
            let mut response = Response::new(Full::from(page));
            response.headers_mut().insert(CONTENT_TYPE, OPENMETRICS);
            response
        }
        Err(error) => {
            tracing::error!(%error, "the page of metrics cannot be written");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be written; see the agent's log\n")
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
