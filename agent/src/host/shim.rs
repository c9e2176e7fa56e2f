//! The host's own macvlan on a link, and routes over it: frames of a parent itself never reach the macvlans on it.
//!
//! It hears whatever its parent hears, and nobody but the guests may notice it. With `arp_filter` and `rp_filter` the kernel
//! answers and hears only those that it has a route to over this link, which are the guests; or the host would be found at two MAC
//! addresses, and get broadcasts twice. It asks for no guest's MAC address itself (see [`Reach`]). Routers are not heard, or
//! the host would have addresses and default routes twice.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};
use pipewright_api::net::LinkName;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkInfo, LinkMessage, MacVlanMode,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::dhcp::given::{Family, Given};
use crate::host::address::{self, Detection};
use crate::host::link::{self, LinkFacts};
use crate::host::netlink::{KernelError, Request, Requests};
use crate::host::sysctl::LinkSettings;
use crate::host::take::unless;
use crate::host::{ignore_routers, mark, neighbour, route, sysctl};
use crate::step::{GuestRoute, LeasedReach, Reach, Shim};

/// Makes one, or finds it made. The calling thread is in the host's namespace, whose settings it writes.
///
/// # Errors
/// EEXIST when the name is that of something else; the kernel's refusal.
pub(super) fn ensure(host: &mut Requests, settings: &LinkSettings, shim: &Shim) -> Result<(), KernelError> {
    let parent = link::index(host, &shim.parent)?;
    let made = host.request(&create(shim, parent)).map(drop);
    unless(libc::EEXIST, made)?;
    let missing = || KernelError::new(libc::ENODEV, format!("link {} does not exist", shim.link));
    let found = link::find(host, shim.link.as_str())?.ok_or_else(missing)?;
    if !is_shim(&found) || found.parent != Some(parent) {
        let text = format!("{} exists and is none of ours on {}", shim.link, shim.parent);
        return Err(KernelError::new(libc::EEXIST, text));
    }
    let name = shim.link.as_str();
    sysctl::set_ipv4(name, "arp_filter", 1)?;
    sysctl::set_ipv4(name, "rp_filter", 1)?;
    ignore_routers::ignore(settings, &shim.link)?;
    unless(
        libc::EAFNOSUPPORT,
        host.request(&link::change(found.index, vec![link::without_link_local()])).map(drop),
    )?;
    host.request(&link::set_up(&shim.link))?;
    if !sysctl::is_ipv6_disabled(name)? {
        let own = Ipv6Net::new_assert(shim.link_local(), 64).into();
        unless(libc::EEXIST, host.request(&address::add(found.index, own, Detection::Without)).map(drop))?;
    }
    Ok(())
}

fn create(shim: &Shim, parent: u32) -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(shim.link.to_string()),
        LinkAttribute::Link(parent),
        LinkAttribute::Address(shim.mac.octets().to_vec()),
        LinkAttribute::Group(mark::SHIM),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)])),
        ]),
    ];
    Request::new(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

fn is_shim(link: &LinkFacts) -> bool {
    link.kind == "macvlan" && link.group == mark::SHIM
}

/// The link, if it is ours.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn to_release(host: &mut Requests, name: &LinkName) -> Result<Option<LinkFacts>, KernelError> {
    Ok(link::find(host, name.as_str())?.filter(is_shim))
}

/// `ip neigh add GUEST lladdr MAC dev LINK; ip route add GUEST dev LINK src SOURCE`, and reads the route back. The neighbour
/// comes first and goes last: its MAC address tells whose route that is.
///
/// # Errors
/// EEXIST when another guest has that address, or the host has another route to it.
pub(super) fn add_route(host: &mut Requests, reach: &Reach) -> Result<(), KernelError> {
    let (index, guest) = (link::index(host, &reach.link)?, reach.destination.addr());
    let added = host.request(&neighbour::add(index, guest, reach.mac)).map(drop);
    added.map_err(|error| match error.errno {
        libc::EEXIST => KernelError::new(error.errno, format!("the host reaches another guest at {guest}")),
        _ => error,
    })?;
    let route = over(reach);
    let added = host.request(&route::add(&route, Some(index))).map(drop);
    added.map_err(|error| match error.errno {
        libc::EEXIST => KernelError::new(error.errno, format!("the host has another route to {guest}")),
        _ => error,
    })?;
    match route::is_there(host, &route, Some(index))? {
        true => Ok(()),
        false => Err(KernelError::new(libc::ENOENT, "the kernel took the route and has none")),
    }
}

