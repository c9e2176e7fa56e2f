//! A lab: hosts on one fabric, for one story. Everything in it is gone when it is dropped, also after a panic.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::fabric::Fabric;
use crate::host::Host;
use crate::netns::Netns;
use crate::undertaker::Run;

/// One story's hosts and what joins them.
#[derive(Debug)]
pub struct Lab {
    name: String,
    dir: PathBuf,
    fabric: Fabric,
    hosts: Mutex<Vec<Arc<Host>>>,
    finished: AtomicBool,
}

impl Lab {
    /// An empty lab with its fabric.
    ///
    /// # Errors
    /// Not root, or no `ip`, `nsenter`.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let run = Run::get()?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
        let name = format!("{}-{number}", run.name());
        let dir = run.dir().join(&number);
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let fabric = Fabric::new(format!("{name}-fabric"))?;
        Ok(Self { name, dir, fabric, hosts: Mutex::default(), finished: AtomicBool::new(false) })
    }

    /// A new host whose `eth1` is on the fabric; up, without an address of ours. `name` is at most 10 letters.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn host(&self, name: &str) -> Result<Arc<Host>> {
        let dir = self.dir.join(name);
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let netns = Netns::add(format!("{}-{name}", self.name))?;
        let host = Arc::new(Host::new(name, netns, dir));
        self.fabric.join(&host, "eth1")?;
        self.hosts().push(Arc::clone(&host));
        Ok(host)
    }

    /// The machine itself as a host, with its own NICs and off the fabric: only for a VM that is there for tests.
    ///
    /// # Errors
    /// It is no such VM.
    pub fn machine(&self) -> Result<Arc<Host>> {
        ensure!(std::env::var_os("PIPEWRIGHT_VM").is_some(), "the machine's own links are left alone");
        let dir = self.dir.join("machine");
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let netns = Netns::of_machine(format!("{}-machine", self.name))?;
        let host = Arc::new(Host::new("machine", netns, dir));
        self.hosts().push(Arc::clone(&host));
        Ok(host)
    }

    /// What joins the hosts.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// Where sockets, states and logs of this lab are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// First part of the name of every namespace and container of this lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The end of a story in which everything was detached.
    ///
    /// # Errors
    /// Something of ours is left on a host, in a guest, in Open vSwitch or in an agent; each thing a line.
    pub fn finish(self) -> Result<()> {
        for host in self.hosts().iter() {
            crate::residue::none(host)?;
        }
        self.finished.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The end of a lab in which somebody did as they liked: no look at what is left, and no logs.
    pub fn leave(self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    fn hosts(&self) -> MutexGuard<'_, Vec<Arc<Host>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A story that does not get to its end has failed: say what the programs said.
        if !self.finished.load(Ordering::Relaxed) {
            for host in self.hosts().iter() {
                eprintln!("{}", host.logs());
            }
        }
        // A story may still hold hosts and guests, which are dropped later or were dropped before; their own
        // destructors remove them. Agents go first, so that none works on a host that goes away.
        for host in self.hosts().iter() {
            host.stop_agents();
        }
        self.hosts().clear();
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}
