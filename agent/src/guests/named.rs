//! Network namespaces that are mounted somewhere: `ip netns add`, Docker's sandboxes.

use std::io::ErrorKind;
use std::path::Path;

use pipewright_api::attachment::{GuestIdentity, Runtime};
use pipewright_api::reason::{Failure, Reason};

use super::Guest;
use crate::host::netns::Netns;

/// Where ip-netns(8) mounts them.
const FOLDER: &str = "/run/netns";

/// The namespace that `ip netns` lists under that name; `None` when there is none.
///
/// # Errors
/// GUEST_NOT_FOUND when something else is in its place.
pub(super) fn find(name: &str) -> Result<Option<Guest>, Failure> {
    open(&Path::new(FOLDER).join(name), name)
}

/// The namespace mounted at a path.
///
/// # Errors
/// GUEST_NOT_FOUND.
pub(super) fn at(path: &Path) -> Result<Guest, Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    open(path, &name)?.ok_or_else(|| {
        Failure::new(
            Reason::GuestNotFound,
            format!("guest \"netns:{}\" not found: no such file", path.display()),
        )
    })
}

fn open(path: &Path, name: &str) -> Result<Option<Guest>, Failure> {
    let netns = match Netns::at(path) {
        Ok(netns) => netns,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let text = format!("guest \"netns:{}\" is not a network namespace: {error}", path.display());
            return Err(Failure::new(Reason::GuestNotFound, text));
        }
    };
    let identity = GuestIdentity {
        runtime: Runtime::Netns,
        id: path.display().to_string(),
        name: name.to_owned(),
        pid: None,
        netns_cookie: 0,
        started_at: String::new(),
    };
    Ok(Some(Guest { identity, netns }))
}
