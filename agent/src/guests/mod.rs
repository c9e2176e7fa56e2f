//! Whose network namespace is meant: names become an open namespace and an identity that cannot be reused.

use std::path::{Path, PathBuf};

use pipewright_api::attachment::{GuestIdentity, Runtime};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{ContainerdRef, GuestRef};

use crate::host::netns::Netns;

mod container;
mod containerd;
mod crio;
mod docker;
pub mod life;
mod lxc;
mod machined;
mod named;
mod podman;
mod process;

pub use docker::Docker;

use containerd::Containerd;
use crio::Crio;
use machined::Machined;

/// A guest as it was found. The namespace is held for one operation only.
#[derive(Debug)]
pub struct Guest {
    /// Which one.
    pub identity: GuestIdentity,
    /// Its network namespace.
    pub netns: Netns,
}

/// Where the runtimes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Docker's unix socket.
    pub docker: PathBuf,
    /// Podman's unix socket.
    pub podman: PathBuf,
    /// containerd's state directory.
    pub containerd: PathBuf,
    /// CRI-O's storage.
    pub crio: PathBuf,
    /// systemd-machined's state files.
    pub machines: PathBuf,
}

/// The runtimes of this host.
#[derive(Debug, Clone)]
pub struct Guests {
    docker: Docker,
    podman: Docker,
    containerd: Containerd,
    crio: Crio,
    machined: Machined,
}

impl Guests {
    /// Looks guests up there.
    pub fn new(places: &Places) -> Self {
        Self {
            docker: Docker::new(&places.docker),
            podman: podman::podman(&places.podman),
            containerd: Containerd::new(&places.containerd),
            crio: Crio::new(&places.crio),
            machined: Machined::new(&places.machines),
        }
    }

    /// The Docker that containers are looked up with.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The Podman that containers are looked up with.
    pub fn podman(&self) -> &Docker {
        &self.podman
    }

    /// Who tells when guests of a runtime start; `None` for a runtime that does not.
    pub fn teller(&self, runtime: Runtime) -> Option<&Docker> {
        match runtime {
            Runtime::Docker => Some(&self.docker),
            Runtime::Podman => Some(&self.podman),
            Runtime::Lxc
            | Runtime::Containerd
            | Runtime::Crio
            | Runtime::Machined
            | Runtime::Pid
            | Runtime::Netns => None,
        }
    }

    /// Finds a guest and opens its network namespace.
    ///
    /// # Errors
    /// GUEST_NOT_FOUND, GUEST_NOT_RUNNING, GUEST_AMBIGUOUS, GUEST_CHANGED, DOCKER_DOWN, PODMAN_DOWN; each names the guest.
    pub async fn find(&self, guest: &GuestRef) -> Result<Guest, Failure> {
        let (found, why) = match guest {
            GuestRef::Docker(name) => {
                (self.docker.find(name).await?, "no container of that name or id; see `docker ps -a`")
            }
            GuestRef::Podman(name) => {
                (self.podman.find(name).await?, "no container of that name or id; see `podman ps -a`")
            }
            GuestRef::Lxc(name) => (lxc::find(name)?, "no container of that name runs; see `lxc-ls -f`"),
            GuestRef::Containerd(asked) => {
                (self.containerd.find(asked)?, "no container of that id runs; see `ctr namespaces list`")
            }
            GuestRef::Crio(id) => (self.crio.find(id)?, "no container of that id; see `crictl ps -a`"),
            GuestRef::Machined(name) => {
                (self.machined.find(name)?, "no machine of that name runs; see `machinectl list`")
            }
            GuestRef::Pid(pid) => (Some(process::find(*pid)?), ""),
            GuestRef::NetnsName(name) => {
                (named::find(name)?, "no network namespace of that name; see `ip netns list`")
            }
            GuestRef::NetnsPath(path) => (Some(named::at(path)?), ""),
            GuestRef::Bare(word) => (Some(self.find_bare(word).await?), ""),
        };
        found.ok_or_else(|| not_found(guest, why))
    }

