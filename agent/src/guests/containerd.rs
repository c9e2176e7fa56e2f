//! Containers that containerd runs itself: nerdctl's, ctr's, Kubernetes's. Docker's are there, too, in its namespace `moby`.
//!
//! What its shims write into its state directory is read, so that guests are found while containerd is restarted, and nothing
//! of its API has to be spoken: `io.containerd.runtime.v2.task/NAMESPACE/ID` is a container's bundle (containerd,
//! docs/ops.md, "State", and runtime/v2/bundle.go), and the shim of runc writes `init.pid` into it (`InitPidFile` of
//! pkg/process/init.go; other shims do so, too). The bundle stays until the task is deleted, after its process has ended: so
//! the process must be in the cgroup that the bundle's `config.json` says.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use pipewright_api::attachment::Runtime;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::ContainerdRef;
use serde::Deserialize;

use super::process::{Noted, cgroup_paths};
use super::{Guest, ambiguous, is_host, is_id};

/// Where the tasks are in the state directory.
const TASKS: &str = "io.containerd.runtime.v2.task";

/// The containerd of this host.
#[derive(Debug, Clone)]
pub(super) struct Containerd {
    tasks: PathBuf,
}

/// A container's folder.
struct Bundle {
    namespace: String,
    id: String,
    path: PathBuf,
}

/// What is asked of a bundle's `config.json` (OCI runtime specification, config-linux.md).
#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    /// `/PARENT/NAME`, or for systemd `SLICE:PREFIX:NAME`.
    #[serde(default)]
    cgroups_path: String,
    /// Those that are not containerd's own.
    #[serde(default)]
    namespaces: Vec<Namespace>,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
}

impl Containerd {
    /// The one with that state directory.
    pub(super) fn new(state: &Path) -> Self {
        Self { tasks: state.join(TASKS) }
    }

    /// A running container by its id or the beginning of it; `None` when there is none.
    ///
    /// # Errors
    /// GUEST_AMBIGUOUS, GUEST_NOT_RUNNING, GUEST_IS_HOST.
    pub(super) fn find(&self, asked: &ContainerdRef) -> Result<Option<Guest>, Failure> {
        let mut bundles = self.bundles(asked);
        // A whole id is meant as such, even where others begin with it.
        if bundles.iter().any(|bundle| bundle.id == asked.id) {
            bundles.retain(|bundle| bundle.id == asked.id);
        }
        match (bundles.pop(), bundles.is_empty()) {
            (None, _) => Ok(None),
            (Some(bundle), true) => open(bundle, &asked.id).map(Some),
            (Some(last), false) => {
                let names =
                    bundles.iter().chain([&last]).map(|b| format!("containerd:{}/{}", b.namespace, b.id));
                Err(ambiguous(&asked.id, &names.collect::<Vec<_>>()))
            }
        }
    }

    /// The bundles that are meant. A state directory that is not there has none.
    fn bundles(&self, asked: &ContainerdRef) -> Vec<Bundle> {
        let namespaces = match &asked.namespace {
            Some(namespace) => vec![namespace.clone()],
            None => entries(&self.tasks),
        };
        let mut found = Vec::new();
        for namespace in namespaces {
            let folder = self.tasks.join(&namespace);
            let ids = entries(&folder).into_iter().filter(|id| *id == asked.id || is_id(&asked.id, id));
            found.extend(ids.map(|id| Bundle { namespace: namespace.clone(), path: folder.join(&id), id }));
        }
        found
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

fn open(bundle: Bundle, asked: &str) -> Result<Guest, Failure> {
    let Bundle { namespace, id, path } = bundle;
    let unreadable = |file: &str, why: String| {
        let text = format!("guest \"{asked}\" cannot be found by {}: {why}", path.join(file).display());
        Failure::new(Reason::GuestNotRunning, text)
    };
    let pid = match fs::read_to_string(path.join("init.pid")) {
        Ok(text) => text.trim().parse().map_err(|_| unreadable("init.pid", "it is no pid".to_owned()))?,
        // The bundle is made first.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let text = format!("guest \"{asked}\" is not running yet; ask again");
            return Err(Failure::new(Reason::GuestNotRunning, text));
        }
        Err(error) => return Err(unreadable("init.pid", error.to_string())),
    };
    let config = fs::read(path.join("config.json"));
    let config = config.map_err(|error| unreadable("config.json", error.to_string()))?;
    let config: Config =
        serde_json::from_slice(&config).map_err(|error| unreadable("config.json", error.to_string()))?;
    if !config.linux.namespaces.iter().any(|namespace| namespace.kind == "network") {
        return Err(is_host(asked));
    }
    let noted = Noted { runtime: Runtime::Containerd, id: format!("{namespace}/{id}"), name: id, pid };
    noted.open(asked, |_, cgroups| is_in(cgroups, &config.linux.cgroups_path))
}

/// Whether a process is in the cgroup of a container, or below. One that names none is anywhere.
fn is_in(cgroups: &str, path: &str) -> bool {
    let path = match path.split(':').collect::<Vec<_>>()[..] {
        [_, prefix, name] => format!("{prefix}-{name}.scope"),
        _ => path.trim_matches('/').to_owned(),
    };
    let path = format!("/{path}/");
    path == "//" || cgroup_paths(cgroups).any(|cgroup| format!("{cgroup}/").contains(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_in_a_containers_cgroup_by_whole_components() {
        for (cgroups, path, is_it) in [
            ("0::/default/web\n", "/default/web", true),
            ("4:memory:/job/7/default/web/inner\n2:cpu:/\n", "/default/web", true),
            ("0::/default/web-1\n", "/default/web", false),
            ("0::/default\n", "/default/web", false),
            ("0::/kube.slice/cri-containerd-0123.scope\n", "kube.slice:cri-containerd:0123", true),
            ("0::/kube.slice/cri-containerd-0124.scope\n", "kube.slice:cri-containerd:0123", false),
            ("0::/\n", "", true),
        ] {
            assert_eq!(is_in(cgroups, path), is_it, "{cgroups} {path}");
        }
    }

    #[test]
    fn ids_are_found_in_any_namespace_and_two_are_too_many() {
        let state = tempfile::tempdir().unwrap();
        for id in ["default/web", "k8s.io/web", "k8s.io/0123456789ab", "k8s.io/0123ffffffff"] {
            fs::create_dir_all(state.path().join(TASKS).join(id)).unwrap();
        }
        let containerd = Containerd::new(state.path());
        let find = |namespace: Option<&str>, id: &str| {
            containerd.find(&ContainerdRef { namespace: namespace.map(str::to_owned), id: id.to_owned() })
        };

        let both = find(None, "web").unwrap_err();
        assert_eq!(both.reason(), Reason::GuestAmbiguous);
        assert_eq!(both.fact("candidates"), Some("containerd:default/web,containerd:k8s.io/web"));
        assert_eq!(find(None, "0123").unwrap_err().reason(), Reason::GuestAmbiguous);
        // Found, and without a process.
        assert_eq!(find(None, "01234").unwrap_err().reason(), Reason::GuestNotRunning);
        assert_eq!(find(Some("default"), "web").unwrap_err().reason(), Reason::GuestNotRunning);
        assert!(find(Some("default"), "0123456789ab").unwrap().is_none());
        assert!(find(None, "we").unwrap().is_none() && find(None, "012").unwrap().is_none());
    }
}
