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
    /// `strace`, with the right to trace.
    Strace,
    /// `tcpdump`.
    Tcpdump,
}

impl Need {
    /// The reason to skip, as name and text; `None` when the need is met.
    pub fn unmet(self) -> Option<(&'static str, String)> {
        match self {
            Self::Root if rustix::process::geteuid().is_root() => None,
            Self::Root => Some(("no-root", "network namespaces take root".to_owned())),
            Self::Ovs => runs("ovs-vswitchd", &["--version"]).map(|why| ("no-ovs", why)),
            Self::Docker => crate::Docker::shared().err().map(|why| ("no-docker", format!("{why:#}"))),
            Self::Strace => runs("strace", &["-qq", "true"]).map(|why| ("no-strace", why)),
            Self::Tcpdump => runs("tcpdump", &["--version"]).map(|why| ("no-tcpdump", why)),
        }
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