    /// A bare word: a guest of any runtime, a pid or a named namespace; more than one is an error.
    async fn find_bare(&self, word: &str) -> Result<Guest, Failure> {
        // Where nobody has installed Podman, it is not missed.
        let podman =
            async { if self.podman.is_installed() { self.podman.find(word).await } else { Ok(None) } };
        let (docker, podman) = tokio::join!(self.docker.find(word), podman);
        let pid = match word.parse() {
            Ok(pid @ 2..) => process::find(pid).ok(),
            Ok(_) | Err(_) => None,
        };
        let in_containerd = ContainerdRef { namespace: None, id: word.to_owned() };
        let answers = [
            docker,
            podman,
            lxc::find(word),
            self.containerd.find(&in_containerd),
            self.crio.find(word),
            self.machined.find(word),
            Ok(pid),
            named::find(word),
        ];
        let (mut found, mut down) = (Vec::<Guest>::new(), None);
        for answer in answers {
            match answer {
                // Docker's containers are containerd's, too; the first runtime to know a process knows most of it.
                Ok(Some(guest)) if found.iter().any(|other| is_same(other, &guest)) => {}
                Ok(Some(guest)) => found.push(guest),
                Ok(None) => {}
                // A runtime that is down must not decide between two guests, nor hide behind "not found".
                Err(failure) if matches!(failure.reason(), Reason::DockerDown | Reason::PodmanDown) => {
                    down = down.or(Some(failure));
                }
                // Whoever has the name and does not run may be who is meant.
                Err(failure) => return Err(failure),
            }
        }
        match (found.pop(), found.is_empty(), down) {
            (Some(guest), true, _) => Ok(guest),
            (Some(last), false, _) => {
                let all: Vec<String> = found.iter().chain([&last]).map(qualified).collect();
                Err(ambiguous(word, &all))
            }
            (None, _, Some(failure)) => Err(failure),
            (None, _, None) => {
                let why = "neither a container nor a network namespace has that name; see `docker ps -a`, `podman ps -a`, \
                           `lxc-ls -f`, `machinectl list` and `ip netns list`";
                Err(not_found(&GuestRef::Bare(word.to_owned()), why))
            }
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
        let GuestIdentity { runtime, id, .. } = identity;
        let guest = match runtime {
            // The first process is gone, but others may share the namespace (`--net=container:`).
            Runtime::Docker => self.docker.find(id).await.ok().flatten(),
            Runtime::Podman => self.podman.find(id).await.ok().flatten(),
            Runtime::Lxc => lxc::find(id).ok().flatten(),
            Runtime::Containerd => {
                let (namespace, id) = id.split_once('/')?;
                let asked = ContainerdRef { namespace: Some(namespace.to_owned()), id: id.to_owned() };
                self.containerd.find(&asked).ok().flatten()
            }
            Runtime::Crio => self.crio.find(id).ok().flatten(),
            Runtime::Machined => self.machined.find(id).ok().flatten(),
            Runtime::Netns => named::at(Path::new(id)).ok(),
            Runtime::Pid => None,
        };
        guest.map(|guest| guest.netns)
    }
}

/// Whether a word is a container's id or a beginning of it that is long enough to be meant as one.
pub fn is_id(word: &str, id: &str) -> bool {
    word.len() >= 4 && id.starts_with(word)
}

fn is_same(one: &Guest, other: &Guest) -> bool {
    let named_by_pid = |guest: &Guest| guest.identity.runtime == Runtime::Pid;
    one.identity.pid.is_some() && one.identity.pid == other.identity.pid && !named_by_pid(other)
}

/// How a container of Docker or Podman is named by its id, whatever others are called.
pub fn container_by_id(guest: &GuestIdentity) -> GuestRef {
    match guest.runtime {
        Runtime::Podman => GuestRef::Podman(guest.id.clone()),
        Runtime::Docker
        | Runtime::Lxc
        | Runtime::Containerd
        | Runtime::Crio
        | Runtime::Machined
        | Runtime::Pid
        | Runtime::Netns => GuestRef::Docker(guest.id.clone()),
    }
}

/// How a container of Docker or Podman is named, whichever has that name.
pub fn container_by_name(guest: &GuestIdentity) -> GuestRef {
    match container_by_id(guest) {
        GuestRef::Podman(_) => GuestRef::Podman(guest.name.clone()),
        _ => GuestRef::Docker(guest.name.clone()),
    }
}

/// How a guest is named without doubt.
fn qualified(guest: &Guest) -> String {
    let GuestIdentity { runtime, id, name, .. } = &guest.identity;
    match runtime {
        Runtime::Pid | Runtime::Containerd | Runtime::Crio => format!("{runtime}:{id}"),
        Runtime::Docker | Runtime::Podman | Runtime::Lxc | Runtime::Machined | Runtime::Netns => {
            format!("{runtime}:{name}")
        }
    }
}

fn ambiguous(word: &str, candidates: &[String]) -> Failure {
    let text = format!("guest \"{word}\" is ambiguous; write one of: {}", candidates.join(", "));
    Failure::new(Reason::GuestAmbiguous, text).with("candidates", candidates.join(","))
}

/// A container without a network of its own.
fn is_host(guest: &str) -> Failure {
    let text =
        format!("guest \"{guest}\" runs with --net=host: its links are the host's own, which are left alone");
    Failure::new(Reason::GuestIsHost, text)
}

fn not_found(guest: &GuestRef, why: &str) -> Failure {
    let guest = guest.to_string();
    let name = guest.split_once(':').map_or(guest.as_str(), |(_, name)| name);
    Failure::new(Reason::GuestNotFound, format!("guest \"{name}\" not found on this host: {why}"))
}
