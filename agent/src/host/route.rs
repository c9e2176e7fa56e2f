//! Routes of guests: ours, and those of the guest that ours replace for a while.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;
use pipewright_api::spec::{self, RouteKind, TableId};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::host::address::{family, read_ip};
use crate::host::mark;
use crate::host::message::{attributes, read_u32, to_hex};
use crate::host::netlink::{KernelError, Request, Requests};
use crate::step::{GuestRoute, SavedRoute};

/// Size of `struct rtmsg`, in bytes.
pub(super) const BODY: usize = 12;
/// Attributes of linux/rtnetlink.h.
pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_OIF: u16 = 4;
pub(super) const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
pub(super) const RTA_TABLE: u16 = 15;
pub(super) const RTA_VIA: u16 = 18;
/// The table that packets are routed by unless a rule says otherwise.
const MAIN: u8 = 254;
/// What `ip -6 route add` gives a route without a metric.
const IPV6_METRIC: u32 = 1024;
/// `RTNH_F_ONLINK` of linux/rtnetlink.h.
pub(super) const ONLINK: u32 = 4;

/// A route as the kernel shows it.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) destination: IpNet,
    pub(super) gateway: Option<IpAddr>,
    /// The link's number; `None` for a route over several, or over none.
    pub(super) oif: Option<u32>,
    pub(super) table: u32,
    pub(super) metric: u32,
    source: Option<IpAddr>,
    pub(super) protocol: u8,
    scope: u8,
    pub(super) kind: u8,
    flags: u32,
}

/// `ip route add …`
pub(super) fn add(route: &GuestRoute, oif: Option<u32>) -> Request {
    Request::new(RouteNetlinkMessage::NewRoute(whole(route, oif)), NLM_F_CREATE | NLM_F_EXCL)
}

/// `ip route add … proto dhcp src ADDRESS`
pub(super) fn lease(route: &GuestRoute, oif: u32, source: IpAddr) -> Request {
    let mut message = whole(route, Some(oif));
    message.header.protocol = RouteProtocol::Dhcp;
    message.attributes.push(RouteAttribute::PrefSource(address(source)));
    Request::new(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
}

fn whole(route: &GuestRoute, oif: Option<u32>) -> RouteMessage {
    let mut message = message(route, oif);
    message.header.kind = kind(route);
    if !route.is_marked {
        // As ip(8) does for what an administrator adds.
        message.header.protocol = RouteProtocol::Boot;
    }
    message.header.scope = match (route.details.scope, route.destination, route.via, oif) {
        (Some(spec::RouteScope::Link), ..) => RouteScope::Link,
        (Some(spec::RouteScope::Global), ..) => RouteScope::Universe,
        // IPv6 knows no scopes of routes, and what leads nowhere is no nearer than anything.
        (None, IpNet::V4(_), None, Some(_)) => RouteScope::Link,
        (None, ..) => RouteScope::Universe,
    };
    message.attributes.extend(route.details.source.map(|source| RouteAttribute::PrefSource(address(source))));
    message
}

fn kind(route: &GuestRoute) -> RouteType {
    match route.details.kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Prohibit => RouteType::Prohibit,
    }
}

/// Whether the guest has a route with all that was asked for.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn is_there(
    requests: &mut Requests,
    asked: &GuestRoute,
    oif: Option<u32>,
) -> Result<bool, KernelError> {
    let GuestRoute { destination, via, details, is_marked, .. } = asked;
    let default_metric = if destination.addr().is_ipv4() { 0 } else { IPV6_METRIC };
    let table = u32::from(details.table.unwrap_or(TableId::MAIN));
    let is_asked = |route: &Route| {
        (route.destination, route.gateway, route.table) == (*destination, *via, table)
            && (oif.is_none() || route.oif == oif)
            && route.metric == details.metric.unwrap_or(default_metric)
            && route.kind == u8::from(kind(asked))
            && details.source.is_none_or(|source| route.source == Some(source))
            && (!is_marked || route.protocol == mark::PROTOCOL)
    };
    let bodies = dump(requests, family(destination.addr()), table, oif)?;
    Ok(bodies.iter().filter_map(|body| Route::read(body)).any(|route| is_asked(&route)))
}

