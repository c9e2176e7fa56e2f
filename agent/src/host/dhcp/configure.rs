//! A guest's link as its lease says: address, routes, MTU. Whatever part of it was done before, it is the same afterwards.

use std::io;

use pipewright_api::net::InterfaceAddr;
use rtnetlink::packet_route::AddressFamily;

use crate::dhcp::given::{Given, GivenRoute};
use crate::host::address::Detection;
use crate::host::netlink::{KernelError, Requests};
use crate::host::take::{Run, refusal, unless};
use crate::host::{address, announce, dhcp, link, route};
use crate::step::{GuestRoute, LeaseUse, SavedRoute, Step, StepError};

impl Run {
    /// From what the link was given to what the server gave last; that may be nothing.
    pub(in crate::host) fn apply_lease(&mut self, step: &Step, asked: &LeaseUse) -> Result<(), StepError> {
        match self.kernel.leases.given(asked.id, asked.family) {
            Some(lease) => self.configure(step, asked, &lease),
            None => self.withdraw_lease(step, asked),
        }
    }

    fn configure(&mut self, step: &Step, asked: &LeaseUse, lease: &Given) -> Result<(), StepError> {
        let leases = &self.kernel.leases;
        let Some(guest) = &mut self.guest else { return Err(StepError::GuestGone) };
        let guest = &mut guest.requests;
        let old = leases.applied(asked.id, asked.family).map(|old| Used::of(&old, asked));
        let new = Used::of(lease, asked);
        // From here on it may be there in part, so that is what the next change begins from.
        leases.apply(asked.id, asked.family, Some(lease.clone()));

        let fail = |error| refusal(step, error);
        let link = link::find(guest, asked.ifname.as_str()).map_err(fail)?;
        let link = link.ok_or_else(|| fail(KernelError::new(libc::ENODEV, "there is no such link")))?;
        if let Some(old) = &old {
            remove(guest, link.index, asked, old, Some(&new)).map_err(fail)?;
        }
        if let Some(mtu) = lease.mtu().map(u32::from).filter(|&mtu| mtu < link.mtu) {
            guest.request(&link::set_mtu(link.index, mtu)).map_err(fail)?;
        }
        // One that is to be checked was checked before it got here.
        let left = lease.left(dhcp::now());
        let request = address::lease(link.index, new.address, left, Detection::Without);
        guest.request(&request).map_err(fail)?;
        if new.has_default_route() {
            self.take_list(&asked.replaces, Step::SetAsideRoute)?;
        }
        let Some(guest) = &mut self.guest else { return Err(StepError::GuestGone) };
        add_routes(&mut guest.requests, link.index, asked, &new).map_err(fail)?;
        is_there(&mut guest.requests, link.index, &new, asked)?;
        if old.as_ref().is_none_or(|old| old.address != new.address) {
            let socket = announce::announce(link.index, link.mac.unwrap_or(asked.mac), &[lease.ip()]);
            self.close_later.push(socket.map_err(|error: io::Error| fail(error.into()))?);
        }
        if old.is_some_and(|old| old.has_default_route()) && !new.has_default_route() {
            self.take_list(&asked.replaces, Step::RestoreRoute)?;
        }
        Ok(())
    }

    /// To a link without address, and the guest's own default route back in its place.
    pub(in crate::host) fn withdraw_lease(&mut self, step: &Step, asked: &LeaseUse) -> Result<(), StepError> {
        let leases = &self.kernel.leases;
        let Some(guest) = &mut self.guest else { return Ok(()) };
        let guest = &mut guest.requests;
        let fail = |error| refusal(step, error);
        // What was on a link that is gone went with it.
        if let Some(link) = link::find(guest, asked.ifname.as_str()).map_err(fail)? {
            if let Some(old) = leases.applied(asked.id, asked.family) {
                remove(guest, link.index, asked, &Used::of(&old, asked), None).map_err(fail)?;
            }
            if !asked.replaces.is_empty() {
                remove_default(guest, link.index, asked).map_err(fail)?;
            }
        }
        self.take_list(&asked.replaces, Step::RestoreRoute)?;
        self.kernel.leases.apply(asked.id, asked.family, None);
        Ok(())
    }

    fn take_list(&mut self, saved: &[SavedRoute], step: fn(SavedRoute) -> Step) -> Result<(), StepError> {
        let steps: Vec<Step> = saved.iter().cloned().map(step).collect();
        self.take_in_guest(&steps).1
    }
}

