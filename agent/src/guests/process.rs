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

/// Opens the namespace of a container's process.
///
/// # Errors
/// GUEST_NOT_FOUND when the process is gone, GUEST_CHANGED when the pid is another container's by now.
pub(super) fn open(pid: u32, container: &str) -> Result<Netns, Failure> {
    let Process { netns, .. } = Netns::of_process(pid).map_err(|error| gone(pid, &error))?;
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|error| gone(pid, &error))?;
    match container_of(&cgroup) {
        Some(found) if found != container => Err(Failure::new(
            Reason::GuestChanged,
            format!(
                "pid {pid} belongs to another container now: the guest stopped or restarted meanwhile; ask again"
            ),
        )),
        Some(_) | None => Ok(netns),
    }
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
