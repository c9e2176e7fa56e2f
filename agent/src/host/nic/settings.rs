//! A link's own settings below /proc/sys/net, which the kernel makes anew when the link comes into a namespace.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::thread;

use rustix::fs::{Dir, Mode, OFlags, fstat, openat};

use crate::host::netlink::KernelError;
use crate::host::netns::Netns;
use crate::host::sysctl::link_folder;
use crate::step::Setting;

/// Where they are, below /proc/sys/net.
const FOLDERS: [&str; 4] = ["ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh"];
/// What new links begin with.
const DEFAULT: &str = "default";
/// Written by way of rtnetlink: here, writing it makes addresses.
const BY_NETLINK: &str = "addr_gen_mode";
/// The owner may write it.
const WRITABLE: u32 = 0o200;

/// The settings of a link that are not those of new links, in the calling thread's network namespace.
///
/// # Errors
/// What open(2) and getdents(2) say.
pub(super) fn differing(link: &str) -> Result<Vec<Setting>, KernelError> {
    let mut settings = Vec::new();
    for folder in FOLDERS {
        let Some(own) = open(folder, link)? else { continue };
        // Only the machine's first namespace has those of neighbours.
        let usual = open(folder, DEFAULT)?;
        let is_usual = |name: &str, value: &String| {
            usual.as_ref().and_then(|usual| read(usual, name)).as_ref() == Some(value)
        };
        for entry in Dir::read_from(&own)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || name == BY_NETLINK {
                continue;
            }
            match read(&own, &name) {
                Some(value) if !is_usual(&name, &value) => {
                    settings.push(Setting { folder: folder.to_owned(), name, value });
                }
                Some(_) | None => {}
            }
        }
    }
    settings.sort_by(|one, other| (&one.folder, &one.name).cmp(&(&other.folder, &other.name)));
    Ok(settings)
}

/// `sysctl -w net/FOLDER/LINK/NAME=VALUE` for each that is another, in the host: what is below /proc/sys/net is that of the
/// calling thread's namespace, and the thread that brings a NIC back is in the guest, which may have a link of that name.
/// Gives back what was refused.
pub(super) fn write_all(home: &Netns, link: &str, settings: &[Setting]) -> Vec<KernelError> {
    if settings.is_empty() {
        return Vec::new();
    }
    let write_there = || match home.enter() {
        Ok(()) => settings.iter().filter_map(|setting| write(link, setting).err()).collect(),
        Err(error) => vec![error.into()],
    };
    let written = thread::scope(|scope| scope.spawn(write_there).join());
    written.unwrap_or_else(|_| vec![KernelError::new(libc::EIO, "the thread that writes settings died")])
}

fn write(link: &str, setting: &Setting) -> Result<(), KernelError> {
    let Setting { folder, name, value } = setting;
    let refuse = |error: KernelError| {
        KernelError::new(error.errno, format!("net/{folder}/{link}/{name}={value}: {}", error.text))
    };
    let Some(own) = open(folder, link).map_err(refuse)? else { return Ok(()) };
    if read(&own, name).as_ref() == Some(value) {
        return Ok(());
    }
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&own, name.as_str(), flags, Mode::empty()).map_err(|errno| refuse(errno.into()))?;
    File::from(file).write_all(value.as_bytes()).map_err(|error| refuse(error.into()))
}

/// `None` where the kernel has no such family, or not on this link.
fn open(folder: &str, link: &str) -> Result<Option<OwnedFd>, KernelError> {
    match link_folder(&format!("/proc/sys/net/{folder}"), link, OFlags::RDONLY) {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if error.errno == libc::ENOENT => Ok(None),
        Err(error) => Err(error),
    }
}

/// `None` for what nobody can write, and for what has no value yet (`stable_secret`).
fn read(folder: &OwnedFd, name: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::empty()).ok()?;
    if fstat(&file).ok()?.st_mode & WRITABLE == 0 {
        return None;
    }
    let mut value = String::new();
    File::from(file).read_to_string(&mut value).ok()?;
    Some(value.trim_ascii_end().to_owned())
}
