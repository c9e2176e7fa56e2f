//! What hangs on a NIC: addresses, routes, neighbours. They are kept as the kernel's own messages, since any list of
//! properties would miss one.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE};

use crate::host::address::read_ip;
use crate::host::message::{append, attribute, attributes, from_hex, read_u32, to_hex};
use crate::host::netlink::{KernelError, Request, Requests};
use crate::host::route::{self, RTA_OIF, Route};
use crate::host::saved_route::{NEXT_HOP, RTA_CACHEINFO, RTA_MULTIPATH, RTA_NH_ID};
use crate::step::{Kept, SavedRoute};

/// Message types of linux/rtnetlink.h.
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
/// Sizes of `struct ifaddrmsg` and `struct ndmsg`, in bytes; in both, the link's number is at 4.
const ADDRESS: usize = 8;
const NEIGHBOUR: usize = 12;
const NUMBER: std::ops::Range<usize> = 4..8;
/// Of linux/if_addr.h.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_F_TEMPORARY: u32 = 0x01;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_TENTATIVE: u32 = 0x40;
/// Lasts for ever.
const INFINITY: u32 = u32::MAX;
/// Of linux/neighbour.h.
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_CACHEINFO: u16 = 3;
const NDA_PROBES: u16 = 4;
const NDA_IFINDEX: u16 = 8;
const NUD_PERMANENT: u16 = 0x80;
/// `RTPROT_REDIRECT` and `RTPROT_RA` of linux/rtnetlink.h: what the network said, and says again.
const HEARD: [u8; 2] = [1, 9];

const FAMILIES: [libc::c_int; 2] = [libc::AF_INET, libc::AF_INET6];

/// The addresses of a link, in the kernel's order. Temporary ones (RFC 8981) are the kernel's to make.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn addresses(requests: &mut Requests, index: u32) -> Result<Vec<Kept>, KernelError> {
    let mut kept = Vec::new();
    for family in FAMILIES {
        let mut asked = vec![0; ADDRESS];
        asked[0] = family as u8;
        asked[NUMBER].copy_from_slice(&index.to_ne_bytes());
        for reply in requests.dump_raw(&Request::raw(RTM_GETADDR, NLM_F_DUMP, &asked))? {
            let Some(address) = net(&reply.body).filter(|_| is_on(&reply.body, index)) else { continue };
            if family == libc::AF_INET6 && flags(&reply.body) & IFA_F_TEMPORARY != 0 {
                continue;
            }
            kept.push(Kept { text: address.to_string(), message: to_hex(&reply.body) });
        }
    }
    Ok(kept)
}

/// The address of a kept one.
///
/// # Errors
/// EBADMSG when the record is damaged.
pub(super) fn address_of(kept: &Kept) -> Result<IpNet, KernelError> {
    let damaged = || KernelError::new(libc::EBADMSG, format!("the record of {} is damaged", kept.text));
    net(&from_hex(&kept.message, ADDRESS, &kept.text)?).ok_or_else(damaged)
}

/// `ip addr add …`, as it was; nothing when its time is over after `elapsed` seconds. An IPv6 address that was in use is in use
/// at once: it is added without duplicate address detection, and then set to have it, as before.
///
/// # Errors
/// EBADMSG when the record is damaged.
pub(super) fn add_address(kept: &Kept, index: u32, elapsed: u32) -> Result<Vec<Request>, KernelError> {
    let body = from_hex(&kept.message, ADDRESS, &kept.text)?;
    let before = flags(&body);
    let asked = |flags: u32| {
        let mut asked = body[..ADDRESS].to_vec();
        asked[2] = flags as u8;
        asked[NUMBER].copy_from_slice(&index.to_ne_bytes());
        for (kind, value) in attributes(&body[ADDRESS..]) {
            match kind {
                IFA_FLAGS => append(&mut asked, kind, &flags.to_ne_bytes()),
                IFA_CACHEINFO => append(&mut asked, kind, &lasting(value, elapsed)?),
                kind => append(&mut asked, kind, value),
            }
        }
        Some(Request::raw(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &asked))
    };
    let is_v6 = libc::c_int::from(body[0]) == libc::AF_INET6;
    let was_in_use = before & (IFA_F_NODAD | IFA_F_DADFAILED | IFA_F_TENTATIVE) == 0;
    let first = (is_v6 && was_in_use).then(|| asked(before | IFA_F_NODAD)).flatten();
    Ok(first.into_iter().chain(asked(before)).collect())
}

/// A kept address of IPv6 that was in use: not one that was being checked for duplicates, or found to be one.
///
/// # Errors
/// EBADMSG when the record is damaged.
pub(super) fn was_usable(kept: &Kept) -> Result<Option<IpAddr>, KernelError> {
    let body = from_hex(&kept.message, ADDRESS, &kept.text)?;
    let address = address_of(kept)?.addr();
    let is_usable = flags(&body) & (IFA_F_DADFAILED | IFA_F_TENTATIVE) == 0;
    Ok(Some(address).filter(|address| address.is_ipv6() && is_usable))
}

/// The addresses of IPv6 that the host's kernel takes for its own.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn own_ipv6(requests: &mut Requests) -> Result<Vec<IpAddr>, KernelError> {
    let mut asked = vec![0; route::BODY];
    (asked[0], asked[4]) = (libc::AF_INET6 as u8, libc::RT_TABLE_LOCAL);
    append(&mut asked, route::RTA_TABLE, &u32::from(libc::RT_TABLE_LOCAL).to_ne_bytes());
    let replies = requests.dump_raw(&Request::raw(RTM_GETROUTE, NLM_F_DUMP, &asked))?;
    let routes = replies.iter().filter_map(|reply| Route::read(&reply.body));
    Ok(routes.filter(|route| route.kind == libc::RTN_LOCAL).map(|route| route.destination.addr()).collect())
}

