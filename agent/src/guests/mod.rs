//! Whose network namespace is meant: names become an open namespace and an identity that cannot be reused.

use std::path::Path;

use pipewright_api::attachment::{GuestIdentity, Runtime};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::GuestRef;

use crate::host::netns::Netns;

mod docker;
mod named;
mod process;

pub use docker::Docker;

/// A guest as it was found. The namespace is held for one operation only.
#[derive(Debug)]
pub struct Guest {
    /// Which one.
    pub identity: GuestIdentity,
    /// Its network namespace.
    pub netns: Netns,
}

/// The runtimes of this host.
#[derive(Debug, Clone)]
pub struct Guests {
    docker: Docker,
}

impl Guests {
    /// Looks guests up with this Docker.
    pub fn new(docker: Docker) -> Self {
        Self { docker }
    }

    /// The Docker that containers are looked up with.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Finds a guest and opens its network namespace.
    ///
    /// # Errors
    /// GUEST_NOT_FOUND, GUEST_NOT_RUNNING, GUEST_AMBIGUOUS, GUEST_CHANGED, DOCKER_DOWN; each names the guest.
    pub async fn find(&self, guest: &GuestRef) -> Result<Guest, Failure> {
        match guest {
            GuestRef::Docker(name) => match self.docker.find(name).await? {
                Some(guest) => Ok(guest),
                None => Err(not_found(name, "no container of that name or id; see `docker ps -a`")),
            },
            GuestRef::Pid(pid) => process::find(*pid),
            GuestRef::NetnsName(name) => match named::find(name)? {
                Some(guest) => Ok(guest),
                None => Err(not_found(name, "no network namespace of that name; see `ip netns list`")),
            },
            GuestRef::NetnsPath(path) => named::at(path),
            GuestRef::Bare(word) => self.find_bare(word).await,
        }
    }

    /// A bare word: a Docker container, a pid or a named namespace; more than one is an error.
    async fn find_bare(&self, word: &str) -> Result<Guest, Failure> {
        let docker = self.docker.find(word).await;
        let pid = match word.parse() {
            Ok(pid @ 2..) => process::find(pid).ok(),
            Ok(_) | Err(_) => None,
        };
        let netns = named::find(word)?;
        // A Docker that is down must not decide between two guests, nor hide behind "not found".
        let docker = match docker {
            Err(failure) if failure.reason() == Reason::DockerDown && (pid.is_some() || netns.is_some()) => {
                None
            }
            other => other?,
        };
        let mut found: Vec<Guest> = [docker, pid, netns].into_iter().flatten().collect();
        match (found.pop(), found.is_empty()) {
            (Some(guest), true) => Ok(guest),
            (Some(last), false) => {
                let names: Vec<String> = found.iter().chain([&last]).map(qualified).collect();
                let text = format!("guest \"{word}\" is ambiguous; write one of: {}", names.join(", "));
                Err(Failure::new(Reason::GuestAmbiguous, text).with("candidates", names.join(",")))
            }
            (None, _) => Err(not_found(
                word,
                "neither a Docker container nor a network namespace has that name; see `docker ps -a` and `ip netns list`",
            )),
        }
    }

    /// Opens the namespace of a guest that was found before; `None` when it is gone. That the namespace is the same one
    /// as then is for the caller to check by its cookie.
    pub async fn reopen(&self, identity: &GuestIdentity) -> Option<Netns> {
        if let Some(pid) = identity.pid
            && let Ok(guest) = process::find(pid)
        {
            return Some(guest.netns);
        }
        match identity.runtime {
            // The first process is gone, but others may share the namespace (`--net=container:`).
            Runtime::Docker => self.docker.find(&identity.id).await.ok().flatten().map(|guest| guest.netns),
            Runtime::Netns => named::at(Path::new(&identity.id)).ok().map(|guest| guest.netns),
            Runtime::Pid => None,
        }
    }
}

fn qualified(guest: &Guest) -> String {
    match guest.identity.runtime {
        Runtime::Pid => format!("pid:{}", guest.identity.id),
        runtime @ (Runtime::Docker | Runtime::Netns) => format!("{runtime}:{}", guest.identity.name),
    }
}

fn not_found(guest: &str, why: &str) -> Failure {
    Failure::new(Reason::GuestNotFound, format!("guest \"{guest}\" not found on this host: {why}"))
}
