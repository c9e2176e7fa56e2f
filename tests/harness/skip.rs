//! Skips with a name. A test that cannot run here says why, is counted at the end of `make test`, and fails CI unless
//! its reason is in `tests/allowed-skips`.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// What a test cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Namespaces take root.
    Root,
    /// `ovsdb-server` and `ovs-vswitchd`.
    Ovs,
    /// A Docker daemon that can be run privately.
    Docker,
    /// A Podman that can be run privately.
    Podman,
    /// LXC's programs.
    Lxc,
    /// `runc`.
    Runc,
    /// dnsmasq and busybox's udhcpd.
    Dhcp,
    /// `strace`, with the right to trace.
    Strace,
    /// A kernel with macvlan.
    Macvlan,
    /// A kernel with ipvlan.
    Ipvlan,
    /// A kernel with dummy links.
    Dummy,
    /// A kernel with 802.1Q sub-interfaces.
    Vlan,
    /// A kernel whose bridges filter VLANs.
    BridgeVlans,
    /// A kernel with netem, which loses and delays packets.
    Netem,
    /// `tcpdump`.
    Tcpdump,
    /// NICs and radios that are there for tests, in the machine's own namespace: those of the VM.
    SpareNic,
    /// A clock that may be set: the VM's.
    OwnClock,
    /// `iw`.
    Iw,
}

impl Need {
    /// The reason to skip, as name and text; `None` when the need is met.
    pub fn unmet(self) -> Option<(&'static str, String)> {
        match self {
            Self::Root if rustix::process::geteuid().is_root() => None,
            Self::Root => Some(("no-root", "network namespaces take root".to_owned())),
            Self::Ovs => runs("ovs-vswitchd", &["--version"]).map(|why| ("no-ovs", why)),
            // `tests/vm/inside` sets it.
            Self::Docker | Self::Podman | Self::Lxc | Self::Runc
                if std::env::var_os("PIPEWRIGHT_VM").is_some() =>
            {
                Some(("vm-docker", "containers are tested on the machine's own kernel".to_owned()))
            }
            Self::Docker => crate::Docker::shared().err().map(|why| ("no-docker", format!("{why:#}"))),
            Self::Podman => {
                crate::runtimes::Podman::shared().err().map(|why| ("no-podman", format!("{why:#}")))
            }
            Self::Lxc => runs("lxc-start", &["--version"]).map(|why| ("no-lxc", why)),
            Self::Runc => runs("runc", &["--version"]).map(|why| ("no-runc", why)),
            Self::Macvlan => lacks("macvlan", "kernel-lacks-macvlan"),
            Self::Ipvlan => lacks("ipvlan", "kernel-lacks-ipvlan"),
            Self::Dummy => lacks("dummy", "kernel-lacks-dummy"),
            Self::Vlan => lacks("vlan", "kernel-lacks-8021q"),
            Self::BridgeVlans => lacks("bridge", "kernel-lacks-vlan-filtering"),
            Self::Netem => refused("tc qdisc add dev lo root netem")
                .map(|said| ("kernel-lacks-netem", format!("no netem here: {said}"))),
            Self::Dhcp => runs("dnsmasq", &["--version"]).map(|why| ("no-dhcp", why)),
            Self::Strace => runs("strace", &["-qq", "true"]).map(|why| ("no-strace", why)),
            Self::SpareNic | Self::OwnClock if std::env::var_os("PIPEWRIGHT_VM").is_some() => None,
            Self::SpareNic => {
                Some(("no-spare-nic", "NICs of the machine's own are lent in the VM".to_owned()))
            }
            Self::OwnClock => Some(("no-own-clock", "the time of day is set in the VM".to_owned())),
            Self::Iw => runs("iw", &["--version"]).map(|why| ("no-iw", why)),
            Self::Tcpdump => runs("tcpdump", &["--version"]).map(|why| ("no-tcpdump", why)),
        }
    }
}

/// Why links of a kind cannot be made; `None` when they can. Tried where nobody sees it.
fn lacks(kind: &str, name: &'static str) -> Option<(&'static str, String)> {
    let on = if matches!(kind, "dummy" | "bridge") { "" } else { "link parent " };
    let how = match kind {
        "vlan" => " id 1",
        "bridge" => " vlan_filtering 1",
        _ => "",
    };
    let script = format!(
        "ip link add parent type veth peer name other && ip link add {on}name tried type {kind}{how}"
    );
    refused(&script).map(|said| (name, format!("no {kind} links here: {said}")))
}

/// What a script says that fails where nobody sees it, in a network namespace of its own; `None` when it does not.
fn refused(script: &str) -> Option<String> {
    let tried = Command::new("unshare").args(["--net", "sh", "-c", script]).stdin(Stdio::null()).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// Why a program does not run; `None` when it does.
fn runs(program: &str, args: &[&str]) -> Option<String> {
    match Command::new(program).args(args).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("{program}: {error}; run `make deps`")),
    }
}

/// Ends a test that returns `Result<()>` here, as skipped: `skip!("kernel-vlan", "the kernel lacks 8021q")`.
#[macro_export]
macro_rules! skip {
    ($name:expr, $($why:tt)+) => {{
        $crate::skip::note($name, &format!($($why)+));
        return Ok(());
    }};
}

/// Ends a test that returns `Result<()>` here, as skipped, unless all needs are met: `needs!(Root, Ovs)`.
#[macro_export]
macro_rules! needs {
    ($($need:ident),+) => {
        for need in [$($crate::Need::$need),+] {
            if let Some((name, why)) = need.unmet() {
                $crate::skip!(name, "{why}");
            }
        }
    };
}

/// Says that the running test is skipped, on the terminal and in the file that `PIPEWRIGHT_SKIPS` names.
pub fn note(name: &str, why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    let why = why.replace(['\n', '\t'], " ");
    // Not eprintln!, which the test runner keeps to itself when a test passes.
    let said = writeln!(std::io::stderr(), "SKIP {name}: {test}: {why}").and_then(|()| {
        let Some(path) = std::env::var_os("PIPEWRIGHT_SKIPS") else { return Ok(()) };
        let mut file = std::fs::File::options().create(true).append(true).open(path)?;
        file.write_all(format!("{name}\t{test}\t{why}\n").as_bytes())
    });
    if let Err(error) = said {
        panic!("cannot note a skip: {error}");
    }
}