/// `ip route del …`
pub(super) fn remove(route: &GuestRoute, oif: Option<u32>) -> Request {
    let mut message = message(route, oif);
    message.header.scope = RouteScope::NoWhere;
    if route.is_marked {
        message.header.kind = kind(route);
    }
    Request::new(RouteNetlinkMessage::DelRoute(message), 0)
}

fn message(route: &GuestRoute, oif: Option<u32>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.destination.addr());
    message.header.destination_prefix_length = route.destination.prefix_len();
    let table = u32::from(route.details.table.unwrap_or(TableId::MAIN));
    // The header has room for a byte.
    message.header.table = u8::try_from(table).unwrap_or_default();
    message.attributes = oif.into_iter().map(RouteAttribute::Oif).collect();
    if message.header.table == 0 {
        message.attributes.push(RouteAttribute::Table(table));
    }
    if route.is_marked {
        message.header.protocol = RouteProtocol::from(mark::PROTOCOL);
    }
    if route.destination.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(address(route.destination.network())));
    }
    message.attributes.extend(route.via.map(|via| match (route.destination, via) {
        (IpNet::V4(_), IpAddr::V6(via)) => RouteAttribute::Via(RouteVia::Inet6(via)),
        (IpNet::V4(_), IpAddr::V4(_)) | (IpNet::V6(_), _) => RouteAttribute::Gateway(address(via)),
    }));
    let metric = match (route.details.metric, route.destination) {
        (Some(metric), _) => Some(metric),
        (None, IpNet::V6(_)) => Some(IPV6_METRIC),
        (None, IpNet::V4(_)) => None,
    };
    message.attributes.extend(metric.map(RouteAttribute::Priority));
    message
}

fn address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    }
}

/// The routes of the main table, of one family; with `oif` only those over that link.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn list(
    requests: &mut Requests,
    family: AddressFamily,
    oif: Option<u32>,
) -> Result<Vec<Route>, KernelError> {
    let bodies = dump(requests, family, MAIN.into(), oif)?;
    let routes = bodies.iter().filter_map(|body| Route::read(body));
    Ok(routes.filter(|route| route.is_in_main() && (oif.is_none() || route.oif == oif)).collect())
}

/// The default routes of a family that `ip route add default` would collide with (`File exists`), or that would win over it: of
/// two the one with the lower metric is used, and a gateway that was asked for would lie idle.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn replaced_by_a_default(
    requests: &mut Requests,
    family: AddressFamily,
) -> Result<Vec<SavedRoute>, KernelError> {
    let metric = if family == AddressFamily::Inet6 { IPV6_METRIC } else { 0 };
    let mut saved = Vec::new();
    for body in dump(requests, family, MAIN.into(), None)? {
        let Some(route) = Route::read(&body) else { continue };
        if route.is_in_main() && route.destination.prefix_len() == 0 && route.metric <= metric {
            let text = route.text(requests);
            saved.push(SavedRoute { text, message: to_hex(&body) });
        }
    }
    Ok(saved)
}

