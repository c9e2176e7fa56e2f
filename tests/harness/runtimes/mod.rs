//! Other runtimes than Docker, each private to a test program as that is: own folders, own sockets, no network of their own.

use std::process::Command;

use anyhow::Result;

use crate::process::{Process, command, output};
use crate::undertaker::Run;

mod containerd;
mod crio;
mod lxc;
mod machined;
mod podman;

pub use podman::Podman;

/// A runtime whose containers are guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Podman, by its API.
    Podman,
    /// LXC.
    Lxc,
    /// The containerd that Docker's lab runs, in its namespace `default`.
    Containerd,
    /// CRI-O's files about a container that runc runs, as CRI-O itself is in no distribution.
    Crio,
    /// systemd-machined's file about a process in a unit's cgroup, as machined needs systemd for the first process.
    Machined,
}

/// What network a container gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// One of its own, with nothing in it.
    Own,
    /// The one that the test program is in.
    Host,
}

impl Runtime {
    /// Starts a container that sleeps; the second is how an agent is told of it. `name` must be new.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn run(self, name: &str, network: Network) -> Result<(Contained, String)> {
        match self {
            Self::Podman => Ok((Podman::shared()?.run(name, network)?, format!("podman:{name}"))),
            Self::Lxc => Ok((lxc::run(name, network)?, format!("lxc:{name}"))),
            Self::Containerd => Ok((containerd::run(name, network)?, format!("containerd:default/{name}"))),
            Self::Crio => {
                let (contained, id) = crio::run(name, network)?;
                Ok((contained, format!("crio:{id}")))
            }
            Self::Machined => Ok((machined::run(name, network)?, format!("machined:{name}"))),
        }
    }
}

/// Where an agent finds them all, as its arguments.
///
/// # Errors
/// The lab's run cannot be started.
pub(crate) fn arguments() -> Result<Vec<String>> {
    let dir = Run::get()?.dir();
    let at = |flag: &str, path: &str| [flag.to_owned(), dir.join(path).display().to_string()];
    let podman = ["--podman".to_owned(), format!("unix:{}", dir.join("podman/podman.sock").display())];
    Ok([
        podman,
        at("--containerd-state", "docker/containerd-state"),
        at("--crio-storage", crio::STORAGE),
        at("--machines", machined::FOLDER),
    ]
    .concat())
}

/// Arguments that lead to none of them, nor to the machine's own.
pub(crate) fn no_arguments() -> [&'static str; 8] {
    let nothing = "/nonexistent";
    [
        "--podman",
        "unix:/nonexistent",
        "--containerd-state",
        nothing,
        "--crio-storage",
        nothing,
        "--machines",
        nothing,
    ]
}

/// A container of another runtime than Docker. Ended and removed when dropped.
#[derive(Debug)]
pub struct Contained {
    pid: u32,
    environment: Vec<(&'static str, String)>,
    end: Vec<Vec<String>>,
    /// What has to be waited for.
    process: Option<Process>,
}

impl Contained {
    /// One with this first process, and the command lines that end and remove it.
    fn new(pid: u32, end: &[&[&str]]) -> Self {
        let words = |line: &&[&str]| line.iter().map(|word| (*word).to_owned()).collect();
        Self { pid, environment: Vec::new(), end: end.iter().map(words).collect(), process: None }
    }

    /// The first process, as the machine sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills and removes it by the runtime's own means.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn remove(mut self) -> Result<()> {
        std::mem::take(&mut self.end).iter().try_for_each(|line| self.line(line)?.run())?;
        self.process.as_mut().map_or(Ok(()), Process::kill9)
    }

    fn line(&self, words: &[String]) -> Result<Line> {
        let mut program = command(words.first().map_or("false", String::as_str))?;
        program.args(words.iter().skip(1)).envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(Line(program))
    }
}

struct Line(Command);

impl Line {
    fn run(mut self) -> Result<()> {
        output(&mut self.0).map(drop)
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        for line in std::mem::take(&mut self.end) {
            if let Err(error) = self.line(&line).and_then(Line::run) {
                eprintln!("{error:#}");
            }
        }
    }
}
