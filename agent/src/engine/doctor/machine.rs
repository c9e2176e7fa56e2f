//! The host: what the agent needs of it.

use std::time::{Duration, SystemTime};

use pipewright_api::attachment::Runtime;
use pipewright_api::finding::{Finding, FindingCode, Severity};
use pipewright_api::spec::{Kind, SwitchKind};

use super::finding;
use crate::engine::Engine;
use crate::engine::board::Refused;
use crate::guests::Docker;
use crate::host::Host;
use crate::host::policy::Policy;

const HOST: &str = "host";
/// Capabilities of linux/capability.h, and what fails without.
const NEEDED: [(u32, &str, &str); 6] = [
    (12, "CAP_NET_ADMIN", "nothing can be attached"),
    (21, "CAP_SYS_ADMIN", "guests cannot be entered"),
    (19, "CAP_SYS_PTRACE", "guests of other users cannot be opened"),
    (13, "CAP_NET_RAW", "addresses are neither announced nor leased"),
    (11, "CAP_NET_BROADCAST", "what is changed in guests is not heard of"),
    (1, "CAP_DAC_OVERRIDE", "files of runtimes cannot be read"),
];
/// Less than this in the state directory, in bytes and in files, is nearly full.
const LEAST: (u64, u64) = (64 << 20, 1000);
/// A clock that is behind by less is being adjusted.
const ADJUSTED: Duration = Duration::from_secs(60);
/// How long a runtime may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

impl<H: Host> Engine<H> {
    /// What is wrong with the host itself.
    pub(super) async fn look_at_machine(&self) -> Vec<Finding> {
        let mut found = capabilities();
        found.extend(self.ovsdb());
        found.extend(self.runtime(Runtime::Docker, self.guests.docker()).await);
        found.extend(self.runtime(Runtime::Podman, self.guests.podman()).await);
        found.extend(self.labels());
        found.extend(self.forwarding().await);
        found.extend(self.state_dir());
        found.extend(self.clock());
        found
    }

    /// Open vSwitch that nothing here uses may be away.
    fn ovsdb(&self) -> Option<Finding> {
        let is_used =
            self.shelf.attachments().0.iter().any(|one| one.attachment.spec.kind == Some(Kind::Ovs))
                || self.shelf.switches().iter().any(|switch| switch.spec.kind == SwitchKind::Ovs);
        if self.ovs.facts().is_connected || !is_used {
            return None;
        }
        let text = "Open vSwitch's database does not answer: ports are neither made nor removed, and cannot be looked at";
        Some(finding(
            FindingCode::OvsdbDown,
            Severity::Error,
            HOST,
            text,
            "start ovsdb-server, or name it with --ovsdb",
        ))
    }

    /// A runtime whose socket is there was meant to be.
    async fn runtime(&self, runtime: Runtime, server: &Docker) -> Option<Finding> {
        let is_used = self.shelf.attachments().0.iter().any(|one| one.attachment.guest.runtime == runtime);
        if !server.is_installed() && !is_used {
            return None;
        }
        let why = match tokio::time::timeout(ANSWER, server.version()).await {
            Ok(Ok(_)) => return None,
            Ok(Err(failure)) => failure.message().to_owned(),
            Err(_) => format!("{runtime} does not answer within {} s", ANSWER.as_secs()),
        };
        let severity = if is_used { Severity::Error } else { Severity::Warning };
        let advice = "start it; attachments go on without it, but its guests cannot be looked up";
        Some(finding(FindingCode::RuntimeDown, severity, HOST, why, advice))
    }

    /// What containers ask for and do not get.
    fn labels(&self) -> Vec<Finding> {
        let of_one = |refused: Refused| {
            let Refused { runtime, name, whys, .. } = refused;
            whys.into_iter().map(move |(label, why)| {
                let object = format!("{label} of {runtime}:{name}");
                let advice = "allow it in [labels] of the agent's configuration, or make the container with another one";
                finding(FindingCode::LabelRefused, Severity::Warning, object, why.message(), advice)
            })
        };
        self.board.refused().into_iter().flat_map(of_one).collect()
    }

    async fn forwarding(&self) -> Option<Finding> {
        let is_bridged = |kind| kind == Some(Kind::LinuxBridge);
        if !self.shelf.attachments().0.iter().any(|one| is_bridged(one.attachment.spec.kind)) {
            return None;
        }
        let policy =
            self.kernel.forward_policy().await.unwrap_or_else(|error| Policy::Unknown(error.to_string()));
        let advice = "let frames between ports through: `iptables -I FORWARD -m physdev --physdev-is-bridged -j ACCEPT`, or `sysctl -w net.bridge.bridge-nf-call-iptables=0`";
        match policy {
            Policy::Passes => None,
            Policy::Drops(chain) => {
                let text = format!(
                    "br_netfilter shows frames between ports of linux bridges to {chain}, whose policy is drop"
                );
                Some(finding(FindingCode::ForwardFiltered, Severity::Warning, HOST, text, advice))
            }
            Policy::Unknown(why) => {
                let text = format!(
                    "br_netfilter shows frames between ports of linux bridges to iptables, and whether it drops them cannot be told: {why}"
                );
                Some(finding(FindingCode::NotKnown, Severity::Info, HOST, text, advice))
            }
        }
    }

    fn state_dir(&self) -> Option<Finding> {
        let dir = &self.places.state_dir;
        let object = format!("directory {}", dir.display());
        let advice = "without it nothing can be attached or detached: make room, or remount it";
        let error = |code, text: String| Some(finding(code, Severity::Error, &object, text, advice));
        let seen = match rustix::fs::statvfs(dir) {
            Ok(seen) => seen,
            Err(errno) => {
                return error(FindingCode::StateDirReadOnly, format!("cannot be looked at: {errno}"));
            }
        };
        if seen.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            return error(FindingCode::StateDirReadOnly, "is on a read-only file system".to_owned());
        }
        let (bytes, files) = (seen.f_bavail.saturating_mul(seen.f_frsize), seen.f_favail);
        // A file system without a fixed number of files has none of them free.
        match bytes < LEAST.0 || (seen.f_files > 0 && files < LEAST.1) {
            true => error(
                FindingCode::StateDirFull,
                format!("has room for {} KiB and {files} files", bytes >> 10),
            ),
            false => None,
        }
    }

    fn clock(&self) -> Option<Finding> {
        let newest = self.shelf.attachments().0.iter().map(|one| one.attachment.created_at).max()?;
        let behind = newest.duration_since(SystemTime::now()).ok().filter(|&behind| behind > ADJUSTED)?;
        let text = format!("the clock is {} s behind the newest attachment", behind.as_secs());
        let advice = "set the clock; leases are kept by another one and go on";
        Some(finding(FindingCode::ClockBehind, Severity::Warning, HOST, text, advice))
    }
}

/// `grep CapEff /proc/self/status`
fn capabilities() -> Vec<Finding> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(has) = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()) else {
        let text = "/proc/self/status does not say which capabilities the agent has";
        return vec![finding(FindingCode::NotKnown, Severity::Info, HOST, text, "mount /proc for the agent")];
    };
    let missing = NEEDED.iter().filter(|(bit, _, _)| has & 1 << bit == 0);
    let found = missing.map(|(_, name, without)| {
        let text = format!("the agent has no {name}: {without}");
        let advice = "see CapabilityBoundingSet in deploy/pwagent.service";
        finding(FindingCode::CapabilityMissing, Severity::Error, HOST, text, advice)
    });
    found.collect()
}
