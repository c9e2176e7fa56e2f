//! The network namespace of a process.

use std::fs;
use std::io;

use pipewright_api::attachment::{GuestIdentity, Runtime};
use pipewright_api::reason::{Failure, Reason};

use super::Guest;
use crate::host::netns::{Netns, Process};

/// A guest that is named by a process of it.
///
/// # Errors
/// GUEST_NOT_FOUND.
pub(super) fn find(pid: u32) -> Result<Guest, Failure> {
    let Process { netns, started } = Netns::of_process(pid).map_err(|error| gone(pid, &error))?;
    let id = pid.to_string();
    let identity = GuestIdentity {
        runtime: Runtime::Pid,
        name: id.clone(),
        id,
        pid: Some(pid),
        netns_cookie: 0,
        started_at: started.to_string(),
    };
    Ok(Guest { identity, netns })
}

/// What a runtime has written down of a guest.
pub(super) struct Noted {
    pub(super) runtime: Runtime,
    pub(super) id: String,
    pub(super) name: String,
    /// Its first process.
    pub(super) pid: u32,
}

impl Noted {
    /// Opens the guest. The note may be older than its process's end, and the pid another's by now: `is_it` tells by when
    /// the process started and by its cgroups, and `asked` is what the caller wrote.
    ///
    /// # Errors
    /// GUEST_NOT_RUNNING.
    pub(super) fn open(self, asked: &str, is_it: impl FnOnce(u64, &str) -> bool) -> Result<Guest, Failure> {
        let Self { runtime, id, name, pid } = self;
        let ended = || {
            let text = format!("guest \"{asked}\" is not running: its process {pid} has ended; start it");
            Failure::new(Reason::GuestNotRunning, text)
        };
        let Process { netns, started } = Netns::of_process(pid).map_err(|_| ended())?;
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|_| ended())?;
        if !is_it(started, &cgroups) {
            return Err(ended());
        }
        let started_at = started.to_string();
        let identity = GuestIdentity { runtime, id, name, pid: Some(pid), netns_cookie: 0, started_at };
        Ok(Guest { identity, netns })
    }
}

/// The paths in a process's cgroup file: `HIERARCHY:CONTROLLERS:PATH` a line (cgroups(7)).
pub(super) fn cgroup_paths(cgroups: &str) -> impl Iterator<Item = &str> {
    cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2))
}

/// Opens the namespace of a container's process.
///
/// # Errors
/// GUEST_NOT_FOUND when the process is gone, GUEST_CHANGED when the pid is another container's by now.
pub(super) fn open(pid: u32, container: &str) -> Result<Netns, Failure> {
    let Process { netns, .. } = Netns::of_process(pid).map_err(|error| gone(pid, &error))?;
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|error| gone(pid, &error))?;
    match is_in_container(&cgroup, container) {
        true => Ok(netns),
        false => Err(Failure::new(
            Reason::GuestChanged,
            format!(
                "pid {pid} belongs to another container now: the guest stopped or restarted meanwhile; ask again"
            ),
        )),
    }
}

/// Whether a process's cgroups name no other container than this one.
pub(super) fn is_in_container(cgroups: &str, id: &str) -> bool {
    container_of(cgroups).is_none_or(|found| found == id)
}

/// The container id in a process's cgroup path, when there is one (`/docker/ID`, `docker-ID.scope`).
fn container_of(cgroup: &str) -> Option<&str> {
    let is_id = |word: &&str| word.len() == 64 && word.chars().all(|c| c.is_ascii_hexdigit());
    cgroup.split(|c: char| !c.is_ascii_alphanumeric()).rfind(is_id)
}

fn gone(pid: u32, error: &io::Error) -> Failure {
    Failure::new(Reason::GuestNotFound, format!("guest \"pid:{pid}\" not found on this host: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_its_cgroup() {
        let id = "0123456789abcdef".repeat(4);

        for path in [format!("0::/docker/{id}\n"), format!("0::/system.slice/docker-{id}.scope\n")] {
            assert_eq!(container_of(&path), Some(id.as_str()));
        }
        assert_eq!(container_of("0::/user.slice/session-1.scope\n"), None);
    }

    #[test]
    fn a_pid_that_no_process_has_is_not_found() {
        let failure = find(4_194_305).expect_err("pid_max is 2^22");

        assert_eq!(failure.reason(), Reason::GuestNotFound);
        assert!(failure.message().contains("pid:4194305"));
    }
}
