//! Network namespaces: made, entered by programs and by short-lived threads, removed.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::process::{command, output};

/// The way into a network namespace: a host's, a guest's, the fabric's.
#[derive(Debug, Clone)]
pub struct Inside {
    path: PathBuf,
}

impl Inside {
    /// By the file of a namespace: `/run/netns/NAME`, `/proc/PID/ns/net`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The namespace's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A program to be started inside. The mount namespace stays, so sockets and files are the machine's.
    ///
    /// # Errors
    /// The lab's run cannot be started.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let mut nsenter = command("nsenter")?;
        nsenter.arg(format!("--net={}", self.path.display())).arg("--").arg(program);
        Ok(nsenter)
    }

    /// `ip WORDS`, such as `link set eth1 up`; gives what it prints.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, words: &str) -> Result<String> {
        output(self.command("ip")?.args(words.split_whitespace()))
    }

    /// `ip -j WORDS`.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip_json(&self, words: &str) -> Result<Vec<Value>> {
        let text = self.ip(&format!("-j {words}"))?;
        // An empty list is printed as nothing at all by some of ip's commands.
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        serde_json::from_str(&text).with_context(|| format!("ip -j {words} printed {text}"))
    }

    /// Whether a link of this name exists inside.
    ///
    /// # Errors
    /// The namespace is gone.
    pub fn has_link(&self, name: &str) -> Result<bool> {
        Ok(self.ip_json("link show")?.iter().any(|link| link["ifname"] == name))
    }

    /// Does something on a thread that enters the namespace and ends; a socket opened there stays there.
    ///
    /// # Errors
    /// The namespace cannot be entered, or what `act` says.
    pub fn act<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = std::fs::File::open(&self.path)
            .with_context(|| format!("cannot open {}", self.path.display()))?;
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                act()
            });
            inside.join().map_err(|_| anyhow!("a thread in {} panicked", self.path.display()))?
        })
    }
}

/// A namespace of ours under `/run/netns`. Deleted when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
    inside: Inside,
}

impl Netns {
    /// `ip netns add NAME`, with `lo` up.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn add(name: String) -> Result<Self> {
        // The first `ip netns add` of a machine mounts /run/netns, and two at once trip over each other.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        {
            let _one = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            output(command("ip")?.args(["netns", "add", &name]))?;
        }
        let netns = Self { inside: Inside::new(format!("/run/netns/{name}")), name };
        netns.inside.ip("link set lo up")?;
        Ok(netns)
    }

    /// `ip netns attach NAME 1`: another name for the machine's own namespace. Only the name goes when it is dropped.
    ///
    /// # Errors
    /// What `ip` says.
    pub(crate) fn of_machine(name: String) -> Result<Self> {
        output(command("ip")?.args(["netns", "attach", &name, "1"]))?;
        Ok(Self { inside: Inside::new(format!("/run/netns/{name}")), name })
    }

    /// Its name under `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The way in.
    pub fn inside(&self) -> &Inside {
        &self.inside
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if !self.inside.path.exists() {
            return;
        }
        let deleted = command("ip").and_then(|mut ip| output(ip.args(["netns", "del", &self.name])));
        if let Err(error) = deleted {
            eprintln!("{error:#}");
        }
    }
}
