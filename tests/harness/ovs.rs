//! A private Open vSwitch of one host: own database, own sockets, inside the host's namespace.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::netns::Inside;
use crate::process::{Process, command, output};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// Which datapath the labs' bridges run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datapath {
    /// In `ovs-vswitchd`, which works on any kernel.
    Userspace,
    /// In the kernel, with its openvswitch module.
    Kernel,
}

impl Datapath {
    /// That of every lab of this run: the kernel's if `PIPEWRIGHT_DATAPATH=system` says so, as in `make test-vm`.
    pub fn of_labs() -> Self {
        match std::env::var("PIPEWRIGHT_DATAPATH").as_deref() {
            Ok("system") => Self::Kernel,
            Ok(_) | Err(_) => Self::Userspace,
        }
    }

    /// As `Bridge.datapath_type` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Userspace => "netdev",
            Self::Kernel => "system",
        }
    }

    /// What an agent is told by `--ovs-datapath`: where the kernel has one, it finds that out by itself.
    pub(crate) fn for_agents(self) -> &'static str {
        match self {
            Self::Userspace => self.name(),
            Self::Kernel => "auto",
        }
    }
}

/// One of its two daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// `ovsdb-server`.
    Database,
    /// `ovs-vswitchd`.
    Switch,
}

/// The Open vSwitch of a host. Killed when dropped.
#[derive(Debug)]
pub struct Ovs {
    inside: Inside,
    dir: PathBuf,
    switch: Mutex<Option<Process>>,
    database: Mutex<Option<Process>>,
}

impl Ovs {
    /// Makes an empty database in `dir` and starts both daemons; ready when this returns.
    ///
    /// # Errors
    /// A program is missing or does not start.
    pub(crate) fn start(inside: &Inside, dir: PathBuf) -> Result<Self> {
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        output(command("ovsdb-tool")?.arg("create").arg(dir.join("conf.db")).arg(SCHEMA))?;
        let ovs = Self { inside: inside.clone(), dir, switch: Mutex::default(), database: Mutex::default() };
        ovs.start_daemon(Daemon::Database)?;
        output(ovs.client("ovs-vsctl")?.args([&format!("--db={}", ovs.endpoint()), "--no-wait", "init"]))?;
        ovs.start_daemon(Daemon::Switch)?;
        Ok(ovs)
    }

    /// `unix:PATH` of the database.
    pub fn endpoint(&self) -> String {
        format!("unix:{}", self.dir.join("db.sock").display())
    }

    /// `ovs-vsctl WORDS` with a time-out of 10 s; words are separated by blanks.
    ///
    /// # Errors
    /// What `ovs-vsctl` says. It says nothing when the switch refused what the database took.
    pub fn vsctl(&self, words: &str) -> Result<String> {
        let database = format!("--db={}", self.endpoint());
        output(self.client("ovs-vsctl")?.args([&database, "--timeout=10"]).args(words.split_whitespace()))
    }

    /// Makes a bridge with the labs' datapath.
    ///
    /// # Errors
    /// What `ovs-vsctl` says.
    pub fn add_bridge(&self, name: &str) -> Result<()> {
        let datapath = Datapath::of_labs().name();
        self.vsctl(&format!("add-br {name} -- set Bridge {name} datapath_type={datapath}")).map(drop)
    }

    /// The rows of a table as a list of objects from column to value, in OVSDB's notation (RFC 7047, 5.1).
    ///
    /// # Errors
    /// The database does not answer, or prints no table.
    pub fn rows(&self, table: &str, columns: &[&str]) -> Result<Vec<serde_json::Map<String, Value>>> {
        let text = output(
            self.client("ovsdb-client")?
                .args(["--timeout=10", "--format=json", "dump", &self.endpoint(), "Open_vSwitch", table])
                .args(columns),
        )?;
        let table: Value = serde_json::from_str(&text).context("ovsdb-client prints JSON")?;
        let (Some(headings), Some(data)) = (table["headings"].as_array(), table["data"].as_array()) else {
            anyhow::bail!("ovsdb-client printed no table: {text}");
        };
        let heading = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(data
            .iter()
            .filter_map(Value::as_array)
            .map(|row| headings.iter().map(heading).zip(row.iter().cloned()).collect())
            .collect())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill9(&self, daemon: Daemon) -> Result<()> {
        match &mut *self.slot(daemon) {
            Some(process) => process.kill9(),
            None => Ok(()),
        }
    }

    /// SIGSTOP: it stays connected and answers nobody.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn stop(&self, daemon: Daemon) -> Result<()> {
        self.signal(daemon, Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cont(&self, daemon: Daemon) -> Result<()> {
        self.signal(daemon, Signal::CONT)
    }

    fn signal(&self, daemon: Daemon, signal: Signal) -> Result<()> {
        self.slot(daemon).as_ref().map_or(Ok(()), |process| process.signal(signal))
    }

    /// Starts a daemon again after [`Ovs::kill9`], with the database as it is; ready when this returns.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_daemon(&self, daemon: Daemon) -> Result<()> {
        let mut slot = self.slot(daemon);
        ensure!(
            slot.as_ref().is_none_or(|old| !old.is_running().unwrap_or(true)),
            "{daemon:?} of {} already runs",
            self.dir.display()
        );
        let name = match daemon {
            Daemon::Database => "ovsdb-server",
            Daemon::Switch => "ovs-vswitchd",
        };
        let pidfile = self.dir.join(format!("{name}.pid"));
        let mut start = self.client(name)?;
        // A daemon detaches when it is ready, so there is nothing to wait for afterwards.
        start.args(["--detach", "--no-chdir", "--overwrite-pidfile", "-vconsole:off", "-vsyslog:off"]);
        start.arg(format!("--pidfile={}", pidfile.display()));
        start.arg(format!("--log-file={}", self.dir.join(format!("{name}.log")).display()));
        start.arg(format!("--unixctl={}", self.dir.join(format!("{name}.ctl")).display()));
        match daemon {
            Daemon::Database => {
                start.arg(format!("--remote=p{}", self.endpoint())).arg(self.dir.join("conf.db"))
            }
            Daemon::Switch => match Datapath::of_labs() {
                Datapath::Userspace => start.arg("--disable-system").arg(self.endpoint()),
                Datapath::Kernel => start.arg(self.endpoint()),
            },
        };
        output(&mut start)?;
        *slot = Some(Process::adopt(name, &pidfile)?);
        Ok(())
    }

    /// Its pid.
    pub fn pid(&self, daemon: Daemon) -> Option<u32> {
        self.slot(daemon).as_ref().map(Process::pid)
    }

    /// The last 30 lines that each daemon logged and that are no mere information.
    pub fn log(&self) -> String {
        let tail = |name: &str| match std::fs::read_to_string(self.dir.join(name)) {
            Ok(text) => {
                let lines: Vec<&str> = text.lines().filter(|line| !line.contains("|INFO|")).collect();
                lines[lines.len().saturating_sub(30)..].join("\n")
            }
            Err(error) => format!("{name}: {error}"),
        };
        format!("{}\n{}", tail("ovsdb-server.log"), tail("ovs-vswitchd.log"))
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A program of Open vSwitch, inside the host, that finds nothing of the machine's own.
    fn client(&self, program: &str) -> Result<Command> {
        let mut command = self.inside.command(program)?;
        for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(variable, &self.dir);
        }
        Ok(command)
    }

    fn slot(&self, daemon: Daemon) -> MutexGuard<'_, Option<Process>> {
        let slot = match daemon {
            Daemon::Database => &self.database,
            Daemon::Switch => &self.switch,
        };
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
