//! A `pwagent` of a host: started as an operator starts it, killed, started again on the same state.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::docker::Docker;
use crate::host::Host;
use crate::netns::Inside;
use crate::ovs::Datapath;
use crate::process::Process;

const READY: Duration = Duration::from_secs(20);

/// How an agent is started. The default is a plain `pwagent` with the host's Open vSwitch and no Docker.
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    binary: Option<String>,
    under: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    docker: Option<String>,
    ovsdb: Option<String>,
    runtimes: Vec<String>,
    boot: Option<String>,
}

impl AgentOptions {
    /// As the default, with the shared Docker.
    ///
    /// # Errors
    /// Docker cannot run here.
    pub fn with_docker() -> Result<Self> {
        Ok(Self { docker: Some(Docker::shared()?.endpoint()), ..Self::default() })
    }

    /// As [`AgentOptions::with_docker`] where Docker can run, with the lab's other runtimes.
    ///
    /// # Errors
    /// The lab's run cannot be started.
    pub fn with_runtimes() -> Result<Self> {
        let docker = Docker::shared().ok().map(Docker::endpoint);
        Ok(Self { docker, runtimes: crate::runtimes::arguments()?, ..Self::default() })
    }

    /// As the default, but what others change is only told of, so that a story can look at it.
    pub fn reporting() -> Self {
        Self::default().argument("--drift").argument("report")
    }

    /// Another program in its place, found beside it: `pwagent-faulty`.
    #[must_use]
    pub fn binary(mut self, name: &str) -> Self {
        self.binary = Some(name.to_owned());
        self
    }

    /// Started under another program: `["strace", "-f", "-o", "FILE"]`.
    #[must_use]
    pub fn under(mut self, program: &[&str]) -> Self {
        self.under = program.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// As if the host had been started once more: with another `/proc/sys/kernel/random/boot_id`.
    #[must_use]
    pub fn boot(mut self, id: &str) -> Self {
        self.boot = Some(id.to_owned());
        self
    }

    /// One more argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// One more variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another Docker than the shared one, such as a door before it: `unix:PATH`.
    #[must_use]
    pub fn docker(mut self, endpoint: &str) -> Self {
        self.docker = Some(endpoint.to_owned());
        self
    }

    /// Another OVSDB than the host's, such as a proxy to it: `unix:PATH`.
    #[must_use]
    pub fn ovsdb(mut self, endpoint: &str) -> Self {
        self.ovsdb = Some(endpoint.to_owned());
        self
    }
}

/// An agent and its state, across restarts. Killed when dropped.
#[derive(Debug)]
pub struct Agent {
    name: String,
    inside: Inside,
    dir: PathBuf,
    ovsdb: String,
    options: Mutex<AgentOptions>,
    process: Mutex<Option<Process>>,
    // What its earlier lives said.
    past: Mutex<String>,
    // Descriptors open when it was ready.
    base: Mutex<usize>,
}

impl Agent {
    pub(crate) fn new(host: &Host, number: usize, options: AgentOptions) -> Self {
        // A socket that nobody listens on; never the machine's own switch.
        let nowhere = || format!("unix:{}", host.dir().join("nothing.sock").display());
        Self {
            name: format!("agent {number}"),
            inside: host.inside().clone(),
            dir: host.dir().join(format!("agent{number}")),
            ovsdb: host.started_ovs().map_or_else(nowhere, crate::Ovs::endpoint),
            options: Mutex::new(options),
            process: Mutex::default(),
            past: Mutex::default(),
            base: Mutex::default(),
        }
    }

    /// Its name in logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `unix:PATH` that it listens on.
    pub fn endpoint(&self) -> String {
        format!("unix:{}", self.dir.join("agent.sock").display())
    }

    /// Where it keeps its records.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Starts it, with the state that an earlier life left, and waits for the line that says that it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time; with its log.
    pub fn start(&self) -> Result<()> {
        self.launch()?;
        let process = self.process();
        let running = process.as_ref().context("the agent was just started")?;
        let is_ready =
            |line: &str| line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "ready");
        running.wait_line(is_ready, READY)?;
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = open_files(running.pid())?.len();
        Ok(())
    }

