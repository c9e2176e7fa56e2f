//! Where an OVSDB server listens.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use pipewright_api::net::ParseError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// `unix:PATH` or `tcp:HOST:PORT`, as ovs-vsctl(8) writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket in the file system.
    Unix(PathBuf),
    /// Host (without brackets) and port.
    Tcp(String, u16),
}

/// A connection of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Endpoint {
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Self::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                // Requests are small and each is waited for.
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl FromStr for Endpoint {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = |why: &str| ParseError::new(text, "an OVSDB endpoint", why);
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(("unix", _)) => Err(refuse("the path of a unix socket begins with '/'")),
            Some(("tcp", rest)) => {
                let (host, port) = rest.rsplit_once(':').ok_or_else(|| refuse("write tcp:HOST:PORT"))?;
                let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
                let port = port.parse().map_err(|_| refuse("the port is a number from 1 to 65535"))?;
                match host.is_empty() || port == 0 {
                    true => Err(refuse("write tcp:HOST:PORT")),
                    false => Ok(Self::Tcp(host.to_owned(), port)),
                }
            }
            Some(("ssl", _)) => Err(refuse("TLS to OVSDB is not built yet; use unix:PATH or tcp:HOST:PORT")),
            Some(_) | None => Err(refuse("use unix:PATH or tcp:HOST:PORT")),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "tcp:{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_as_it_is_written() {
        for text in ["unix:/var/run/openvswitch/db.sock", "tcp:192.0.2.1:6640", "tcp:[2001:db8::1]:6640"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_reached_is_refused() {
        for text in [
            "ssl:192.0.2.1:6640",
            "unix:db.sock",
            "tcp:192.0.2.1",
            "tcp::6640",
            "tcp:h:0",
            "/run/db.sock",
            "",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
        assert!("ssl:h:1".parse::<Endpoint>().unwrap_err().to_string().contains("not built yet"));
    }
}
