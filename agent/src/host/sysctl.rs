//! Settings below /proc/sys/net, which shows those of the calling thread's network namespace.
//!
//! Opened one name at a time from a directory: a link's name may contain dots and never becomes part of a path.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::LazyLock;

use pipewright_api::net::LinkName;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::host::netlink::KernelError;

/// Of every link's own settings.
const IPV4_CONF: &str = "/proc/sys/net/ipv4/conf";
const IPV6_CONF: &str = "/proc/sys/net/ipv6/conf";
/// `NET_NS_INIT_INO` of linux/nsfs.h, below all numbers that are given to other namespaces.
const NET_NS_INIT_INO: u64 = 0xEFFF_FFF9;
/// `PROC_SUPER_MAGIC` of linux/magic.h.
const PROC: u64 = 0x9fa0;
/// How a folder is opened.
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// `sysctl -w net/ipv6/conf/LINK/SETTING=VALUE`, in the calling thread's network namespace.
///
/// # Errors
/// ENOENT when the kernel runs without IPv6 or there is no such link; EROFS when /proc/sys is read-only for the agent.
pub(super) fn set_ipv6(link: &str, setting: &str, value: u8) -> Result<(), KernelError> {
    Ok(open(IPV6_CONF, link, setting, OFlags::WRONLY)?.write_all(value.to_string().as_bytes())?)
}

/// `sysctl -w net/ipv4/conf/LINK/SETTING=VALUE`, in the calling thread's network namespace.
///
/// # Errors
/// ENOENT when there is no such link; EROFS when /proc/sys is read-only for the agent.
pub(super) fn set_ipv4(link: &str, setting: &str, value: u8) -> Result<(), KernelError> {
    Ok(open(IPV4_CONF, link, setting, OFlags::WRONLY)?.write_all(value.to_string().as_bytes())?)
}

/// Whether a link has no IPv6; `default` stands for links to come. A kernel without IPv6 has none for all.
///
/// # Errors
/// What open(2) and read(2) say.
pub(super) fn is_ipv6_disabled(link: &str) -> Result<bool, KernelError> {
    let mut text = String::new();
    match open(IPV6_CONF, link, "disable_ipv6", OFlags::RDONLY) {
        Ok(mut file) => file.read_to_string(&mut text)?,
        Err(error) if error.errno == libc::ENOENT => return Ok(true),
        Err(error) => return Err(error),
    };
    Ok(text.trim_ascii_end() != "0")
}

/// Whether the calling thread is in the machine's first network namespace. Pid 1 would tell as well, but it cannot be looked
/// at from everywhere. Since Linux 6.18 it has a number of its own; before, it is the only one with the settings of the machine's
/// queues, a look at which costs the more, the more namespaces there are.
///
/// # Errors
/// ENOENT when /proc is not there: then it is not known.
pub(super) fn is_in_first_netns() -> Result<bool, KernelError> {
    static IS_NUMBERED: LazyLock<bool> = LazyLock::new(is_first_netns_numbered);
    if *IS_NUMBERED { has_first_number() } else { has_first_settings() }
}

fn has_first_number() -> Result<bool, KernelError> {
    Ok(rustix::fs::stat("/proc/thread-self/ns/net")?.st_ino == NET_NS_INIT_INO)
}

fn has_first_settings() -> Result<bool, KernelError> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let core = openat(CWD, "/proc/sys/net/core", folder, Mode::empty())?;
    match rustix::fs::accessat(&core, "netdev_max_backlog", Access::EXISTS, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Where the kernel is of that age, and its word agrees with the settings for the namespace in which this is asked first: the host's.
fn is_first_netns_numbered() -> bool {
    let name = rustix::system::uname();
    let mut numbers =
        name.release().to_str().unwrap_or_default().split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    let is_of_age = (numbers.next(), numbers.next()) >= (Some(6), Some(18));
    is_of_age
        && matches!((has_first_number(), has_first_settings()), (Ok(number), Ok(settings)) if number == settings)
}

/// The folder of the links' own settings in the network namespace in which it was opened. It stays that one's on a thread that
/// has entered another since.
#[derive(Debug)]
pub(super) struct LinkSettings(Option<OwnedFd>);

impl LinkSettings {
    /// Those of IPv6; without IPv6, there are none.
    ///
    /// # Errors
    /// What open(2) says; EINVAL when the folder is not the kernel's.
    pub(super) fn open_ipv6() -> Result<Self, KernelError> {
        match open_folder(IPV6_CONF) {
            Ok(folder) => Ok(Self(Some(folder))),
            Err(error) if error.errno == libc::ENOENT => Ok(Self(None)),
            Err(error) => Err(error),
        }
    }

    /// `sysctl -w net/ipv6/conf/LINK/SETTING=VALUE`; nothing for a link without IPv6, as one with an MTU below 1280 bytes is.
    ///
    /// # Errors
    /// EROFS when /proc/sys is read-only for the agent.
    pub(super) fn set(&self, link: &LinkName, setting: &str, value: u8) -> Result<(), KernelError> {
        let Some(all) = &self.0 else { return Ok(()) };
        match openat(all, link.as_str(), OFlags::PATH | FOLDER, Mode::empty()) {
            Ok(link) => Ok(open_in(&link, setting, OFlags::WRONLY)?.write_all(value.to_string().as_bytes())?),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn open(conf: &str, link: &str, setting: &str, mode: OFlags) -> Result<File, KernelError> {
    let link = link_folder(conf, link, OFlags::PATH)?;
    open_in(&link, setting, mode)
}

fn open_in(link: impl AsFd, setting: &str, mode: OFlags) -> Result<File, KernelError> {
    Ok(openat(link, setting, mode | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?.into())
}

/// The folder of a link's own settings in one below /proc/sys/net.
///
/// # Errors
/// ENOENT when there is no such folder or link; EINVAL when the folder is not the kernel's.
pub(super) fn link_folder(folder: &str, link: &str, mode: OFlags) -> Result<OwnedFd, KernelError> {
    Ok(openat(open_folder(folder)?, link, mode | FOLDER, Mode::empty())?)
}

fn open_folder(folder: &str) -> Result<OwnedFd, KernelError> {
    let all = openat(CWD, folder, OFlags::PATH | FOLDER, Mode::empty())?;
    if rustix::fs::fstatfs(&all)?.f_type.cast_unsigned() != PROC {
        return Err(KernelError::new(libc::EINVAL, format!("{folder} is not the kernel's")));
    }
    Ok(all)
}