    /// Starts it and does not wait, for a life that may end before it is ready.
    ///
    /// # Errors
    /// It runs already, or there is no such program.
    pub fn launch(&self) -> Result<()> {
        let mut process = self.process();
        if let Some(old) = process.as_ref() {
            ensure!(!old.is_running()?, "{} already runs", self.name);
            let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
            *past += &format!("{}\n---- started again\n", old.log());
        }
        std::fs::create_dir_all(self.state_dir())?;
        *process = Some(Process::spawn(&self.name, &mut self.command()?)?);
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(self.state_dir(), std::fs::Permissions::from_mode(0o700))?;
        let options = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        let binary = program(options.binary.as_deref().unwrap_or("pwagent"))?;
        let mut words: Vec<OsString> = Vec::new();
        if let Some(id) = &options.boot {
            let file = self.dir.join("boot_id");
            std::fs::write(&file, id)?;
            let bind = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
            words.extend(
                ["unshare", "--mount", "--propagation", "slave", "sh", "-c", bind].map(OsString::from),
            );
            words.push(file.into());
        }
        words.extend(options.under.iter().map(OsString::from));
        words.push(binary.into());
        let (first, rest) = words.split_first().context("the agent's own program is a word")?;
        let mut command = self.inside.command(first)?;
        command.args(rest);
        let nowhere = || format!("unix:{}", self.dir.join("nothing.sock").display());
        command
            .args(["--listen", &self.endpoint()])
            .args(["--ovs-datapath", Datapath::of_labs().for_agents()])
            .arg("--state-dir")
            .arg(self.state_dir())
            .args(["--ovsdb", options.ovsdb.as_ref().unwrap_or(&self.ovsdb)])
            .args(["--docker", &options.docker.clone().unwrap_or_else(nowhere)])
            .args(&options.arguments)
            .args(match options.runtimes.is_empty() {
                true => crate::runtimes::no_arguments().map(str::to_owned).to_vec(),
                false => options.runtimes.clone(),
            })
            .env_remove("NOTIFY_SOCKET")
            .envs(options.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// How it is started from now on.
    pub fn set_options(&self, options: AgentOptions) {
        *self.options.lock().unwrap_or_else(PoisonError::into_inner) = options;
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill9(&self) -> Result<()> {
        self.process().as_mut().map_or(Ok(()), Process::kill9)
    }

    /// SIGTERM, and waits for the end, which must be a good one.
    ///
    /// # Errors
    /// It does not end within 30 s, or with a bad status.
    pub fn terminate(&self) -> Result<()> {
        let mut process = self.process();
        let running = process.as_mut().context("the agent was never started")?;
        running.signal(Signal::TERM)?;
        let status = running.wait_end(Duration::from_secs(30))?;
        ensure!(status.is_some_and(|status| status.success()), "{} ended with {status:?}", self.name);
        Ok(())
    }

    /// Waits for an end that it comes to by itself.
    ///
    /// # Errors
    /// It goes on.
    pub fn wait_end(&self, deadline: Duration) -> Result<()> {
        self.process().as_mut().map_or(Ok(()), |process| process.wait_end(deadline).map(drop))
    }

    /// SIGKILL, and starts it again on the same state.
    ///
    /// # Errors
    /// It is not ready in time.
    pub fn crash_and_restart(&self) -> Result<()> {
        self.kill9()?;
        self.start()
    }

    /// Any signal, such as SIGSTOP.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process().as_ref().map_or(Ok(()), |process| process.signal(signal))
    }

    /// Its pid, when it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().filter(|process| process.is_running().unwrap_or(false)).map(Process::pid)
    }

    /// What each of its open descriptors is, as in `/proc/PID/fd`; and how many there were when it became ready.
    ///
    /// # Errors
    /// It does not run.
    pub fn open_files(&self) -> Result<(Vec<String>, usize)> {
        let pid = self.pid().context("the agent does not run")?;
        Ok((open_files(pid)?, *self.base.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Waits for a line of its log, in this life.
    ///
    /// # Errors
    /// It ends before, or the time runs out.
    pub fn wait_line(&self, part: &str, deadline: Duration) -> Result<String> {
        let process = self.process();
        let running = process.as_ref().context("the agent was never started")?;
        running.wait_line(|line| line.contains(part), deadline)
    }

    /// All that it has said, in every life.
    pub fn log(&self) -> String {
        let now = self.process().as_ref().map(Process::log).unwrap_or_default();
        self.past.lock().unwrap_or_else(PoisonError::into_inner).clone() + &now
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_files(pid: u32) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        // One that is closed meanwhile is not open.
        if let Ok(target) = std::fs::read_link(entry?.path()) {
            files.push(target.display().to_string());
        }
    }
    Ok(files)
}

/// A program of this build: in `PIPEWRIGHT_BIN_DIR`, or beside the test.
///
/// # Errors
/// It has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("PIPEWRIGHT_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let test = std::env::current_exe()?;
            let folder = test.parent().context("a program is in a folder")?;
            // Cargo puts tests into target/debug/deps and programs into target/debug.
            if folder.ends_with("deps") { folder.join("..") } else { folder.to_owned() }
        }
    };
    let path = folder.join(name);
    ensure!(path.exists(), "{} is not built; run `cargo build --workspace`", path.display());
    Ok(path)
}
