//! A private Open vSwitch: an ovsdb-server of its own and, when asked for, an ovs-vswitchd in a network namespace of its
//! own. Everything lies in one temporary folder and goes with it.

// Each test program uses a part of this.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use tempfile::TempDir;

pub(crate) mod proxy;
pub(crate) mod switch;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// One host's Open vSwitch.
pub(crate) struct OvsServer {
    folder: TempDir,
    database: Option<Pid>,
    switch: Option<Pid>,
    netns: Option<String>,
}

impl OvsServer {
    /// An ovsdb-server with the one row that ovs-ctl would make.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("pwovs").tempdir_in("/tmp").unwrap();
        let mut server = Self { folder, database: None, switch: None, netns: None };
        let file = server.path("conf.db");
        run(Command::new("ovsdb-tool").arg("create").arg(&file).arg(SCHEMA));
        server.start_database();
        server.vsctl(&["init"]);
        server
    }

    /// The same, and an ovs-vswitchd that makes what is asked for.
    pub(crate) fn start_with_switch() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut server = Self::start();
        let netns = format!("pwovs{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &netns]));
        server.netns = Some(netns);
        server.start_switch();
        server
    }

    /// `unix:/…/db.sock`.
    pub(crate) fn endpoint(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("db.sock")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns when it listens: the program goes to the background then.
    pub(crate) fn start_database(&mut self) {
        let mut command = self.daemon("ovsdb-server");
        command.arg(self.path("conf.db")).arg(format!("--remote=punix:{}", self.socket().display()));
        run(&mut command);
        self.database = Some(self.pid_of("ovsdb-server"));
    }

    /// `ovs-appctl -t ovsdb-server …`
    pub(crate) fn appctl(&self, arguments: &[&str]) -> String {
        run(Command::new("ovs-appctl").arg("-t").arg(self.path("ovsdb-server.ctl")).args(arguments))
    }

    pub(crate) fn start_switch(&mut self) {
        let netns = self.netns.clone().expect("made by start_with_switch");
        let inner = self.daemon("ovs-vswitchd");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{netns}")).arg(inner.get_program()).args(inner.get_args());
        self.environment(&mut command);
        run(command.arg("--disable-system").arg(self.endpoint()));
        self.switch = Some(self.pid_of("ovs-vswitchd"));
    }

    pub(crate) fn kill_database(&mut self) {
        kill(self.database.take());
    }

    pub(crate) fn kill_switch(&mut self) {
        kill(self.switch.take());
    }

    /// SIGSTOP: connections stand, and nothing is answered.
    pub(crate) fn freeze_database(&self) {
        kill_process(self.database.unwrap(), Signal::STOP).unwrap();
    }

    pub(crate) fn thaw_database(&self) {
        kill_process(self.database.unwrap(), Signal::CONT).unwrap();
    }

    /// `ovs-vsctl --no-wait …`, as somebody else would.
    pub(crate) fn vsctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("ovs-vsctl");
        command.arg(format!("--db={}", self.endpoint())).args(["--no-wait", "--timeout=10"]);
        run(command.args(arguments))
    }

    /// One line for each row that `find` gives.
    pub(crate) fn find(&self, table: &str, column: &str, condition: &str) -> Vec<String> {
        let column = format!("--columns={column}");
        let found = self.vsctl(&["--bare", &column, "find", table, condition]);
        found.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// A program in the namespace of ovs-vswitchd.
    pub(crate) fn in_netns(&self, program: &str, arguments: &[&str]) -> String {
        let netns = self.netns.as_deref().expect("made by start_with_switch");
        run(Command::new("nsenter").arg(format!("--net=/run/netns/{netns}")).arg(program).args(arguments))
    }

    /// A veth pair in the namespace, so that a port of that name can be made.
    pub(crate) fn add_link(&self, name: &str) {
        self.in_netns(
            "ip",
            &["link", "add", name, "up", "type", "veth", "peer", "name", &format!("x{name}")],
        );
    }

    fn daemon(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (option, end) in [("--pidfile", "pid"), ("--log-file", "log"), ("--unixctl", "ctl")] {
            command.arg(format!("{option}={}", self.path(&format!("{program}.{end}")).display()));
        }
        self.environment(&mut command);
        command.args(["--detach", "--no-chdir", "-vconsole:off"]);
        command
    }

    fn environment(&self, command: &mut Command) {
        for name in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"] {
            command.env(name, self.folder.path());
        }
    }

    fn pid_of(&self, program: &str) -> Pid {
        let text = std::fs::read_to_string(self.path(&format!("{program}.pid"))).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }
}

impl Drop for OvsServer {
    fn drop(&mut self) {
        kill(self.switch.take());
        kill(self.database.take());
        if let Some(netns) = self.netns.take() {
            run(Command::new("ip").args(["netns", "del", &netns]));
        }
    }
}

/// Kills and waits for the end.
fn kill(pid: Option<Pid>) {
    let Some(pid) = pid else { return };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    kill_process(pid, Signal::KILL).unwrap();
    let mut ends = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut ends, None).unwrap();
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {out}{err}");
    out.into_owned()
}
