//! What a server gives.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use ipnet::Ipv4Net;
use pipewright_api::dhcp;
use pipewright_api::net::{InterfaceAddr, usable};
use serde::{Deserialize, Serialize};

use super::Moment;
use super::message::{Message, option};

/// A lease time of all ones lasts for ever (RFC 2131 §3.3).
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);
/// With less than this, asking for more would be all that we do.
const SHORTEST: Duration = Duration::from_secs(4);
/// T1 is not heeded below this, for the same reason.
const SHORTEST_T1: Duration = Duration::from_secs(2);
/// Of each list that a server sends; the packet has room for more.
const MOST: usize = 32;
/// The least that IPv4 hosts must take (RFC 791).
const LEAST_MTU: u16 = 576;

/// An address and what comes with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Address and prefix length.
    pub address: InterfaceAddr,
    /// The address alone.
    pub ip: Ipv4Addr,
    /// The server that gave it (option 54).
    pub server: Ipv4Addr,
    /// Where frames to that server go: it, or the router before it.
    pub server_mac: [u8; 6],
    /// When it was asked for; times count from there (RFC 2131 §4.4.1).
    pub since: Moment,
    /// How long it lasts; `None`: for ever.
    pub lasts: Option<Duration>,
    /// After which time to ask the same server for more.
    pub t1: Duration,
    /// After which time to ask every server for more.
    pub t2: Duration,
    /// Routes, in an order in which the kernel takes them.
    pub routes: Vec<LeasedRoute>,
    /// Bytes; option 26.
    pub mtu: Option<u16>,
    /// Option 3.
    pub routers: Vec<Ipv4Addr>,
    /// Option 6.
    pub dns_servers: Vec<Ipv4Addr>,
    /// Option 15.
    pub domain: String,
}

/// A route from a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedRoute {
    /// Where to.
    pub destination: Ipv4Net,
    /// `None`: on the link.
    pub via: Option<Ipv4Addr>,
}

impl LeasedRoute {
    /// Whether it is the default route.
    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }
}

impl Lease {
    /// From an offer or an acknowledgement.
    ///
    /// # Errors
    /// What is wrong with it, such as `it has no server identifier`.
    pub fn read(message: &Message, server_mac: [u8; 6], asked_at: Moment) -> Result<Self, &'static str> {
        let server = message.address(option::SERVER).ok_or("it has no server identifier")?;
        usable(message.yiaddr.into())?;
        let mask = message.address(option::MASK);
        let net = match mask {
            Some(mask) => Ipv4Net::with_netmask(message.yiaddr, mask).map_err(|_| "its mask has gaps")?,
            None => Ipv4Net::new(message.yiaddr, class(message.yiaddr)).map_err(|_| "it has no mask")?,
        };
        let address = net.to_string().parse().map_err(|_| "its address is none of its subnet")?;
        let lasts = message.time(option::LEASE_TIME).ok_or("it has no lease time")?;
        if lasts < SHORTEST {
            return Err("it lasts less than 4 s");
        }
        let lasts = (lasts != FOR_EVER).then_some(lasts);
        let (t1, t2) = times(message, lasts);
        let first = |number| {
            let mut addresses = message.addresses(number);
            addresses.truncate(MOST);
            addresses
        };
        let routers: Vec<Ipv4Addr> = first(option::ROUTERS);
        Ok(Self {
            address,
            ip: message.yiaddr,
            server,
            server_mac,
            since: asked_at,
            lasts,
            t1,
            t2,
            routes: routes(message, net, &routers),
            mtu: message.number(option::MTU).filter(|&mtu| mtu >= LEAST_MTU),
            routers,
            dns_servers: first(option::DNS),
            domain: message.text(option::DOMAIN).unwrap_or_default(),
        })
    }

    /// When to ask its server for more; `None`: never.
    pub fn renew_at(&self) -> Option<Moment> {
        self.lasts.map(|_| self.since + self.t1)
    }

    /// When to ask every server.
    pub fn rebind_at(&self) -> Option<Moment> {
        self.lasts.map(|_| self.since + self.t2)
    }

    /// When it ends.
    pub fn ends_at(&self) -> Option<Moment> {
        self.lasts.map(|lasts| self.since + lasts)
    }

    /// How long it still lasts; zero when it has ended, `None` when it never does.
    pub fn left(&self, now: Moment) -> Option<Duration> {
        self.ends_at().map(|end| end.saturating_sub(now))
    }

    /// Whether it holds a default route.
    pub fn has_default_route(&self) -> bool {
        self.routes.iter().any(LeasedRoute::is_default)
    }

    /// As callers see it.
    pub fn shown(&self, now: Moment, wall: SystemTime) -> dhcp::Lease {
        dhcp::Lease {
            address: self.address,
            server: self.server.into(),
            expires_at: self.left(now).map(|left| wall + left),
            routers: self.routers.iter().copied().map(Into::into).collect(),
            dns_servers: self.dns_servers.iter().copied().map(Into::into).collect(),
            domain: self.domain.clone(),
        }
    }
}

