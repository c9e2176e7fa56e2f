//! How callers name guests.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::net::{ParseError, as_text};

/// How a caller names a guest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum GuestRef {
    /// `docker:NAME`, or a full or shortened container id.
    Docker(String),
    /// `podman:NAME`, or a full or shortened container id.
    Podman(String),
    /// `lxc:NAME`.
    Lxc(String),
    /// `containerd:ID` or `containerd:NAMESPACE/ID`, the id full or shortened.
    Containerd(ContainerdRef),
    /// `crio:ID`, full or shortened.
    Crio(String),
    /// `machined:NAME`: a container that systemd-machined knows.
    Machined(String),
    /// `pid:N`: the network namespace of a process.
    Pid(u32),
    /// `netns:NAME`: a namespace made by `ip netns add`.
    NetnsName(String),
    /// `netns:/PATH`: a mounted namespace, below `/run/netns` or `/run/docker/netns`.
    NetnsPath(PathBuf),
    /// A bare word, looked up in that order.
    Bare(String),
}

/// A container of containerd.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerdRef {
    /// `None`: any namespace of containerd's.
    pub namespace: Option<String>,
    /// Its id, or a beginning of it.
    pub id: String,
}

impl FromStr for GuestRef {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = |why: &str| ParseError::new(text, "a guest", why);
        let name = |name: &str| match is_guest_name(name) {
            true => Ok(name.to_owned()),
            false => Err(refuse(
                "a name is 1 to 128 letters, digits, '_', '.' and '-', and begins with a letter or digit",
            )),
        };
        match text.split_once(':') {
            None => Ok(Self::Bare(name(text)?)),
            Some(("docker", rest)) => Ok(Self::Docker(name(rest)?)),
            Some(("podman", rest)) => Ok(Self::Podman(name(rest)?)),
            Some(("lxc", rest)) => Ok(Self::Lxc(name(rest)?)),
            Some(("containerd", rest)) => Ok(Self::Containerd(match rest.split_once('/') {
                Some((namespace, id)) => ContainerdRef { namespace: Some(name(namespace)?), id: name(id)? },
                None => ContainerdRef { namespace: None, id: name(rest)? },
            })),
            Some(("crio", rest)) => Ok(Self::Crio(name(rest)?)),
            Some(("machined", rest)) => Ok(Self::Machined(name(rest)?)),
            Some(("pid", rest)) => match rest.parse() {
                Ok(pid @ 2..) => Ok(Self::Pid(pid)),
                Ok(_) | Err(_) => Err(refuse("a pid is a number from 2 on; 1 is the host itself")),
            },
            Some(("netns", path)) if path.starts_with('/') => {
                let file = ["/run/netns/", "/var/run/netns/", "/run/docker/netns/", "/var/run/docker/netns/"]
                    .iter()
                    .find_map(|folder| path.strip_prefix(folder));
                match file {
                    Some(file) if is_guest_name(file) => Ok(Self::NetnsPath(PathBuf::from(path))),
                    _ => Err(refuse("a path names a file in /run/netns or /run/docker/netns")),
                }
            }
            Some(("netns", rest)) => Ok(Self::NetnsName(name(rest)?)),
            Some(_) => Err(refuse(
                "use docker:NAME, podman:NAME, lxc:NAME, containerd:ID, crio:ID, machined:NAME, pid:N, netns:NAME or a bare name",
            )),
        }
    }
}

/// Docker's rule for a container's name; a container's id and the names that other runtimes and `ip netns` can make fit it,
/// too.
fn is_guest_name(text: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.len() <= 128 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(rest)
}

impl fmt::Display for GuestRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Docker(name) => write!(f, "docker:{name}"),
            Self::Podman(name) => write!(f, "podman:{name}"),
            Self::Lxc(name) => write!(f, "lxc:{name}"),
            Self::Containerd(ContainerdRef { namespace: Some(namespace), id }) => {
                write!(f, "containerd:{namespace}/{id}")
            }
            Self::Containerd(ContainerdRef { namespace: None, id }) => write!(f, "containerd:{id}"),
            Self::Crio(id) => write!(f, "crio:{id}"),
            Self::Machined(name) => write!(f, "machined:{name}"),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::NetnsName(name) => write!(f, "netns:{name}"),
            Self::NetnsPath(path) => write!(f, "netns:{}", path.display()),
            Self::Bare(word) => f.write_str(word),
        }
    }
}

as_text!(GuestRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_guest_survives_its_text() {
        for text in [
            "docker:web",
            "podman:0123456789ab",
            "lxc:web-1",
            "containerd:web",
            "containerd:k8s.io/0123456789ab",
            "crio:0123456789ab",
            "machined:web",
            "pid:2",
            "netns:web",
            "netns:/run/netns/web",
            "web",
        ] {
            assert_eq!(text.parse::<GuestRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_could_be_a_path_of_somebodys_files_is_no_name() {
        for text in [
            "lxc:",
            "lxc:../web",
            "lxc:a/b",
            "machined:unit:web.scope",
            "crio:a/b",
            "containerd:/web",
            "containerd:k8s.io/",
            "containerd:k8s.io/../web",
            "containerd:../default/web",
            "containerd:a/b/c",
            "podman:.",
            "garden:web",
        ] {
            assert!(text.parse::<GuestRef>().is_err(), "{text} was taken");
        }
    }
}
