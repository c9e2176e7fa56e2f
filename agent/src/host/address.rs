//! Addresses of links.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use pipewright_api::net::InterfaceAddr;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};

use crate::dhcp::given::Lifetimes;
use crate::host::message::{attributes, read_u32};
use crate::host::netlink::{KernelError, Request, Requests};

/// Size of `struct ifaddrmsg`, in bytes.
const BODY: usize = 8;
/// Attributes and flags of linux/if_addr.h.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_TENTATIVE: u32 = 0x40;
const IFA_F_PERMANENT: u32 = 0x80;

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Address and prefix length.
    pub net: IpNet,
    /// The link's number.
    pub index: u32,
    /// Still being checked for duplicates (RFC 4862).
    pub tentative: bool,
    /// Found to be somebody else's.
    pub duplicate: bool,
    /// Nobody gave it a limited lifetime.
    pub permanent: bool,
}

impl Address {
    /// Whether it is one that the kernel made of a router's advertisement. Those that others give to a new link do not end.
    pub(super) fn is_from_router(&self) -> bool {
        let is_global =
            matches!(self.net.addr(), IpAddr::V6(v6) if !v6.is_unicast_link_local() && !v6.is_loopback());
        is_global && !self.permanent
    }
}

/// Whether the kernel looks if somebody else has an IPv6 address. Duplicate address detection (RFC 4862 §5.4) keeps it
/// unusable for 1 to 2 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detection {
    /// `nodad`: who asks for a fixed address has given it out.
    Without,
    With,
}

/// `ip addr add ADDRESS dev INDEX`, IPv4 with the broadcast address of its subnet.
pub(super) fn add(index: u32, address: IpNet, detection: Detection) -> Request {
    let message = message(index, address, detection);
    Request::new(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
}

fn message(index: u32, net: IpNet, detection: Detection) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(net.addr());
    message.header.prefix_len = net.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Address(net.addr()), AddressAttribute::Local(net.addr())];
    match net {
        // A /31 has no broadcast address (RFC 3021), and a /32 nobody to send to.
        IpNet::V4(net) if net.prefix_len() <= 30 => {
            message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
        }
        IpNet::V4(_) => {}
        IpNet::V6(_) if detection == Detection::With => {}
        IpNet::V6(_) => {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    message
}

/// `ip addr replace ADDRESS dev INDEX valid_lft SECONDS preferred_lft SECONDS`: the kernel itself takes an address away
/// whose lease nobody renews.
pub(super) fn lease(index: u32, address: InterfaceAddr, left: Lifetimes, detection: Detection) -> Request {
    let seconds = |left: Option<Duration>| {
        left.map_or(u32::MAX, |left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX))
    };
    let mut message = message(index, address.net(), detection);
    let mut lifetime = CacheInfo::default();
    (lifetime.ifa_valid, lifetime.ifa_preferred) = (seconds(left.valid), seconds(left.preferred));
    message.attributes.push(AddressAttribute::CacheInfo(lifetime));
    Request::new(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// `ip addr del ADDRESS dev INDEX`
pub(super) fn remove(index: u32, address: InterfaceAddr) -> Request {
    Request::new(RouteNetlinkMessage::DelAddress(message(index, address.net(), Detection::Without)), 0)
}

/// The addresses of a link, of one family.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn list(
    requests: &mut Requests,
    family: AddressFamily,
    index: u32,
) -> Result<Vec<Address>, KernelError> {
    let mut message = AddressMessage::default();
    message.header.family = family;
    message.header.index = index;
    let replies = requests.dump(RouteNetlinkMessage::GetAddress(message))?;
    let addresses = replies.iter().filter_map(|reply| read(&reply.body));
    Ok(addresses.filter(|address| address.index == index).collect())
}

/// The addresses of a link, of both families.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn list_all(requests: &mut Requests, index: u32) -> Result<Vec<Address>, KernelError> {
    let mut addresses = list(requests, AddressFamily::Inet, index)?;
    addresses.extend(list(requests, AddressFamily::Inet6, index)?);
    Ok(addresses)
}

fn read(body: &[u8]) -> Option<Address> {
    let prefix = *body.get(1)?;
    let mut flags = u32::from(*body.get(2)?);
    let index = read_u32(body.get(4..)?)?;
    let (mut local, mut other) = (None, None);
    for (kind, value) in attributes(body.get(BODY..)?) {
        match kind {
            IFA_LOCAL => local = read_ip(value),
            // On a point-to-point link this is the far end; elsewhere the same as the local one, and IPv6 has only it.
            IFA_ADDRESS => other = read_ip(value),
            IFA_FLAGS => flags = read_u32(value)?,
            _ => {}
        }
    }
    Some(Address {
        net: IpNet::new(local.or(other)?, prefix).ok()?,
        index,
        tentative: flags & IFA_F_TENTATIVE != 0,
        duplicate: flags & IFA_F_DADFAILED != 0,
        permanent: flags & IFA_F_PERMANENT != 0,
    })
}

pub(super) fn read_ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
