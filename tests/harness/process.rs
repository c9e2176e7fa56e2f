//! Programs of a lab: run to their end with a deadline, or kept, watched and killed.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::undertaker::{MARK, Run};

/// Longer than anything that goes well; what has not ended then hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// A command that carries the lab's mark and does not get the terminal's Ctrl-C: its owner ends it.
///
/// # Errors
/// The lab's run cannot be started.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(program);
    command.env(MARK, Run::get()?.name()).env("LC_ALL", "C").stdin(Stdio::null()).process_group(0);
    Ok(command)
}

/// A field of proc_pid_stat(5), by its number there, above 2: the name, field 2, can contain anything.
///
/// # Errors
/// The process is gone; there is no such field.
pub fn stat_field(pid: u32, number: usize) -> Result<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let field = number.checked_sub(3).and_then(|place| after_name.split_whitespace().nth(place));
    Ok(field.with_context(|| format!("/proc/{pid}/stat has no field {number}"))?.to_owned())
}

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

/// Runs a program to its end.
///
/// # Errors
/// It cannot be started, or runs for more than 60 s, when it is killed. A bad status is not an error here.
pub fn run(command: &mut Command) -> Result<Ended> {
    let what = format!("{command:?}");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {what}"))?;
    let stdout = child.stdout.take().map(read_all);
    let stderr = child.stderr.take().map(read_all);
    let pidfd = pidfd_open(pid_of(&child)?, PidfdFlags::empty())?;
    if !readable_within(&pidfd, DEADLINE)? {
        child.kill()?;
        child.wait()?;
        bail!("{what} did not end within {DEADLINE:?}");
    }
    let status = child.wait()?;
    let text = |reader: Option<std::thread::JoinHandle<String>>| {
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    };
    Ok(Ended { status, stdout: text(stdout), stderr: text(stderr) })
}

/// Runs a program that must succeed; gives its standard output.
///
/// # Errors
/// As [`run`], and a bad status with what the program said.
pub fn output(command: &mut Command) -> Result<String> {
    let ended = run(command)?;
    ensure!(ended.status.success(), "{command:?}: {}: {}{}", ended.status, ended.stderr, ended.stdout);
    Ok(ended.stdout)
}

fn read_all(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Err(error) = from.read_to_end(&mut bytes) {
            return format!("cannot read the program's output: {error}");
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn pid_of(child: &Child) -> Result<Pid> {
    Pid::from_raw(i32::try_from(child.id())?).context("a child has pid 0")
}

/// Whether a descriptor becomes readable (for a pidfd: the process ended) in time.
pub(crate) fn readable_within(fd: &impl std::os::fd::AsFd, deadline: Duration) -> Result<bool> {
    let end = Instant::now() + deadline;
    loop {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now()))?;
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&left)) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot poll"),
        }
    }
}

/// What a kept program has said until now.
#[derive(Debug, Default)]
struct Log {
    said: Mutex<Said>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program that goes on until it is told to end. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    pidfd: OwnedFd,
    // None for a daemon that put itself in the background.
    child: Option<Child>,
    log: Arc<Log>,
}

impl Process {
    /// Starts a program in the foreground; both its outputs go to one log.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        let child = command
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        // The command holds the pipe's other end, which would keep it open after the program's end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let log = Arc::new(Log::default());
        let writes = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines() {
                let line = line.unwrap_or_else(|error| format!("cannot read the log: {error}"));
                writes.said().lines.push(line);
                writes.more.notify_all();
            }
            writes.said().ended = true;
            writes.more.notify_all();
        });
        let pid = pid_of(&child)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { name: name.to_owned(), pid, pidfd, child: Some(child), log })
    }

    /// Takes over a daemon that put itself in the background and wrote its pid into a file.
    ///
    /// # Errors
    /// The file holds no pid, or that process is gone.
    pub fn adopt(name: &str, pidfile: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(pidfile).with_context(|| format!("cannot read {}", pidfile.display()))?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw).context("a pidfile without a pid")?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).with_context(|| format!("{name} is gone"))?;
        Ok(Self { name: name.to_owned(), pid, pidfd, child: None, log: Arc::default() })
    }

    /// Its pid, as the machine sees it.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a signal; to a program that has ended, nothing.
    ///
    /// # Errors
    /// The kernel refuses for another reason than that.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot signal {}", self.name)),
        }
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn is_running(&self) -> Result<bool> {
        Ok(!readable_within(&self.pidfd, Duration::ZERO)?)
    }

    /// Waits for its end; the status is known of children only.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn wait_end(&mut self, deadline: Duration) -> Result<Option<ExitStatus>> {
        ensure!(
            readable_within(&self.pidfd, deadline)?,
            "{} did not end within {deadline:?}:\n{}",
            self.name,
            self.log()
        );
        self.child.as_mut().map(Child::wait).transpose().context("cannot reap")
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// It does not end, which takes a process stuck in the kernel.
    pub fn kill9(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait_end(DEADLINE).map(drop)
    }

    /// Waits until it has said a line that fits, and gives that line.
    ///
    /// # Errors
    /// It ends before, or the time runs out; with all that it said.
    pub fn wait_line(&self, fits: impl Fn(&str) -> bool, deadline: Duration) -> Result<String> {
        let mut said = self.log.said();
        let end = Instant::now() + deadline;
        loop {
            if let Some(line) = said.lines.iter().find(|line| fits(line)) {
                return Ok(line.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            if said.ended || left.is_zero() {
                let why = if said.ended { "ended" } else { "still runs" };
                bail!(
                    "{} has not said what was waited for, and {why}:\n{}",
                    self.name,
                    said.lines.join("\n")
                );
            }
            said = self.log.more.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until it has said more than that many lines; gives how many it has said by then.
    ///
    /// # Errors
    /// It ends before, or the time runs out; with all that it said.
    pub fn wait_more(&self, lines: usize, deadline: Duration) -> Result<usize> {
        let end = Instant::now() + deadline;
        let mut said = self.log.said();
        loop {
            if said.lines.len() > lines {
                return Ok(said.lines.len());
            }
            let left = end.saturating_duration_since(Instant::now());
            ensure!(
                !said.ended && !left.is_zero(),
                "{} has not said more than {lines} lines:\n{}",
                self.name,
                said.lines.join("\n")
            );
            said = self.log.more.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        self.log.said().lines.join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill9() {
            eprintln!("{error:#}");
        }
    }
}
