//! `kill-at N FILE PROGRAM ARGUMENTS…`: runs a program and kills it before its N-th system call that changes something.
//!
//! Calls are counted from 1, over all threads, from when FILE exists; `/` always does. Calls that are made are what `strace -f`
//! shows of the program. What changes nothing beyond the program is not counted: reading, waiting, memory, its own log and
//! wake-ups. With fewer than N calls the program ends by itself, and its end is this program's.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// First argument of the second self, which becomes the program.
const TRACED: &str = "--traced";

fn main() -> Result<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let first = words.next().context("kill-at N FILE PROGRAM ARGUMENTS…")?;
    if first == TRACED {
        let program = words.next().context("a program")?;
        ptrace::traceme()?;
        bail!("cannot start {}: {}", program.display(), Command::new(&program).args(words).exec());
    }
    let at = first.to_str().context("N is a number")?.parse().context("N is a number")?;
    let armed = PathBuf::from(words.next().context("a FILE")?);
    let child = Command::new(std::env::current_exe()?).arg(TRACED).args(words).spawn()?;
    let leader = Pid::from_raw(child.id().try_into()?);
    let status = Hunt { leader, at, counted: 0, armed }.run()?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code)?))
}

struct Hunt {
    leader: Pid,
    at: usize,
    counted: usize,
    armed: PathBuf,
}

impl Hunt {
    /// Follows the program to its end.
    fn run(mut self) -> Result<ExitStatus> {
        let started = waitpid(self.leader, None)?;
        ensure!(matches!(started, WaitStatus::Stopped(_, Signal::SIGTRAP)), "it did not start: {started:?}");
        let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
            | ptrace::Options::PTRACE_O_TRACECLONE
            | ptrace::Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(self.leader, options)?;
        go_on(self.leader, None)?;
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL))? {
                WaitStatus::PtraceSyscall(thread) => {
                    self.meet(thread)?;
                    go_on(thread, None)?;
                }
                // A new thread begins with a stop of its own.
                WaitStatus::PtraceEvent(thread, ..) | WaitStatus::Stopped(thread, Signal::SIGSTOP) => {
                    go_on(thread, None)?;
                }
                WaitStatus::Stopped(thread, signal) => go_on(thread, Some(signal))?,
                WaitStatus::Exited(pid, code) if pid == self.leader => {
                    return Ok(ExitStatus::from_raw(code << 8));
                }
                WaitStatus::Signaled(pid, signal, _) if pid == self.leader => {
                    return Ok(ExitStatus::from_raw(signal as i32));
                }
                // A thread ended.
                _ => {}
            }
        }
    }

    /// A thread is before a system call, or after one.
    fn meet(&mut self, thread: Pid) -> Result<()> {
        if !self.armed.exists() {
            return Ok(());
        }
        let Some(call) = Call::before(self.leader, thread) else { return Ok(()) };
        if !call.changes_something() {
            return Ok(());
        }
        self.counted += 1;
        if self.counted == self.at {
            eprintln!("killed before call {} on {}", call.number, call.target.display());
            kill(self.leader, Signal::SIGKILL)?;
        }
        Ok(())
    }
}

/// Lets a thread go on to its next system call or the end of this one.
fn go_on(thread: Pid, signal: Option<Signal>) -> Result<()> {
    match ptrace::syscall(thread, signal) {
        // It was killed meanwhile, and its end is still to come.
        Err(nix::errno::Errno::ESRCH) => Ok(()),
        result => Ok(result?),
    }
}

/// A system call that is about to be made.
struct Call {
    number: i64,
    /// What its first argument is, if that is a descriptor.
    target: PathBuf,
    third: u64,
}

impl Call {
    /// `None` after a call, and for a thread that was killed.
    fn before(leader: Pid, thread: Pid) -> Option<Self> {
        let info = ptrace::syscall_info(thread).ok()?;
        if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
            return None;
        }
        // `NUMBER 0xARGUMENT… 0xSTACK 0xPROGRAM`, whatever the machine.
        let text = std::fs::read_to_string(format!("/proc/{leader}/task/{thread}/syscall")).ok()?;
        let mut words = text.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let mut argument = || u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok();
        let (first, _, third) = (argument()?, argument()?, argument()?);
        let target = std::fs::read_link(format!("/proc/{leader}/fd/{first}")).unwrap_or_default();
        Some(Self { number, target, third })
    }

    fn changes_something(&self) -> bool {
        match self.number {
            libc::SYS_write | libc::SYS_writev => !self.is_own(),
            libc::SYS_openat => {
                let flags = u64::from((libc::O_CREAT | libc::O_TRUNC).unsigned_abs());
                self.third & flags != 0
            }
            libc::SYS_ioctl => self.target.as_os_str().as_encoded_bytes().starts_with(b"socket:"),
            number => CHANGING.contains(&number),
        }
    }

    /// Its log, and wake-ups of its own threads.
    fn is_own(&self) -> bool {
        let target = self.target.as_os_str().as_encoded_bytes();
        target.starts_with(b"pipe:")
            || target.starts_with(b"anon_inode:")
            || self.target == Path::new("/dev/null")
    }
}

/// Whatever their arguments are.
const CHANGING: &[i64] = &[
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_copy_file_range,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_mount,
    libc::SYS_umount2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
];