/// A `struct ifa_cacheinfo` (preferred, valid, two stamps) some seconds later; `None` when it is over.
fn lasting(times: &[u8], elapsed: u32) -> Option<Vec<u8>> {
    let [preferred, valid] = [read_u32(times)?, read_u32(times.get(4..)?)?];
    let left = |time: u32| if time == INFINITY { time } else { time.saturating_sub(elapsed) };
    let mut later = times.to_vec();
    later[..4].copy_from_slice(&left(preferred).to_ne_bytes());
    later[4..8].copy_from_slice(&left(valid).to_ne_bytes());
    (left(valid) > 0).then_some(later)
}

/// A route over a link, and whether it is over others, too, or over a next hop object.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) route: Route,
    pub(super) saved: SavedRoute,
    pub(super) is_shared: bool,
    pub(super) is_by_object: bool,
}

/// The routes over a link in every table, but those that the kernel makes with addresses or hears from the network.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn routes(requests: &mut Requests, index: u32) -> Result<Vec<Found>, KernelError> {
    let mut found = Vec::new();
    for family in FAMILIES {
        let mut asked = vec![0; route::BODY];
        asked[0] = family as u8;
        append(&mut asked, RTA_OIF, &index.to_ne_bytes());
        for reply in requests.dump_raw(&Request::raw(RTM_GETROUTE, NLM_F_DUMP, &asked))? {
            let Some(route) = Route::read(&reply.body) else { continue };
            let rest = &reply.body[route::BODY..];
            let hops = attribute(rest, RTA_MULTIPATH).map(hops).unwrap_or_default();
            let is_over = route.oif == Some(index) || hops.contains(&index);
            let expires = attribute(rest, RTA_CACHEINFO).and_then(|cache| read_u32(cache.get(8..)?));
            let is_heard = HEARD.contains(&route.protocol) || expires.is_some_and(|left| left != 0);
            if !is_over || is_heard || route.protocol == libc::RTPROT_KERNEL {
                continue;
            }
            let saved = SavedRoute { text: route.text(requests), message: to_hex(&reply.body) };
            let is_shared = hops.iter().any(|&hop| hop != index);
            let is_by_object = attribute(rest, RTA_NH_ID).is_some();
            found.push(Found { route, saved, is_shared, is_by_object });
        }
    }
    Ok(found)
}

/// The links of a route over several.
fn hops(mut bytes: &[u8]) -> Vec<u32> {
    let mut links = Vec::new();
    while let Some(link) = bytes.get(4..NEXT_HOP).and_then(read_u32) {
        links.push(link);
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        bytes = bytes.get(length.max(NEXT_HOP).next_multiple_of(4)..).unwrap_or_default();
    }
    links
}

/// The neighbours of a link that somebody wrote down for ever.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn neighbours(requests: &mut Requests, index: u32) -> Result<Vec<Kept>, KernelError> {
    let mut kept = Vec::new();
    for family in FAMILIES {
        let mut asked = vec![0; NEIGHBOUR];
        asked[0] = family as u8;
        append(&mut asked, NDA_IFINDEX, &index.to_ne_bytes());
        for reply in requests.dump_raw(&Request::raw(RTM_GETNEIGH, NLM_F_DUMP, &asked))? {
            let body = &reply.body;
            let state = body.get(8..10).and_then(|state| state.try_into().ok()).map(u16::from_ne_bytes);
            if state != Some(NUD_PERMANENT) || !is_on(body, index) {
                continue;
            }
            let address = attribute(&body[NEIGHBOUR..], NDA_DST).and_then(read_ip);
            let mac = attribute(&body[NEIGHBOUR..], NDA_LLADDR).unwrap_or_default();
            let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            let Some(address) = address else { continue };
            kept.push(Kept { text: format!("{address} lladdr {}", mac.join(":")), message: to_hex(body) });
        }
    }
    Ok(kept)
}

/// `ip neigh replace …`, as it was.
///
/// # Errors
/// EBADMSG when the record is damaged.
pub(super) fn add_neighbour(kept: &Kept, index: u32) -> Result<Request, KernelError> {
    let body = from_hex(&kept.message, NEIGHBOUR, &kept.text)?;
    let mut asked = body[..NEIGHBOUR].to_vec();
    asked[NUMBER].copy_from_slice(&index.to_ne_bytes());
    for (kind, value) in attributes(&body[NEIGHBOUR..]) {
        if !matches!(kind, NDA_CACHEINFO | NDA_PROBES) {
            append(&mut asked, kind, value);
        }
    }
    Ok(Request::raw(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &asked))
}

fn is_on(body: &[u8], index: u32) -> bool {
    body.get(NUMBER).and_then(read_u32) == Some(index)
}

fn flags(body: &[u8]) -> u32 {
    let all = attribute(body.get(ADDRESS..).unwrap_or_default(), IFA_FLAGS).and_then(read_u32);
    all.unwrap_or_else(|| body.get(2).copied().unwrap_or_default().into())
}

fn net(body: &[u8]) -> Option<IpNet> {
    let rest = body.get(ADDRESS..)?;
    let local = attribute(rest, IFA_LOCAL).or_else(|| attribute(rest, IFA_ADDRESS));
    let address: IpAddr = local.and_then(read_ip)?;
    IpNet::new(address, *body.get(1)?).ok()
}
