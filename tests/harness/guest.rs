//! Guests of a host: a named namespace, a process, a Docker container, a container of another runtime.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};

use crate::docker::Container;
use crate::netns::{Inside, Netns};
use crate::process::{Process, command};
use crate::runtimes::Contained;

/// Something that links are plugged into. Ended when dropped.
#[derive(Debug)]
pub struct Guest {
    name: String,
    reference: String,
    life: Mutex<Life>,
}

#[derive(Debug)]
enum Life {
    Netns(Netns),
    Process(Process),
    Container(Container),
    Contained(Contained),
    Dead,
}

impl Guest {
    pub(crate) fn netns(name: &str, netns: String) -> Result<Self> {
        let reference = format!("netns:{netns}");
        Ok(Self { name: name.to_owned(), reference, life: Mutex::new(Life::Netns(Netns::add(netns)?)) })
    }

    pub(crate) fn process(name: &str) -> Result<Self> {
        // The line is printed from inside, so the namespace is there when it is read; and the pid stays through exec.
        let process = Process::spawn(
            name,
            command("unshare")?.args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && echo here && exec sleep 1000000",
            ]),
        )?;
        process.wait_line(|line| line == "here", std::time::Duration::from_secs(10))?;
        let reference = format!("pid:{}", process.pid());
        Ok(Self { name: name.to_owned(), reference, life: Mutex::new(Life::Process(process)) })
    }

    pub(crate) fn container(name: &str, container: Container) -> Self {
        let reference = format!("docker:{}", container.name());
        Self { name: name.to_owned(), reference, life: Mutex::new(Life::Container(container)) }
    }

    pub(crate) fn contained(name: &str, contained: Contained, reference: String) -> Self {
        Self { name: name.to_owned(), reference, life: Mutex::new(Life::Contained(contained)) }
    }

    /// Its short name in the story.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How an agent is told of it: `netns:NAME`, `pid:N`, `docker:NAME`, `lxc:NAME` …
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The way into its namespace.
    ///
    /// # Errors
    /// It is dead.
    pub fn inside(&self) -> Result<Inside> {
        match &*self.life() {
            Life::Netns(netns) => Ok(netns.inside().clone()),
            Life::Process(process) => Ok(Inside::new(format!("/proc/{}/ns/net", process.pid()))),
            Life::Container(container) => Ok(Inside::new(format!("/proc/{}/ns/net", container.pid()))),
            Life::Contained(contained) => Ok(Inside::new(format!("/proc/{}/ns/net", contained.pid()))),
            Life::Dead => bail!("guest {} is dead", self.name),
        }
    }

    /// `ip WORDS` inside.
    ///
    /// # Errors
    /// It is dead, or what `ip` says.
    pub fn ip(&self, words: &str) -> Result<String> {
        self.inside()?.ip(words)
    }

    /// Whether it has not been ended; a container also not stopped.
    pub fn is_alive(&self) -> bool {
        match &*self.life() {
            Life::Netns(_) | Life::Process(_) | Life::Contained(_) => true,
            Life::Container(container) => container.pid() != 0,
            Life::Dead => false,
        }
    }

    /// Ends it as by accident: the namespace's name is deleted, the process or container is killed and removed.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill(&self) -> Result<()> {
        match std::mem::replace(&mut *self.life(), Life::Dead) {
            Life::Netns(netns) => drop(netns),
            Life::Process(mut process) => process.kill9()?,
            Life::Container(container) => container.remove()?,
            Life::Contained(contained) => contained.remove()?,
            Life::Dead => {}
        }
        Ok(())
    }

    /// Restarts a container: same name and id, another process, another namespace.
    ///
    /// # Errors
    /// It is no container, or what Docker says.
    pub fn restart(&self) -> Result<()> {
        match &mut *self.life() {
            Life::Container(container) => container.restart(),
            Life::Netns(_) | Life::Process(_) | Life::Contained(_) | Life::Dead => {
                bail!("guest {} is no container of Docker's", self.name)
            }
        }
    }

    /// `docker VERB NAME`: `stop`, `start`, `pause`, `kill`.
    ///
    /// # Errors
    /// It is no container, or what Docker says.
    pub fn docker(&self, verb: &str) -> Result<()> {
        match &mut *self.life() {
            Life::Container(container) => container.verb(verb),
            Life::Netns(_) | Life::Process(_) | Life::Contained(_) | Life::Dead => {
                bail!("guest {} is no container of Docker's", self.name)
            }
        }
        .with_context(|| format!("docker {verb}"))
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
