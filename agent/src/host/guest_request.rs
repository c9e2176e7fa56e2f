//! Steps in a guest that are one netlink request each, and so go in one send.

use crate::host::address::Detection;
use crate::host::netlink::{KernelError, Request, Requests};
use crate::host::{address, link, route, saved_route, traffic};
use crate::step::{Place, Step};

/// Steps that are one netlink request in the guest.
pub(super) fn is_guest_request(step: &Step) -> bool {
    debug_assert!(matches!(step.place(), Place::Host | Place::Guest));
    matches!(
        step,
        Step::SetUp { .. }
            | Step::AddAddress { .. }
            | Step::AddRoute(_)
            | Step::RemoveRoute(_)
            | Step::AddTraffic(_)
            | Step::RemoveTraffic(_)
            | Step::SetAsideRoute(_)
            | Step::RestoreRoute(_)
    )
}

/// The request of a step in the guest; `None` when there is nothing to do.
pub(super) fn request(requests: &Requests, step: &Step) -> Result<Option<Request>, KernelError> {
    Ok(match step {
        Step::SetUp { ifname } => Some(link::set_up(ifname)),
        Step::AddAddress { ifname, address, is_checked } => {
            let detection = if *is_checked { Detection::With } else { Detection::Without };
            Some(address::add(link::index(requests, ifname)?, address.net(), detection))
        }
        Step::AddRoute(route) => Some(route::add(route, traffic::oif(requests, route)?)),
        Step::AddTraffic(wanted) => Some(traffic::add(requests, wanted)?),
        Step::RemoveTraffic(wanted) => traffic::remove(requests, wanted)?,
        Step::RemoveRoute(route) => match traffic::oif(requests, route) {
            Ok(index) => Some(route::remove(route, index)),
            Err(error) if error.errno == libc::ENODEV => None,
            Err(error) => return Err(error),
        },
        Step::SetAsideRoute(saved) => Some(saved_route::set_aside(saved)?),
        Step::RestoreRoute(saved) => Some(saved_route::restore(saved)?),
        _ => None,
    })
}

/// What a refused undo may be refused for.
pub(super) fn pardon(requests: &mut Requests, step: &Step, error: KernelError) -> Result<(), KernelError> {
    let is_pardoned = match step {
        Step::RemoveTraffic(wanted) => traffic::is_gone(wanted, error.errno),
        Step::RemoveRoute(_) | Step::SetAsideRoute(_) => matches!(error.errno, libc::ESRCH | libc::ENODEV),
        Step::RestoreRoute(_) if error.errno == libc::EEXIST => true,
        // Over a link that is gone or down there are no routes: the kernel itself would have removed it.
        Step::RestoreRoute(saved) => match saved_route::oif(saved)? {
            Some(oif) => !link::at(requests, oif)?.is_some_and(|link| link.up),
            None => false,
        },
        _ => false,
    };
    if is_pardoned { Ok(()) } else { Err(error) }
}
