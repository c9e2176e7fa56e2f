//! A socket in front of Docker's that can be shut, so that one agent loses Docker and no other does.

use std::io::copy;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use pipewright_tests::Docker;

/// What a door that stands open does with a caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Docker serves.
    Docker,
    /// Nobody answers.
    Nobody,
}

/// A socket that leads to Docker, or to nobody. Shut when dropped.
pub(crate) struct Door {
    path: PathBuf,
    open: Mutex<Option<Open>>,
}

struct Open {
    listener: UnixListener,
    streams: Arc<Mutex<Vec<UnixStream>>>,
}

impl Door {
    /// A door that is shut.
    pub(crate) fn shut_at(path: &Path) -> Self {
        Self { path: path.to_owned(), open: Mutex::default() }
    }

    /// What an agent is given.
    pub(crate) fn endpoint(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Opens it; whoever comes is served from then on.
    pub(crate) fn open(&self, behind: Behind) -> Result<()> {
        let docker = Docker::shared()?.endpoint();
        let docker = docker.trim_start_matches("unix:").to_owned();
        let listener = UnixListener::bind(&self.path).context("cannot open the door")?;
        let streams: Arc<Mutex<Vec<UnixStream>>> = Arc::default();
        let (accepts, keeps) = (listener.try_clone()?, Arc::clone(&streams));
        std::thread::spawn(move || {
            for caller in accepts.incoming() {
                let Ok(caller) = caller else { return };
                if let Err(error) = lead(&caller, &docker, behind, &keeps) {
                    eprintln!("the door to Docker: {error:#}");
                }
            }
        });
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(Open { listener, streams });
        Ok(())
    }

    /// Shuts it and ends every connection.
    pub(crate) fn shut(&self) -> Result<()> {
        let Some(open) = self.open.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        std::fs::remove_file(&self.path)?;
        rustix::net::shutdown(&open.listener, rustix::net::Shutdown::Both)?;
        for stream in open.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // One that the other side has ended is ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
        Ok(())
    }
}

fn lead(caller: &UnixStream, docker: &str, behind: Behind, kept: &Mutex<Vec<UnixStream>>) -> Result<()> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push(caller.try_clone()?);
    if behind == Behind::Nobody {
        return Ok(());
    }
    let docker = UnixStream::connect(docker).context("cannot connect to Docker")?;
    kept.push(docker.try_clone()?);
    for (from, to) in [(caller, &docker), (&docker, caller)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        std::thread::spawn(move || {
            // Either side may end it at any time.
            let _ = copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            eprintln!("{error:#}");
        }
    }
}
