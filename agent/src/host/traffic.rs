//! Routes, rules and queueing disciplines of ours in a guest. Each is made by one request that fails where there is one of
//! somebody else's, and taken away by one that fits ours only.

use pipewright_api::net::LinkName;
use pipewright_api::spec::RouteKind;

use crate::host::netlink::{KernelError, Request, Requests};
use crate::host::take::{Run, refusal};
use crate::host::{link, qdisc, route, rule};
use crate::step::{GuestQdisc, GuestRoute, GuestTraffic, Step, StepError};

/// The request that makes it.
///
/// # Errors
/// ENODEV when the link is gone.
pub(super) fn add(requests: &Requests, traffic: &GuestTraffic) -> Result<Request, KernelError> {
    Ok(match traffic {
        GuestTraffic::Route(route) => route::add(route, oif(requests, route)?),
        GuestTraffic::Rule(rule) => rule::add(rule),
        GuestTraffic::Qdisc(GuestQdisc { ifname, qdisc }) => qdisc::add(index(requests, ifname)?, qdisc),
    })
}

/// The request that takes it away; `None` when it went with its link.
///
/// # Errors
/// The kernel does not show the link.
pub(super) fn remove(requests: &Requests, traffic: &GuestTraffic) -> Result<Option<Request>, KernelError> {
    let gone = |error: KernelError| if error.errno == libc::ENODEV { Ok(None) } else { Err(error) };
    match traffic {
        GuestTraffic::Route(route) => {
            oif(requests, route).map(|oif| Some(route::remove(route, oif))).or_else(gone)
        }
        GuestTraffic::Rule(rule) => Ok(Some(rule::remove(rule))),
        GuestTraffic::Qdisc(GuestQdisc { ifname, .. }) => {
            index(requests, ifname).map(|index| Some(qdisc::remove(index))).or_else(gone)
        }
    }
}

/// Whether a refused removal says that there is none of ours.
pub(super) fn is_gone(traffic: &GuestTraffic, errno: i32) -> bool {
    match traffic {
        GuestTraffic::Route(_) => matches!(errno, libc::ESRCH | libc::ENODEV),
        GuestTraffic::Rule(_) => errno == libc::ENOENT,
        // EINVAL: another handle is at the root; ENOENT: none, or the kernel's own.
        GuestTraffic::Qdisc(_) => matches!(errno, libc::ENOENT | libc::EINVAL | libc::ENODEV),
    }
}

/// Whether it is there, as it was asked for.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn is_there(requests: &mut Requests, traffic: &GuestTraffic) -> Result<bool, KernelError> {
    match traffic {
        GuestTraffic::Route(route) => {
            let oif = oif(requests, route)?;
            route::is_there(requests, route, oif)
        }
        GuestTraffic::Rule(rule) => rule::is_there(requests, rule),
        GuestTraffic::Qdisc(GuestQdisc { ifname, qdisc }) => {
            let index = index(requests, ifname)?;
            qdisc::is_there(requests, index, qdisc)
        }
    }
}

/// The number of a route's link; routes that lead nowhere are over none.
pub(super) fn oif(requests: &Requests, route: &GuestRoute) -> Result<Option<u32>, KernelError> {
    match route.details.kind {
        RouteKind::Unicast => index(requests, &route.ifname).map(Some),
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => Ok(None),
    }
}

fn index(requests: &Requests, ifname: &LinkName) -> Result<u32, KernelError> {
    link::index(requests, ifname)
}

impl Run {
    /// Reads back what was added.
    ///
    /// # Errors
    /// [`StepError::NotAsAsked`].
    pub(super) fn verify_traffic(&mut self, step: &Step, wanted: &GuestTraffic) -> Result<(), StepError> {
        let Some(guest) = &mut self.guest else { return Err(StepError::GuestGone) };
        match is_there(&mut guest.requests, wanted).map_err(|error| refusal(step, error))? {
            true => Ok(()),
            false => Err(StepError::NotAsAsked {
                object: "the guest".to_owned(),
                what: "traffic",
                found: "nothing like it".to_owned(),
                expected: step.to_string(),
            }),
        }
    }
}
