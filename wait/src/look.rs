//! What a link looks like: `ip link show`, `ip addr show`, `ip route show default` and `ip neigh show`, as far as the condition
//! asks for it.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use pipewright_api::condition::{Condition, GuestLinkState, answers};
use pipewright_api::net::LinkName;

use crate::netlink::{Requests, attribute, u16_at, u32_at, with_attribute};

/// Sizes of `struct ifinfomsg`, `ifaddrmsg`, `rtmsg`, `rtnexthop` and `ndmsg`, in bytes.
const LINK: usize = 16;
const ADDRESS: usize = 8;
const ROUTE: usize = 12;
const NEXT_HOP: usize = 8;
const NEIGHBOUR: usize = 12;
/// `IFA_FLAGS` of linux/if_addr.h, which the libc crate does not have.
const IFA_FLAGS: u16 = 8;

/// A link, and what it takes to ask its gateways.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) state: GuestLinkState,
    /// Interface index.
    pub(crate) index: u32,
    /// Of all default routes over it.
    pub(crate) gateways: Vec<IpAddr>,
}

/// Looks.
pub(crate) fn at(kernel: &mut Requests, ifname: &LinkName, condition: Condition) -> io::Result<Seen> {
    let named =
        with_attribute(vec![0; LINK], libc::IFLA_IFNAME, &[ifname.as_str().as_bytes(), &[0]].concat());
    let Some((index, flags)) = kernel.get(libc::RTM_GETLINK, &named)?.as_deref().and_then(link) else {
        return Ok(Seen::default());
    };
    let has = |wanted: libc::c_int| flags & wanted as u32 == wanted as u32;
    let mut state = GuestLinkState {
        exists: true,
        up: has(libc::IFF_UP),
        carrier: has(libc::IFF_RUNNING | libc::IFF_LOWER_UP),
        ..GuestLinkState::default()
    };
    if condition >= Condition::Address {
        for body in kernel.dump(libc::RTM_GETADDR, &[0; ADDRESS])? {
            match address(&body, index) {
                Some((net, true)) => state.addresses.push(net),
                Some((net, false)) => state.tentative.push(net),
                None => {}
            }
        }
    }
    let mut gateways = Vec::new();
    if condition >= Condition::Gateway {
        for body in kernel.dump(libc::RTM_GETROUTE, &[0; ROUTE])? {
            gateways.extend(default_gateways(&body, index));
        }
        let mut known = Vec::new();
        for gateway in &gateways {
            known.push((*gateway, neighbour(kernel, index, *gateway)?));
        }
        if let Some((gateway, name)) = known.iter().find(|(_, name)| answers(name)).or(known.first()) {
            (state.gateway, state.gateway_state) = (Some(*gateway), (*name).to_owned());
        }
    }
    Ok(Seen { state, index, gateways })
}

/// Interface index and flags.
fn link(body: &[u8]) -> Option<(u32, u32)> {
    Some((u32_at(body, 4)?, u32_at(body, 8)?))
}

/// An address of that link, and whether it is in use: neither being checked for duplicates (RFC 4862) nor found to be one.
fn address(body: &[u8], index: u32) -> Option<(IpNet, bool)> {
    let (length, short_flags) = (*body.get(1)?, u32::from(*body.get(2)?));
    if u32_at(body, 4)? != index {
        return None;
    }
    let attributes = body.get(ADDRESS..)?;
    // On links with two ends the first is the own one.
    let value =
        attribute(attributes, libc::IFA_LOCAL).or_else(|| attribute(attributes, libc::IFA_ADDRESS))?;
    let flags = attribute(attributes, IFA_FLAGS).and_then(|flags| u32_at(flags, 0)).unwrap_or(short_flags);
    let in_use = flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) == 0;
    Some((IpNet::new(ip(value)?, length).ok()?, in_use))
}

/// The gateways by which a route, if it is a default one of the main table, leads over that link.
fn default_gateways(body: &[u8], index: u32) -> Vec<IpAddr> {
    let Some(attributes) = body.get(ROUTE..) else { return Vec::new() };
    let table = attribute(attributes, libc::RTA_TABLE).and_then(|table| u32_at(table, 0));
    let is_in_main = table.unwrap_or(u32::from(body[4])) == u32::from(libc::RT_TABLE_MAIN);
    if body[1] != 0 || body[7] != libc::RTN_UNICAST || !is_in_main {
        return Vec::new();
    }
    let oif = attribute(attributes, libc::RTA_OIF).and_then(|oif| u32_at(oif, 0));
    let one = gateway(attributes).filter(|_| oif == Some(index));
    let many =
        attribute(attributes, libc::RTA_MULTIPATH).map(|hops| hop_gateways(hops, index)).unwrap_or_default();
    one.into_iter().chain(many).collect()
}

