//! Containers that systemd-machined knows: systemd-nspawn's, libvirt's, and whoever else registers with it.
//!
//! Its state files are read, as systemd's own sd_machine_get_class(3) does, and not its D-Bus interface asked: they are there
//! with no bus and while machined is not running (it ends when idle), and the agent's unit needs no bus policy. systemd
//! calls them private, so what is read is only what has been in them since systemd 205: NAME, CLASS, LEADER and SCOPE; a file
//! without these is refused, not guessed at.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use pipewright_api::attachment::Runtime;
use pipewright_api::reason::{Failure, Reason};

use super::Guest;
use super::process::{Noted, cgroup_paths};

/// The folder of machined's state files.
#[derive(Debug, Clone)]
pub(super) struct Machined {
    machines: PathBuf,
}

impl Machined {
    /// The one that writes there.
    pub(super) fn new(machines: &Path) -> Self {
        Self { machines: machines.to_owned() }
    }

    /// A running container by its name; `None` when there is none.
    ///
    /// # Errors
    /// GUEST_NOT_RUNNING, NOT_SUPPORTED_HERE for a virtual machine.
    pub(super) fn find(&self, name: &str) -> Result<Option<Guest>, Failure> {
        let file = self.machines.join(name);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let text = format!("guest \"{name}\": {}: {error}", file.display());
                return Err(Failure::new(Reason::GuestNotRunning, text));
            }
        };
        if value(&text, "CLASS").as_deref() == Some("vm") {
            let text = format!("guest \"{name}\" is a virtual machine, whose links are the host's");
            return Err(Failure::new(Reason::NotSupportedHere, text));
        }
        let leader = value(&text, "LEADER").and_then(|leader| leader.parse().ok());
        // Files were first named by NAME in systemd 205, and are still.
        let (Some(pid), Some(true)) = (leader, value(&text, "NAME").map(|found| found == name)) else {
            let text = format!("guest \"{name}\": {} has no NAME and LEADER that fit", file.display());
            return Err(Failure::new(Reason::GuestNotRunning, text));
        };
        let scope = value(&text, "SCOPE");
        let (id, name) = (name.to_owned(), name.to_owned());
        let asked = name.clone();
        let noted = Noted { runtime: Runtime::Machined, id, name, pid };
        // A leader that ended is forgotten by machined, but not at once.
        let is_it = |_, cgroups: &str| scope.is_none_or(|scope| is_in_unit(cgroups, &scope));
        noted.open(&asked, is_it).map(Some)
    }
}

/// Whether a process is in a unit of systemd.
fn is_in_unit(cgroups: &str, unit: &str) -> bool {
    cgroup_paths(cgroups).any(|path| path.split('/').any(|component| component == unit))
}

/// The value of a variable in an environment file, without quotes and the backslashes within (`env_file_fputs_assignment`
/// of systemd).
fn value(text: &str, name: &str) -> Option<String> {
    let assigned = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    let Some(quoted) = assigned.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Some(assigned.to_owned());
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        value.push(if c == '\\' { chars.next()? } else { c });
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# This is private data. Do not parse.
NAME=web-1
SCOPE=\"machine-web\\\\x2d1.scope\"
CLASS=container
LEADER=4194303
NETIF=3
";

    #[test]
    fn a_state_file_is_an_environment_file() {
        assert_eq!(value(TEXT, "NAME").as_deref(), Some("web-1"));
        assert_eq!(value(TEXT, "SCOPE").as_deref(), Some("machine-web\\x2d1.scope"));
        assert_eq!(value(TEXT, "ROOT"), None);
    }

    #[test]
    fn a_leader_is_in_its_scope() {
        let scope = "machine-web\\x2d1.scope";

        assert!(is_in_unit("0::/machine.slice/machine-web\\x2d1.scope/payload\n", scope));
        assert!(!is_in_unit("0::/machine.slice/machine-web\\x2d11.scope\n", scope));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let machined = Machined::new(folder.path());
        let find = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
            machined.find(name).unwrap_err()
        };

        assert!(machined.find("nobody").unwrap().is_none());
        assert_eq!(find("vm", "NAME=vm\nCLASS=vm\nLEADER=2\n").reason(), Reason::NotSupportedHere);
        for text in [TEXT, "NAME=web\n", "LEADER=2\n", "NAME=web\nLEADER=-1\n", "NAME=db\nLEADER=2\n"] {
            assert_eq!(find("web", text).reason(), Reason::GuestNotRunning, "{text}");
        }
        // The pid is another process's by now.
        let own = format!("NAME=web\nLEADER={}\nSCOPE=machine-web.scope\n", std::process::id());
        assert!(find("web", &own).message().contains("has ended"));
    }
}