/// What is used of a lease.
struct Used {
    address: InterfaceAddr,
    routes: Vec<GivenRoute>,
}

impl Used {
    fn of(lease: &Given, asked: &LeaseUse) -> Self {
        let mut routes = lease.routes();
        routes.retain(|route| asked.takes_default || !route.is_default());
        Self { address: lease.address(), routes }
    }

    fn has_default_route(&self) -> bool {
        self.routes.iter().any(GivenRoute::is_default)
    }
}

/// Removes what `old` has and `new` has not.
fn remove(
    guest: &mut Requests,
    index: u32,
    asked: &LeaseUse,
    old: &Used,
    new: Option<&Used>,
) -> Result<(), KernelError> {
    let keeps_address = new.is_some_and(|new| new.address == old.address);
    // Routes name the address that they are used with.
    let stays = |route: &&GivenRoute| keeps_address && new.is_some_and(|new| new.routes.contains(route));
    for route in old.routes.iter().filter(|route| !stays(route)) {
        let removed = guest.request(&route::remove(&guest_route(route, asked), Some(index))).map(drop);
        unless(libc::ESRCH, removed)?;
    }
    if !keeps_address {
        // The kernel may have taken it away itself, at the end of its lease.
        unless(libc::EADDRNOTAVAIL, guest.request(&address::remove(index, old.address)).map(drop))?;
    }
    Ok(())
}

fn remove_default(guest: &mut Requests, index: u32, asked: &LeaseUse) -> Result<(), KernelError> {
    for route in route::list(guest, AddressFamily::Inet, Some(index))? {
        if route.destination.prefix_len() == 0 {
            let default = GuestRoute::new(route.destination, route.gateway, asked.ifname.clone());
            unless(libc::ESRCH, guest.request(&route::remove(&default, Some(index))).map(drop))?;
        }
    }
    Ok(())
}

fn add_routes(guest: &mut Requests, index: u32, asked: &LeaseUse, lease: &Used) -> Result<(), KernelError> {
    for given in &lease.routes {
        let wanted = guest_route(given, asked);
        let Err(error) = guest.request(&route::lease(&wanted, index, lease.address.addr())) else { continue };
        let is_same =
            |route: &route::Route| route.destination == wanted.destination && route.gateway == wanted.via;
        let is_there = error.errno == libc::EEXIST
            && route::list(guest, AddressFamily::Inet, Some(index))?.iter().any(is_same);
        if !is_there {
            return Err(KernelError::new(error.errno, format!("ip route add {wanted}: {}", error.text)));
        }
    }
    Ok(())
}

/// Reads the address back.
fn is_there(guest: &mut Requests, index: u32, lease: &Used, asked: &LeaseUse) -> Result<(), StepError> {
    let there = address::list(guest, address::family(lease.address.addr()), index);
    let is_there =
        there.as_ref().is_ok_and(|there| there.iter().any(|address| address.net == lease.address.net()));
    match is_there {
        true => Ok(()),
        false => Err(StepError::NotAsAsked {
            object: asked.ifname.to_string(),
            what: "address",
            found: there.err().map_or_else(|| "nothing".to_owned(), |error| error.to_string()),
            expected: lease.address.to_string(),
        }),
    }
}

/// The first thing of a lease that the guest has not: an address or a route, as ip(8) writes it.
///
/// # Errors
/// The kernel's refusal.
pub(in crate::host) fn missing(
    guest: &mut Requests,
    asked: &LeaseUse,
    lease: &Given,
) -> Result<Option<String>, KernelError> {
    let used = Used::of(lease, asked);
    // That it is missing is told of the link.
    let Some(link) = link::find(guest, asked.ifname.as_str())? else { return Ok(None) };
    let family = address::family(used.address.addr());
    if !address::list(guest, family, link.index)?.iter().any(|address| address.net == used.address.net()) {
        return Ok(Some(used.address.to_string()));
    }
    let there = route::list(guest, family, Some(link.index))?;
    let is_missing = |wanted: &&GivenRoute| {
        !there.iter().any(|route| route.destination == wanted.destination && route.gateway == wanted.via)
    };
    Ok(used.routes.iter().find(is_missing).map(|wanted| guest_route(wanted, asked).to_string()))
}

fn guest_route(route: &GivenRoute, asked: &LeaseUse) -> GuestRoute {
    GuestRoute::new(route.destination, route.via, asked.ifname.clone())
}
