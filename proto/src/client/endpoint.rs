//! Where an agent listens.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Uri};

use crate::net::{ParseError, as_text};

/// The socket of the agent of this host, unless it was started with another one.
pub const LOCAL: &str = "/run/pipewright/agent.sock";

/// How often an idle connection is probed, and how long the answer may take, before it is given up: a host that lost its
/// power does not close its connections.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(5));
/// A host that does not answer a connection in this time is down.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Where an agent listens. The default is the agent of this host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Endpoint {
    /// `unix:PATH`.
    Unix(PathBuf),
    /// `http://HOST:PORT`, without encryption.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address in brackets.
        host: String,
        /// Not zero.
        port: u16,
    },
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::Unix(PathBuf::from(LOCAL))
    }
}

impl FromStr for Endpoint {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = |why: &str| Err(ParseError::new(text, "an endpoint", why));
        if let Some(rest) = text.strip_prefix("unix:") {
            // Both unix:/PATH and unix:///PATH are in use (gRPC name resolution).
            let path = rest.strip_prefix("//").unwrap_or(rest);
            return match path.starts_with('/') && !path.contains('\0') {
                true => Ok(Self::Unix(PathBuf::from(path))),
                false => {
                    refuse("the path of a socket begins with '/', as in unix:/run/pipewright/agent.sock")
                }
            };
        }
        if text.starts_with("https://") {
            return refuse(
                "TLS is not built yet: use unix:PATH through an ssh tunnel, or http://HOST:PORT in a network of trust",
            );
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return refuse("use unix:PATH or http://HOST:PORT");
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        match authority.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port @ 1..))) if is_host(host) => Ok(Self::Tcp { host: host.to_owned(), port }),
            _ => refuse("use http://HOST:PORT, with an IPv6 address in brackets"),
        }
    }
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            !text.is_empty() && text.chars().all(allowed)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } => write!(f, "http://{host}:{port}"),
        }
    }
}

as_text!(Endpoint);

impl Endpoint {
    /// A channel that connects when it is first used, and again whenever the connection is gone.
    pub(super) fn channel(&self, timeout: Duration) -> Result<Channel, tonic::transport::Error> {
        let uri = match self {
            // Only names the authority in the requests.
            Self::Unix(_) => "http://localhost".to_owned(),
            Self::Tcp { .. } => self.to_string(),
        };
        let (every, patience) = KEEPALIVE;
        let settings = tonic::transport::Endpoint::from_shared(uri)?
            .http2_keep_alive_interval(every)
            .keep_alive_timeout(patience)
            .keep_alive_while_idle(true);
        // Well before the call's own deadline, after which nobody could say whether the request was sent.
        let within = CONNECT_MAX.min(timeout / 2);
        Ok(match self {
            Self::Unix(path) => {
                let path = path.clone();
                settings.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                    dial(within, UnixStream::connect(path.clone()))
                }))
            }
            Self::Tcp { host, port } => {
                let address = format!("{host}:{port}");
                settings.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                    dial(within, connect_tcp(address.clone()))
                }))
            }
        })
    }
}

async fn connect_tcp(address: String) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Requests are smaller than a segment and would wait for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn dial<S>(within: Duration, connect: impl Future<Output = io::Result<S>>) -> io::Result<TokioIo<S>> {
    match tokio::time::timeout(within, connect).await {
        Ok(connected) => connected.map(TokioIo::new),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {within:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_survive_their_text() {
        for text in [
            "unix:/run/pipewright/agent.sock",
            "unix:/tmp/with space/and%20percent.sock",
            "http://192.0.2.1:7443",
            "http://[2001:db8::1]:7443",
            "http://host-a.example:80",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        let same = ["unix:///run/pipewright/agent.sock", "unix:/run/pipewright/agent.sock"];
        assert!(same.iter().all(|text| text.parse::<Endpoint>().unwrap() == Endpoint::default()));
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in [
            "",
            "/run/pipewright/agent.sock",
            "unix:",
            "unix:agent.sock",
            "unix://agent.sock",
            "tcp:192.0.2.1:7443",
            "192.0.2.1:7443",
            "http://",
            "http://192.0.2.1",
            "http://192.0.2.1:0",
            "http://192.0.2.1:65536",
            "http://2001:db8::1:7443",
            "http://[192.0.2.1]:7443",
            "http://user@host:7443",
            "http://host:7443/path",
            "http://:7443",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text} was taken");
        }
    }

    #[test]
    fn https_is_refused_with_what_is_missing() {
        let error = "https://192.0.2.1:7443".parse::<Endpoint>().unwrap_err();

        assert!(error.to_string().contains("TLS is not built yet"), "{error}");
    }
}
