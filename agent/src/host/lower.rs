//! Setting links of the host down that were set up for guests.

use std::thread;
use std::time::{Duration, Instant};

use pipewright_api::net::LinkName;

use crate::host::link;
use crate::host::netlink::{KernelError, Requests};

/// How long a dead guest's link may take to let go of its parent; longer than the kernel needs for a namespace.
const LET_GO: Duration = Duration::from_secs(2);
/// The kernel has no event for it.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// `ip link set NAME down`, if there is such a link.
///
/// A NIC that cannot filter MAC addresses is promiscuous for as long as a macvlan is on it, and the kernel forgets to end
/// that on a link that is down. A dead guest is announced before its links are gone, so they are waited for.
///
/// # Errors
/// The kernel's refusal.
#[expect(
    clippy::disallowed_methods,
    reason = "the kernel has no event for a link that is promiscuous no more"
)]
pub(super) fn lower(host: &mut Requests, name: &LinkName) -> Result<(), KernelError> {
    let until = Instant::now() + LET_GO;
    while let Some(found) = link::find(host, name.as_str())?.filter(|link| link.promiscuity > 0 && link.up) {
        if Instant::now() >= until {
            tracing::debug!(
                link = found.name,
                "set down although it is promiscuous, for somebody else's sake"
            );
            break;
        }
        thread::sleep(ASK_AGAIN);
    }
    match host.request(&link::set_down(name)) {
        Ok(_) => Ok(()),
        Err(error) if error.errno == libc::ENODEV => Ok(()),
        Err(error) => Err(error),
    }
}
