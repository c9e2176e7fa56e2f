//! Reading back what was made. The kernel acknowledges some things that it then leaves out, and others change links, too.

use std::fmt;

use ipnet::IpNet;
use pipewright_api::net::{InterfaceAddr, LinkName};
use pipewright_api::spec::PartitionKey;
use rtnetlink::packet_route::AddressFamily;

use crate::host::address::Address;
use crate::host::link::{LinkFacts, Operstate};
use crate::host::mark;
use crate::host::netlink::{KernelError, Requests};
use crate::host::{address, link, port_vlans, route, traffic};
use crate::step::{End, Ends, Expected, GuestLink, GuestRoute, LinkType, StepError, Veth, WholeLink};

/// Why something is not as it was asked for, or could not be read.
#[derive(Debug)]
pub(super) enum Difference {
    NotAsAsked(StepError),
    Unread(KernelError),
}

impl From<KernelError> for Difference {
    fn from(error: KernelError) -> Self {
        Self::Unread(error)
    }
}

/// Compares a link's ends, its addresses and its routes. Gives back the host's end if frames pass it, which is looked at last.
///
/// # Errors
/// The first difference.
pub(super) fn verify(
    host: &mut Requests,
    guest: &mut Requests,
    expected: &Expected,
) -> Result<Option<LinkName>, Difference> {
    let guest_end = verify_guest_end(guest, &expected.ends)?;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        verify_addresses(guest, &guest_end, expected, family)?;
        verify_routes(guest, &guest_end, expected, family)?;
    }
    match &expected.ends {
        Ends::Pair(veth) => {
            let host_end = verify_host_end(host, veth)?;
            Ok((host_end.operstate == Operstate::Up).then(|| veth.host_end.clone()))
        }
        Ends::Single(_) | Ends::Either(_) | Ends::Whole(_) => Ok(None),
    }
}

/// The guest's end.
///
/// # Errors
/// The first difference.
pub(super) fn verify_guest_end(guest: &mut Requests, ends: &Ends) -> Result<LinkFacts, Difference> {
    match ends {
        Ends::Pair(veth) => verify_veth(guest, veth),
        Ends::Single(link) => verify_single(guest, link),
        Ends::Either(end) => verify_end(guest, end),
        Ends::Whole(link) => verify_whole(guest, link),
    }
}

/// The host's end of a pair.
///
/// # Errors
/// The first difference.
pub(super) fn verify_host_end(host: &mut Requests, veth: &Veth) -> Result<LinkFacts, Difference> {
    let name = veth.host_end.as_str();
    let host_end = found(link::find(host, name)?, name)?;
    same(name, "link group", &host_end.group, &mark::group(veth.id))?;
    same(name, "MAC address", &Shown(host_end.mac), &Shown(Some(veth.host_mac)))?;
    same(name, "MTU", &host_end.mtu, &veth.mtu.get())?;
    same(name, "state", &up(&host_end), &"up")?;
    if let Some(bridge) = &veth.bridge {
        let index = link::index(host, bridge)?;
        if host_end.master != Some(index) {
            let master = host_end.master.map(|index| rustix::net::netdevice::index_to_name(&*host, index));
            let master = master.transpose().map_err(KernelError::from)?;
            return Err(difference(name, "bridge", &Shown(master), bridge));
        }
    }
    if let Some(vlan) = &veth.vlan {
        same(name, "VLANs as asked for", &port_vlans::of(host, host_end.index)?.is(vlan), &true)?;
    }
    Ok(host_end)
}

fn verify_veth(guest: &mut Requests, veth: &Veth) -> Result<LinkFacts, Difference> {
    let name = veth.guest_end.as_str();
    let guest_end = found(link::find(guest, name)?, name)?;
    same(name, "link group", &guest_end.group, &mark::group(veth.id))?;
    same(name, "MAC address", &Shown(guest_end.mac), &Shown(Some(veth.guest_mac)))?;
    same(name, "MTU", &guest_end.mtu, &veth.mtu.get())?;
    same(name, "state", &up(&guest_end), &"up")?;
    Ok(guest_end)
}

fn verify_single(guest: &mut Requests, link: &GuestLink) -> Result<LinkFacts, Difference> {
    let name = link.name.as_str();
    let found = found(link::find(guest, name)?, name)?;
    same(name, "kind", &found.kind.as_str(), &link.what.kind())?;
    same(name, "link group", &found.group, &mark::group(link.id))?;
    if link.mac.is_some() {
        same(name, "MAC address", &Shown(found.mac), &Shown(link.mac))?;
    }
    if let Some(mtu) = link.mtu {
        same(name, "MTU", &found.mtu, &mtu.get())?;
    }
    if let LinkType::Ipoib { pkey: Some(pkey), .. } = link.what {
        let there = found.pkey.and_then(|key| PartitionKey::try_from(u32::from(key)).ok());
        same(name, "partition key", &Shown(there), &Shown(Some(pkey)))?;
    }
    same(name, "state", &up(&found), &"up")?;
    Ok(found)
}

