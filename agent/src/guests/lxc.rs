//! LXC containers, by the cgroups that LXC makes for them: no program is run, and nothing of LXC's own protocol is spoken.
//!
//! LXC's other door, the abstract socket `@LXCPATH/NAME/command`, has commands whose numbers differ between versions, and
//! anybody in the host's network namespace can answer there for a container that is stopped. A cgroup at the top, or in
//! that of the first process, can be made by root alone; a user's own containers are deeper, and are not found here.
//!
//! The cgroup is `lxc.payload.NAME` since LXC 4, was `lxc.payload/NAME` before, and `lxc/NAME` before 3.1 (`cgfsng.c`;
//! Proxmox has chosen that again); what is left of an earlier container makes the next one's `…NAME-1`. It is looked for by
//! whole components in every hierarchy, v2 or v1: a search by part of the name, or the first hit, would find the monitor
//! (`lxc.monitor.NAME`) or a namesake.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pipewright_api::attachment::Runtime;
use pipewright_api::reason::{Failure, Reason};

use super::process::{Noted, cgroup_paths};
use super::{Guest, ambiguous};

/// Where LXC keeps containers, unless its configuration says otherwise.
const CONTAINERS: &str = "/var/lib/lxc";
/// Folder and first part of the name of a container's cgroup, newest LXC first.
const LAYOUTS: [(&str, &str); 3] = [("", "lxc.payload."), ("lxc.payload", ""), ("lxc", "")];
/// How deep a container's own cgroups are looked into: systemd in it moves itself two below, Docker's containers in it are
/// deeper.
const DEPTH: u32 = 4;

/// The container's cgroup, as its path ends.
#[derive(Debug, PartialEq, Eq)]
struct Payload {
    path: PathBuf,
    tail: String,
    /// Another one of the same name was in the way, or this is the container of the name `NAME-1`.
    is_renamed: bool,
}

/// A running container by its name; `None` when there is none.
///
/// # Errors
/// GUEST_AMBIGUOUS, GUEST_NOT_RUNNING.
pub(super) fn find(name: &str) -> Result<Option<Guest>, Failure> {
    let mut inits = BTreeMap::new();
    for base in bases() {
        for payload in payloads(&base, name) {
            if let Some(init) = init(&payload, name) {
                inits.insert(init, payload.tail);
            }
        }
    }
    match (inits.pop_first(), inits.is_empty()) {
        (None, _) if Path::new(CONTAINERS).join(name).join("config").exists() => {
            let text = format!("guest \"{name}\" is not running; start it with `lxc-start {name}`");
            Err(Failure::new(Reason::GuestNotRunning, text))
        }
        (None, _) => Ok(None),
        (Some((pid, tail)), true) => {
            let noted = Noted { runtime: Runtime::Lxc, id: name.to_owned(), name: name.to_owned(), pid };
            noted.open(name, |_, cgroups| is_in(cgroups, &tail)).map(Some)
        }
        // Of two LXC paths. Their names do not tell them apart.
        (Some((first, _)), false) => {
            let pids = [first].into_iter().chain(inits.into_keys()).map(|pid| format!("pid:{pid}"));
            Err(ambiguous(name, &pids.collect::<Vec<_>>()))
        }
    }
}

/// The cgroups in which LXC makes those of containers: the tops of all hierarchies, and the first process's.
fn bases() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let first = fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
    let mut below: Vec<&str> = cgroup_paths(&first)
        .map(|path| path.strip_suffix("/init.scope").unwrap_or(path).trim_matches('/'))
        .chain([""])
        .filter(|path| !path.starts_with(".."))
        .collect();
    below.sort_unstable();
    below.dedup();
    let tops = cgroup_mounts(&mounts);
    tops.iter().flat_map(|top| below.iter().map(|path| top.join(path))).filter(|base| base.is_dir()).collect()
}

/// Where hierarchies are mounted (proc_pid_mountinfo(5)).
fn cgroup_mounts(mountinfo: &str) -> Vec<PathBuf> {
    let mount = |line: &str| {
        let (mount, source) = line.split_once(" - ")?;
        let is_cgroup = matches!(source.split(' ').next()?, "cgroup" | "cgroup2");
        let point = mount.split(' ').nth(4)?;
        is_cgroup.then(|| PathBuf::from(point.replace("\\040", " ")))
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// The cgroups that could be the container's.
fn payloads(base: &Path, name: &str) -> Vec<Payload> {
    let mut found = Vec::new();
    for (folder, prefix) in LAYOUTS {
        let folder_path = base.join(folder);
        // Who can make a cgroup there can call it anything.
        let is_roots = fs::metadata(&folder_path).is_ok_and(|folder| folder.is_dir() && folder.uid() == 0);
        let Some(entries) = is_roots.then(|| fs::read_dir(&folder_path).ok()).flatten() else { continue };
        for entry in entries.flatten() {
            let Ok(file) = entry.file_name().into_string() else { continue };
            let Some(rest) = file.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(name)) else {
                continue;
            };
            let is_renamed = match rest.strip_prefix('-') {
                Some(number) => !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()),
                None if rest.is_empty() => false,
                None => continue,
            };
            if !rest.is_empty() && !is_renamed {
                continue;
            }
            let tail = format!("{folder}/{file}").trim_matches('/').to_owned();
            found.push(Payload { path: folder_path.join(&file), tail, is_renamed });
        }
    }
    found
}

