//! Network namespaces: how to open one, and to tell it from every other.
//!
//! A number of an inode names a namespace only while it lives, and so does a pid; the cookie is never reused. Who goes inside
//! is in `threads`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::host::sys;
use crate::host::visit::Visit;

/// `NSFS_MAGIC` of linux/magic.h.
const NSFS: u64 = 0x6e73_6673;

/// An open network namespace. It keeps a dead guest's links alive while it is held, so it lives as long as one operation.
#[derive(Debug, Clone)]
pub struct Netns {
    fd: Arc<OwnedFd>,
    /// What is open of it, once something is.
    visit: Arc<Mutex<Option<Visit>>>,
}

/// A process with its network namespace.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its network namespace.
    pub netns: Netns,
    /// When it started, in clock ticks since boot (field 22 of proc_pid_stat(5)): with the pid, who it is.
    pub started: u64,
}

impl Netns {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn own() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"), OFlags::empty())
    }

    /// The namespace of the host's first process.
    ///
    /// # Errors
    /// EACCES without CAP_SYS_PTRACE.
    pub fn of_pid1() -> io::Result<Self> {
        Self::open(Path::new("/proc/1/ns/net"), OFlags::empty())
    }

    /// The namespace of a process. The pidfd is taken first: when it still lives at the end, everything in between was
    /// read from it and not from a later one with its number.
    ///
    /// # Errors
    /// ESRCH when there is no such process, or it ended meanwhile.
    pub fn of_process(pid: u32) -> io::Result<Process> {
        let gone = || io::Error::from_raw_os_error(libc::ESRCH);
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let pidfd = pidfd_open(number, PidfdFlags::empty())?;
        let as_gone = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => gone(),
            _ => error,
        };
        let path = format!("/proc/{pid}/ns/net");
        let netns = Self::open(Path::new(&path), OFlags::empty()).map_err(as_gone)?;
        let started = started(pid).map_err(as_gone)?;
        // A pidfd becomes readable when its process ends.
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut ended, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? {
            0 => Ok(Process { netns, started }),
            _ => Err(gone()),
        }
    }

    /// A mounted namespace, such as `/run/netns/NAME`.
    ///
    /// # Errors
    /// ELOOP for a symbolic link, EINVAL for a file that is no network namespace (`ip netns add` in another mount
    /// namespace leaves an empty one).
    pub fn at(path: &Path) -> io::Result<Self> {
        // Without O_NONBLOCK, opening a FIFO would wait for its writer.
        Self::open(path, OFlags::NOFOLLOW | OFlags::NONBLOCK)
    }

    fn open(path: &Path, flags: OFlags) -> io::Result<Self> {
        let fd = rustix::fs::open(path, flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let is_namespace = rustix::fs::fstatfs(&fd)?.f_type.cast_unsigned() == NSFS;
        if !is_namespace || sys::namespace_kind(&fd)? != libc::CLONE_NEWNET {
            let text = format!("{} is not a network namespace", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Self { fd: Arc::new(fd), visit: Arc::default() })
    }

    /// Moves the calling thread into the namespace. Only for threads that end soon after, and those that come home (`threads`).
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN.
    pub(super) fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// The visit that is under way, or one that begins now. It ends with this value and its clones.
    pub(super) fn visit(&self, begin: impl FnOnce() -> Visit) -> Visit {
        self.visit.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(begin).clone()
    }

    /// The same namespace, for its visit to keep.
    pub(super) fn without_visit(&self) -> Self {
        Self { fd: Arc::clone(&self.fd), visit: Arc::default() }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The cookie of the calling thread's namespace.
///
/// # Errors
/// ENOPROTOOPT on kernels before 5.14.
pub(super) fn own_cookie() -> io::Result<u64> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::netns_cookie(&socket)
}

/// Field 22 of proc_pid_stat(5). The name of the process, field 2, can contain anything, blanks and parentheses too.
fn started(pid: u32) -> io::Result<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    let after_name = stat.iter().rposition(|&byte| byte == b')').map(|end| &stat[end + 1..]);
    after_name
        .and_then(|rest| std::str::from_utf8(rest).ok())
        .and_then(|rest| rest.split_ascii_whitespace().nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has no start time")))
}