/// Of a route with several next hops, those over that link.
fn hop_gateways(mut hops: &[u8], index: u32) -> Vec<IpAddr> {
    let mut found = Vec::new();
    while let Some(hop) = u16_at(hops, 0).and_then(|length| hops.get(..usize::from(length))) {
        let Some(attributes) = hop.get(NEXT_HOP..) else { break };
        if u32_at(hop, 4) == Some(index) {
            found.extend(gateway(attributes));
        }
        hops = hops.get(hop.len().next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// `via ADDRESS`, also of the other family (RFC 5549): then two bytes of family come first.
fn gateway(attributes: &[u8]) -> Option<IpAddr> {
    let via = || attribute(attributes, libc::RTA_VIA).and_then(|via| via.get(2..));
    attribute(attributes, libc::RTA_GATEWAY).or_else(via).and_then(ip)
}

/// What is known of a neighbour, as `ip neigh` calls it; empty when nobody has asked for it yet.
fn neighbour(kernel: &mut Requests, index: u32, address: IpAddr) -> io::Result<&'static str> {
    let (family, value) = match address {
        IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
    };
    let mut body = vec![0; NEIGHBOUR];
    body[0] = family as u8;
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    let found = kernel.get(libc::RTM_GETNEIGH, &with_attribute(body, libc::NDA_DST, &value))?;
    Ok(match found.and_then(|body| u16_at(&body, 8)) {
        None => "",
        Some(libc::NUD_INCOMPLETE) => "incomplete",
        Some(libc::NUD_REACHABLE) => "reachable",
        Some(libc::NUD_STALE) => "stale",
        Some(libc::NUD_DELAY) => "delay",
        Some(libc::NUD_PROBE) => "probe",
        Some(libc::NUD_FAILED) => "failed",
        Some(libc::NUD_NOARP) => "noarp",
        Some(libc::NUD_PERMANENT) => "permanent",
        Some(_) => "none",
    })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: u32 = 7;

    fn default_route(family: libc::c_int) -> Vec<u8> {
        let mut body = vec![0; ROUTE];
        (body[0], body[4], body[7]) = (family as u8, libc::RT_TABLE_MAIN, libc::RTN_UNICAST);
        body
    }

    #[test]
    fn an_address_is_in_use_when_it_is_neither_checked_nor_taken() {
        for (flags, in_use) in [(0, true), (libc::IFA_F_TENTATIVE, false), (libc::IFA_F_DADFAILED, false)] {
            let mut body = vec![0; ADDRESS];
            (body[0], body[1]) = (libc::AF_INET6 as u8, 64);
            body[4..8].copy_from_slice(&INDEX.to_ne_bytes());
            let local: IpAddr = "2001:db8::1".parse().unwrap();
            let IpAddr::V6(v6) = local else { unreachable!() };
            let body = with_attribute(body, libc::IFA_ADDRESS, &v6.octets());
            let body = with_attribute(body, IFA_FLAGS, &flags.to_ne_bytes());

            assert_eq!(address(&body, INDEX), Some(("2001:db8::1/64".parse().unwrap(), in_use)));
            assert_eq!(address(&body, INDEX + 1), None);
        }
    }

    #[test]
    fn gateways_are_those_of_default_routes_over_the_link_also_of_the_other_family_and_of_many_hops() {
        let to =
            |index: u32| with_attribute(default_route(libc::AF_INET), libc::RTA_OIF, &index.to_ne_bytes());
        let plain = with_attribute(to(INDEX), libc::RTA_GATEWAY, &[192, 0, 2, 1]);
        let elsewhere = with_attribute(to(INDEX + 1), libc::RTA_GATEWAY, &[192, 0, 2, 1]);
        let mut specific = plain.clone();
        specific[1] = 24;
        let mut v6 = vec![10, 0];
        v6.extend("fe80::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        let via = with_attribute(to(INDEX), libc::RTA_VIA, &v6);
        let hop = |index: u32, last: u8| {
            let mut hop = vec![16, 0, 0, 0];
            hop.extend(index.to_ne_bytes());
            with_attribute(hop, libc::RTA_GATEWAY, &[192, 0, 2, last])
        };
        let hops = with_attribute(
            default_route(libc::AF_INET),
            libc::RTA_MULTIPATH,
            &[hop(INDEX + 1, 8), hop(INDEX, 9)].concat(),
        );

        for (route, expected) in [
            (plain, Some("192.0.2.1")),
            (elsewhere, None),
            (specific, None),
            (to(INDEX), None),
            (via, Some("fe80::1")),
            (hops, Some("192.0.2.9")),
        ] {
            let expected: Vec<IpAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(default_gateways(&route, INDEX), expected);
        }
    }

    #[test]
    fn what_is_cut_short_is_nothing_and_no_panic() {
        let route = with_attribute(default_route(libc::AF_INET), libc::RTA_OIF, &INDEX.to_ne_bytes());
        let route = with_attribute(route, libc::RTA_GATEWAY, &[192, 0, 2, 1]);
        for length in 0..route.len() {
            assert_eq!(default_gateways(&route[..length], INDEX), Vec::<IpAddr>::new());
            assert_eq!(
                (address(&route[..length.min(11)], INDEX), link(&route[..length.min(11)])),
                (None, None)
            );
        }
        assert_eq!(hop_gateways(&[0; 16], INDEX), Vec::<IpAddr>::new());
    }
}