/// The prefix length of an address whose server says none, by its class (RFC 791).
fn class(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    }
}

/// T1 and T2, as the server says or half and seven eighths of the lease (RFC 2131 §4.4.5). A server whose times do not
/// come in order is not heeded.
fn times(message: &Message, lasts: Option<Duration>) -> (Duration, Duration) {
    let Some(lasts) = lasts else { return (FOR_EVER, FOR_EVER) };
    let own = (lasts / 2, lasts / 8 * 7);
    let t2 = message.time(option::T2).unwrap_or(own.1);
    let t1 = message.time(option::T1).unwrap_or(own.0.min(t2));
    if SHORTEST_T1 <= t1 && t1 <= t2 && t2 <= lasts { (t1, t2) } else { own }
}

/// Routes of option 121, or else those of options 33 and 3 (RFC 3442). A router outside the subnet is reached by a route
/// of its own.
fn routes(message: &Message, own: Ipv4Net, routers: &[Ipv4Addr]) -> Vec<LeasedRoute> {
    let mut routes = match message.options.get(&option::CLASSLESS_ROUTES) {
        Some(bytes) => classless(bytes),
        None => {
            let hosts = message.addresses(option::STATIC_ROUTES);
            let pairs = hosts.chunks_exact(2).filter(|pair| !pair[0].is_unspecified());
            let mut routes: Vec<_> =
                pairs.map(|pair| LeasedRoute { destination: pair[0].into(), via: Some(pair[1]) }).collect();
            let default = |&via| LeasedRoute { destination: Ipv4Net::default(), via: Some(via) };
            routes.extend(routers.first().map(default));
            routes
        }
    };
    let is_fit = |route: &LeasedRoute| {
        let is_host = |via: Ipv4Addr| usable(via.into()).is_ok() && via != own.addr();
        let never_leaves =
            route.destination.network().is_loopback() || route.destination.network().is_multicast();
        // The kernel makes the route to the subnet itself.
        !never_leaves && route.destination != own.trunc() && route.via.is_none_or(is_host)
    };
    routes.retain(is_fit);
    let mut seen = std::collections::HashSet::new();
    routes.retain(|route| seen.insert(route.destination));
    routes.truncate(MOST);
    let far: Vec<Ipv4Addr> =
        routes.iter().filter_map(|route| route.via).filter(|via| !own.contains(via)).collect();
    for via in far {
        let host = Ipv4Net::from(via);
        let is_reached = routes.iter().any(|route| route.via.is_none() && route.destination.contains(&via));
        if !is_reached {
            routes.retain(|route| route.destination != host);
            routes.push(LeasedRoute { destination: host, via: None });
        }
    }
    // A next hop must be reachable first.
    routes.sort_by_key(|route| route.via.is_some());
    routes
}

/// Option 121 (RFC 3442): a prefix length, as many bytes as it fills, a router; 0.0.0.0 is none. What is cut short ends it.
fn classless(mut bytes: &[u8]) -> Vec<LeasedRoute> {
    let mut routes = Vec::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let Some((significant, rest)) = rest.split_at_checked(usize::from(length).div_ceil(8)) else { break };
        let Some((via, rest)) = rest.split_first_chunk::<4>() else { break };
        let mut octets = [0; 4];
        for (to, from) in octets.iter_mut().zip(significant) {
            *to = *from;
        }
        let Ok(destination) = Ipv4Net::new(octets.into(), length) else { break };
        let via = Some(Ipv4Addr::from(*via)).filter(|via| !via.is_unspecified());
        routes.push(LeasedRoute { destination: destination.trunc(), via });
        bytes = rest;
    }
    routes
}