fn verify_end(guest: &mut Requests, end: &End) -> Result<LinkFacts, Difference> {
    let name = end.name.as_str();
    let found = found(link::find(guest, name)?, name)?;
    same(name, "kind", &found.kind.as_str(), &"veth")?;
    same(name, "link group", &found.group, &mark::group(end.id))?;
    same(name, "MAC address", &Shown(found.mac), &Shown(Some(end.mac)))?;
    same(name, "MTU", &found.mtu, &end.mtu.get())?;
    same(name, "state", &up(&found), &"up")?;
    Ok(found)
}

fn verify_whole(guest: &mut Requests, link: &WholeLink) -> Result<LinkFacts, Difference> {
    let name = link.name.as_str();
    let found = found(link::find(guest, name)?, name)?;
    same(name, "link group", &found.group, &mark::group(link.id))?;
    same(name, "MAC address", &Shown(found.mac), &Shown(Some(link.mac)))?;
    same(name, "MTU", &found.mtu, &link.mtu.get())?;
    same(name, "state", &up(&found), &"up")?;
    Ok(found)
}

fn verify_addresses(
    guest: &mut Requests,
    end: &LinkFacts,
    expected: &Expected,
    family: AddressFamily,
) -> Result<(), Difference> {
    let asked: Vec<IpNet> =
        expected.addresses.iter().map(|a| a.net()).filter(|&a| is_of(family, a)).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let there = address::list(guest, family, end.index)?;
    asked.into_iter().try_for_each(|asked| has_address(&end.name, &there, asked))
}

/// One address of the link of that name and number.
///
/// # Errors
/// It is not there, or cannot be used.
pub(super) fn verify_address(
    guest: &mut Requests,
    name: &str,
    index: u32,
    asked: InterfaceAddr,
) -> Result<(), Difference> {
    let there = address::list(guest, address::family(asked.addr()), index)?;
    has_address(name, &there, asked.net())
}

fn has_address(name: &str, there: &[Address], asked: IpNet) -> Result<(), Difference> {
    match there.iter().find(|address| address.net == asked) {
        None => same(name, "address", &"nothing", &asked.to_string().as_str()),
        Some(address) if address.duplicate => same(name, "address", &"a duplicate of", &""),
        Some(address) => same(name, "tentative address", &address.tentative, &false),
    }
}

fn verify_routes(
    guest: &mut Requests,
    end: &LinkFacts,
    expected: &Expected,
    family: AddressFamily,
) -> Result<(), Difference> {
    let asked: Vec<_> = expected.routes.iter().filter(|route| is_of(family, route.destination)).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let there = route::list(guest, family, Some(end.index))?;
    asked.into_iter().try_for_each(|asked| has_route(guest, &end.name, &there, asked))
}

/// One route over the link of that name and number.
///
/// # Errors
/// It is not there.
pub(super) fn verify_route(
    guest: &mut Requests,
    name: &str,
    index: u32,
    asked: &GuestRoute,
) -> Result<(), Difference> {
    let there = route::list(guest, address::family(asked.destination.addr()), Some(index))?;
    has_route(guest, name, &there, asked)
}

fn has_route(
    guest: &mut Requests,
    name: &str,
    there: &[route::Route],
    asked: &GuestRoute,
) -> Result<(), Difference> {
    let is_asked =
        |route: &route::Route| route.destination == asked.destination && route.gateway == asked.via;
    let is_there = match asked.details.is_none() {
        true => there.iter().any(is_asked),
        false => route::is_there(guest, asked, traffic::oif(guest, asked)?)?,
    };
    match is_there {
        true => Ok(()),
        false => same(name, "route", &"nothing", &asked.to_string().as_str()),
    }
}

fn is_of(family: AddressFamily, net: IpNet) -> bool {
    address::family(net.addr()) == family
}

fn up(link: &LinkFacts) -> &'static str {
    if link.up { "up" } else { "down" }
}

fn found(link: Option<LinkFacts>, name: &str) -> Result<LinkFacts, Difference> {
    match link {
        Some(link) => Ok(link),
        None => Err(difference(name, "state", &"gone", &"up")),
    }
}

fn same<T: PartialEq + fmt::Display>(
    object: &str,
    what: &'static str,
    found: &T,
    expected: &T,
) -> Result<(), Difference> {
    if found == expected { Ok(()) } else { Err(difference(object, what, found, expected)) }
}

fn difference(
    object: &str,
    what: &'static str,
    found: &impl fmt::Display,
    expected: &impl fmt::Display,
) -> Difference {
    Difference::NotAsAsked(StepError::NotAsAsked {
        object: object.to_owned(),
        what,
        found: found.to_string(),
        expected: expected.to_string(),
    })
}

/// `none` for what is not there.
#[derive(PartialEq)]
struct Shown<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("none"),
        }
    }
}