fn dump(
    requests: &mut Requests,
    family: AddressFamily,
    table: u32,
    oif: Option<u32>,
) -> Result<Vec<Vec<u8>>, KernelError> {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = u8::try_from(table).unwrap_or_default();
    message.attributes = vec![RouteAttribute::Table(table)];
    message.attributes.extend(oif.map(RouteAttribute::Oif));
    match requests.dump(RouteNetlinkMessage::GetRoute(message)) {
        Ok(replies) => {
            let is_asked = |body: &Vec<u8>| body.first() == Some(&u8::from(family));
            Ok(replies.into_iter().map(|reply| reply.body).filter(is_asked).collect())
        }
        // A new namespace has no main table before its first route.
        Err(error) if error.errno == libc::ENOENT => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

impl Route {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let header = body.get(..BODY)?;
        let any = match i32::from(header[0]) {
            libc::AF_INET => IpAddr::from([0; 4]),
            libc::AF_INET6 => IpAddr::from([0; 16]),
            _ => return None,
        };
        let mut route = Self {
            destination: IpNet::new(any, header[1]).ok()?,
            gateway: None,
            oif: None,
            table: header[4].into(),
            metric: 0,
            source: None,
            protocol: header[5],
            scope: header[6],
            kind: header[7],
            flags: read_u32(&header[8..])?,
        };
        for (kind, value) in attributes(&body[BODY..]) {
            match kind {
                RTA_DST => route.destination = IpNet::new(read_ip(value)?, header[1]).ok()?,
                RTA_OIF => route.oif = read_u32(value),
                RTA_GATEWAY => route.gateway = read_ip(value),
                // A family (two bytes), then an address of it.
                RTA_VIA => route.gateway = read_ip(value.get(2..)?),
                RTA_PRIORITY => route.metric = read_u32(value)?,
                RTA_PREFSRC => route.source = read_ip(value),
                RTA_TABLE => route.table = read_u32(value)?,
                _ => {}
            }
        }
        Some(route)
    }

    /// Whether somebody added it by himself, as ip(8) does: neither the kernel nor a protocol.
    pub(super) fn is_given(&self) -> bool {
        self.protocol == libc::RTPROT_BOOT && self.kind == libc::RTN_UNICAST
    }

    /// Its metric, when it is not what a route without one gets.
    pub(super) fn unusual_metric(&self) -> Option<u32> {
        let usual = if self.destination.addr().is_ipv4() { 0 } else { IPV6_METRIC };
        Some(self.metric).filter(|&metric| metric != usual)
    }

    pub(super) fn is_in_main(&self) -> bool {
        self.table == u32::from(MAIN)
    }

    /// As `ip route` shows it.
    pub(super) fn text(&self, requests: &Requests) -> String {
        let mut text = match self.kind {
            libc::RTN_BLACKHOLE => "blackhole ",
            libc::RTN_UNREACHABLE => "unreachable ",
            libc::RTN_PROHIBIT => "prohibit ",
            _ => "",
        }
        .to_owned();
        match self.destination.prefix_len() {
            0 => text.push_str("default"),
            _ => append(&mut text, "", self.destination),
        }
        if let Some(gateway) = self.gateway {
            append(&mut text, " via ", gateway);
        }
        if let Some(oif) = self.oif {
            let name = rustix::net::netdevice::index_to_name(requests, oif);
            append(&mut text, " dev ", name.unwrap_or_else(|_| format!("if{oif}")));
        }
        match self.protocol {
            libc::RTPROT_BOOT => {}
            libc::RTPROT_KERNEL => text.push_str(" proto kernel"),
            libc::RTPROT_STATIC => text.push_str(" proto static"),
            9 => text.push_str(" proto ra"),
            16 => text.push_str(" proto dhcp"),
            other => append(&mut text, " proto ", other),
        }
        if self.scope == libc::RT_SCOPE_LINK {
            text.push_str(" scope link");
        }
        if let Some(source) = self.source {
            append(&mut text, " src ", source);
        }
        if self.metric != 0 {
            append(&mut text, " metric ", self.metric);
        }
        if self.flags & ONLINK != 0 {
            text.push_str(" onlink");
        }
        if !self.is_in_main() {
            append(&mut text, " table ", self.table);
        }
        text
    }
}

fn append(text: &mut String, word: &str, value: impl std::fmt::Display) {
    write!(text, "{word}{value}").expect("writing to a String does not fail");
}