/// The container's first process: it is 1 in a pid namespace right below ours.
fn init(payload: &Payload, name: &str) -> Option<u32> {
    let (pid, parent) = first_process(&payload.path, DEPTH)?;
    let cmdline = fs::read(format!("/proc/{parent}/cmdline")).unwrap_or_default();
    match monitored(&String::from_utf8_lossy(&cmdline)) {
        Some(found) if found != name => None,
        None if payload.is_renamed => None,
        Some(_) | None => Some(pid),
    }
}

fn first_process(cgroup: &Path, depth: u32) -> Option<(u32, u32)> {
    let pids = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let is_first = |pid: &str| {
        let pid: u32 = pid.parse().ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some((pid, parent_of_first(&status)?))
    };
    pids.lines().find_map(is_first).or_else(|| {
        let below = depth.checked_sub(1)?;
        let entries = fs::read_dir(cgroup).ok()?;
        entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .find_map(|entry| first_process(&entry.path(), below))
    })
}

/// The parent of a process that is the first of a container's, by its proc_pid_status(5).
fn parent_of_first(status: &str) -> Option<u32> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let pids: Vec<&str> = field("NSpid:")?.split_ascii_whitespace().collect();
    match pids[..] {
        [_, "1"] => field("PPid:")?.trim().parse().ok(),
        _ => None,
    }
}

/// The container that a process says that it watches: `[lxc monitor] LXCPATH NAME`, when it runs in the background.
fn monitored(cmdline: &str) -> Option<&str> {
    let title = cmdline.trim_end_matches('\0').strip_prefix("[lxc monitor] ")?;
    title.rsplit(' ').next()
}

fn is_in(cgroups: &str, tail: &str) -> bool {
    let tail = format!("/{tail}/");
    cgroup_paths(cgroups).any(|path| format!("{path}/").contains(&tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found_where_they_are_mounted() {
        let mounts = "\
23 1 0:21 / /proc rw - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime shared:9 - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 31 0:39 / /mnt/my\\040cgroup rw - cgroup2 cgroup2 rw
";
        let expected = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/mnt/my cgroup"].map(PathBuf::from);
        assert_eq!(cgroup_mounts(mounts), expected);
    }

    #[test]
    fn a_container_is_told_from_its_monitor_and_its_namesakes() {
        let base = tempfile::tempdir().unwrap();
        for path in [
            "lxc.payload.web",
            "lxc.payload.web-2",
            "lxc.payload.web-db",
            "lxc.payload.web-",
            "lxc.payload.website",
            "lxc.payload.my.web",
            "lxc.monitor.web",
            "lxc.payload/web",
            "lxc/web",
            "lxc/web/ns",
            "other/web",
            "web",
        ] {
            fs::create_dir_all(base.path().join(path)).unwrap();
        }

        let mut found = payloads(base.path(), "web");

        found.sort_unstable_by(|one, other| one.tail.cmp(&other.tail));
        let found: Vec<(&str, bool)> = found.iter().map(|one| (one.tail.as_str(), one.is_renamed)).collect();
        let expected = [
            ("lxc.payload.web", false),
            ("lxc.payload.web-2", true),
            ("lxc.payload/web", false),
            ("lxc/web", false),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_first_process_is_1_right_below_ours_and_in_no_nested_container() {
        for (status, parent) in [
            ("Name:\tinit\nPPid:\t40\nNSpid:\t41\t1\n", Some(40)),
            ("Name:\tsh\nPPid:\t41\nNSpid:\t42\t2\n", None),
            ("Name:\tinit\nPPid:\t42\nNSpid:\t43\t3\t1\n", None),
            ("Name:\tsh\nPPid:\t1\nNSpid:\t44\n", None),
            ("Name:\tinit\nPPid:\t0\nNSpid:\t1\n", None),
        ] {
            assert_eq!(parent_of_first(status), parent, "{status}");
        }
    }

    #[test]
    fn the_monitor_says_whose_it_is() {
        assert_eq!(monitored("[lxc monitor] /var/lib/lxc web\0\0"), Some("web"));
        assert_eq!(monitored("lxc-start\0-F\0-n\0web\0"), None);
    }

    #[test]
    fn a_process_is_in_a_container_by_whole_components() {
        assert!(is_in("0::/lxc.payload.web/init.scope\n", "lxc.payload.web"));
        assert!(is_in("9:pids:/job/lxc/web\n0::/\n", "lxc/web"));
        assert!(!is_in("0::/lxc.payload.web-1\n", "lxc.payload.web"));
    }
}
