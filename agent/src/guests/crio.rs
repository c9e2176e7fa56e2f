//! CRI-O's containers, and the infrastructure containers of its pods.
//!
//! CRI-O writes each container's state into its storage, `DRIVER-containers/ID/userdata/state.json` (`StatePath` and
//! `ContainerState` of its internal/oci/container.go), with the first process and when that started, which CRI-O itself
//! trusts a pid by (`verifyPid`). Podman keeps its containers in the same storage, without such a file.

use std::fs;
use std::path::{Path, PathBuf};

use pipewright_api::attachment::Runtime;
use pipewright_api::reason::{Failure, Reason};
use serde::Deserialize;

use super::process::{Noted, is_in_container};
use super::{Guest, ambiguous, is_id};

/// CRI-O's storage.
#[derive(Debug, Clone)]
pub(super) struct Crio {
    storage: PathBuf,
}

/// What is asked of `state.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    /// 0 once it has ended.
    #[serde(default)]
    pid: u32,
    /// 0 for a pod without a process of its own (`drop_infra_ctr`).
    #[serde(default)]
    init_pid: u32,
    /// Field 22 of proc_pid_stat(5). Before CRI-O 1.20 it was a number, of something else.
    #[serde(default)]
    init_start_time: serde_json::Value,
}

impl Crio {
    /// The one with that storage.
    pub(super) fn new(storage: &Path) -> Self {
        Self { storage: storage.to_owned() }
    }

    /// A running container by its id or the beginning of it; `None` when there is none.
    ///
    /// # Errors
    /// GUEST_AMBIGUOUS, GUEST_NOT_RUNNING.
    pub(super) fn find(&self, asked: &str) -> Result<Option<Guest>, Failure> {
        let mut found = self.states(asked);
        match (found.pop(), found.is_empty()) {
            (None, _) => Ok(None),
            (Some((id, state)), true) => open(asked, id, &state).map(Some),
            (Some(last), false) => {
                let names = found.iter().chain([&last]).map(|(id, _)| format!("crio:{id}"));
                Err(ambiguous(asked, &names.collect::<Vec<_>>()))
            }
        }
    }

    /// The states of the containers that are meant. A storage that is not there has none.
    fn states(&self, asked: &str) -> Vec<(String, PathBuf)> {
        let Ok(drivers) = fs::read_dir(&self.storage) else { return Vec::new() };
        let mut found = Vec::new();
        for driver in drivers.flatten() {
            if !driver.file_name().to_string_lossy().ends_with("-containers") {
                continue;
            }
            let Ok(containers) = fs::read_dir(driver.path()) else { continue };
            let ids = containers.flatten().filter_map(|entry| entry.file_name().into_string().ok());
            for id in ids.filter(|id| is_id(asked, id)) {
                let state = driver.path().join(&id).join("userdata/state.json");
                if state.exists() {
                    found.push((id, state));
                }
            }
        }
        found.sort_unstable();
        found
    }
}

fn open(asked: &str, id: String, file: &Path) -> Result<Guest, Failure> {
    let not_running = |why: String| {
        Failure::new(Reason::GuestNotRunning, format!("guest \"{asked}\" is not running: {why}"))
    };
    let text = fs::read(file).map_err(|error| not_running(format!("{}: {error}", file.display())))?;
    let state: State =
        serde_json::from_slice(&text).map_err(|error| not_running(format!("{}: {error}", file.display())))?;
    let State { pid, init_pid, init_start_time } = state;
    if init_pid == 0 {
        let why = "it has no process of its own; name a container of its pod".to_owned();
        return Err(not_running(why));
    }
    if pid == 0 {
        return Err(not_running("it has ended".to_owned()));
    }
    let noted = Noted { runtime: Runtime::Crio, name: id.clone(), id, pid: init_pid };
    let id = noted.id.clone();
    noted.open(asked, |started, cgroups| match init_start_time.as_str() {
        Some(time) => time == started.to_string(),
        None => is_in_container(cgroups, &id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn with_state(state: &str) -> Failure {
        let storage = tempfile::tempdir().unwrap();
        let folder = storage.path().join("overlay-containers").join(ID).join("userdata");
        fs::create_dir_all(&folder).unwrap();
        // Podman's, in the same storage.
        fs::create_dir_all(storage.path().join("overlay-containers/0123ffff/userdata")).unwrap();
        fs::write(folder.join("state.json"), state).unwrap();
        let crio = Crio::new(storage.path());
        assert!(crio.find("012").unwrap().is_none() && crio.find("0123ffff").unwrap().is_none());
        crio.find("0123").unwrap_err()
    }

    #[test]
    fn what_has_ended_or_is_no_process_of_its_own_is_not_running() {
        let own = std::process::id();
        for (state, said) in [
            (r#"{"status":"stopped","initPid":7,"initStartTime":"7"}"#.to_owned(), "it has ended"),
            (r#"{"status":"running","pid":0}"#.to_owned(), "name a container of its pod"),
            // Another process has its pid now.
            (format!(r#"{{"pid":{own},"initPid":{own},"initStartTime":"1"}}"#), "has ended"),
            ("{".to_owned(), "state.json"),
        ] {
            let failure = with_state(&state);

            assert_eq!(failure.reason(), Reason::GuestNotRunning, "{state}");
            assert!(failure.message().contains(said), "{failure}");
        }
    }
}