/// `ip route del GUEST dev LINK; ip neigh del GUEST dev LINK`
///
/// # Errors
/// The kernel's refusal.
pub(super) fn remove_route(host: &mut Requests, reach: &Reach) -> Result<(), KernelError> {
    let index = match link::index(host, &reach.link) {
        Ok(index) => index,
        Err(error) if error.errno == libc::ENODEV => return Ok(()),
        Err(error) => return Err(error),
    };
    let guest = reach.destination.addr();
    if neighbour::mac(host, index, guest)? != Some(reach.mac) {
        return Ok(());
    }
    forget(host, index, &reach.link, guest)
}

/// Whatever address the route says that the host's packets come from.
fn forget(host: &mut Requests, index: u32, shim: &LinkName, guest: IpAddr) -> Result<(), KernelError> {
    let route = GuestRoute::new(guest.into(), None, shim.clone());
    unless(libc::ESRCH, host.request(&route::remove(&route, Some(index))).map(drop))?;
    unless(libc::ENOENT, host.request(&neighbour::remove(index, guest)).map(drop))
}

/// Has the host reach the address that a server gave, and none that it gave before. The neighbours with the guest's MAC
/// address tell which those are, whoever added them.
///
/// # Errors
/// As [`add_route`]; EADDRNOTAVAIL when the host has no address that the guest could answer to.
pub(super) fn follow(
    host: &mut Requests,
    asked: &LeasedReach,
    lease: Option<&Given>,
) -> Result<(), KernelError> {
    let index = match link::index(host, &asked.link) {
        Ok(index) => index,
        Err(error) if error.errno == libc::ENODEV && lease.is_none() => return Ok(()),
        Err(error) => return Err(error),
    };
    let family = match asked.family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let wanted = lease.map(Given::ip);
    for guest in neighbour::at(host, family, index, asked.mac)? {
        if wanted != Some(guest) && !asked.fixed.contains(&guest) {
            forget(host, index, &asked.link, guest)?;
        }
    }
    let Some(lease) = lease else { return Ok(()) };
    let (destination, source) = (lease.ip().into(), source(host, asked, lease)?);
    let reach = Reach { destination, link: asked.link.clone(), mac: asked.mac, source };
    let is_known = neighbour::mac(host, index, lease.ip())? == Some(asked.mac);
    if is_known && route::is_there(host, &over(&reach), Some(index))? {
        return Ok(());
    }
    remove_route(host, &reach)?;
    add_route(host, &reach)
}

/// What the host's packets to a leased address come from.
fn source(host: &mut Requests, asked: &LeasedReach, lease: &Given) -> Result<IpAddr, KernelError> {
    if asked.family == Family::V6 {
        return Ok(asked.link_local.into());
    }
    let net = lease.address().net().trunc();
    let parent = link::index(host, &asked.parent)?;
    let own = address::list(host, AddressFamily::Inet, parent)?.into_iter().map(|own| own.net.addr());
    let is_near =
        |own: &IpAddr| net.contains(own) || asked.near.iter().any(|near: &IpNet| near.contains(own));
    own.into_iter().find(is_near).ok_or_else(|| {
        let text =
            format!("{} has no address in {net} that the guest could answer to: give it one", asked.parent);
        KernelError::new(libc::EADDRNOTAVAIL, text)
    })
}

fn over(reach: &Reach) -> GuestRoute {
    let mut route = GuestRoute::new(reach.destination, None, reach.link.clone());
    route.details.source = Some(reach.source);
    route
}
