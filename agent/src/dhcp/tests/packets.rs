//! What comes from the wire: options, routes, checksums; and anything at all.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{ADDRESS, OTHER, SERVER, SERVER_MAC, answer, at, identity};
use crate::dhcp::Machine as _;
use crate::dhcp::client::{Action, Client};
use crate::dhcp::lease::{Lease, LeasedRoute};
use crate::dhcp::message::{Kind, Message, option};
use crate::dhcp::packet::{unwrap, wrap};

fn routes(options: &[(u8, &[u8])]) -> Vec<String> {
    let mut ack = answer(Kind::Ack, &Message::of_client(Kind::Request, identity().mac, 1));
    ack.options.remove(&option::ROUTERS);
    let ack = options.iter().fold(ack, |ack, &(number, value)| ack.with(number, value));
    let lease = Lease::read(&ack, SERVER_MAC, at(0)).unwrap();
    let text = |route: &LeasedRoute| match route.via {
        Some(via) => format!("{} via {via}", route.destination),
        None => route.destination.to_string(),
    };
    lease.routes.iter().map(text).collect()
}

#[test]
fn classless_routes_take_the_place_of_routers_and_static_routes() {
    let classless = [
        &[24, 198, 51, 100, 192, 0, 2, 3][..],
        &[0, 192, 0, 2, 1],
        &[32, 203, 0, 113, 7, 0, 0, 0, 0],
        // Bits after the prefix, as some servers send them; a route to the subnet itself; one that is cut short.
        &[12, 172, 31, 192, 0, 2, 4],
        &[24, 192, 0, 2, 192, 0, 2, 1],
        &[24, 198, 51],
    ]
    .concat();
    let options = [
        (option::CLASSLESS_ROUTES, classless.as_slice()),
        (option::ROUTERS, &[192, 0, 2, 9]),
        (option::STATIC_ROUTES, &[198, 51, 100, 9, 192, 0, 2, 9]),
    ];

    assert_eq!(
        routes(&options),
        [
            "203.0.113.7/32",
            "198.51.100.0/24 via 192.0.2.3",
            "0.0.0.0/0 via 192.0.2.1",
            "172.16.0.0/12 via 192.0.2.4"
        ]
    );
    assert_eq!(routes(&options[1..]), ["198.51.100.9/32 via 192.0.2.9", "0.0.0.0/0 via 192.0.2.9"]);
    assert_eq!(routes(&[(option::CLASSLESS_ROUTES, &[33, 1, 2, 3, 4, 5, 192, 0, 2, 1])]), [""; 0]);
}

#[test]
fn a_router_outside_the_subnet_is_reached_by_a_route_of_its_own() {
    assert_eq!(
        routes(&[(option::ROUTERS, &[203, 0, 113, 1])]),
        ["203.0.113.1/32", "0.0.0.0/0 via 203.0.113.1"]
    );
    // No router is the client itself, or nobody.
    assert_eq!(routes(&[(option::ROUTERS, &ADDRESS.octets())]), [""; 0]);
    assert_eq!(routes(&[(option::ROUTERS, &[0, 0, 0, 0])]), [""; 0]);
    assert_eq!(routes(&[(option::ROUTERS, &[127, 0, 0, 1])]), [""; 0]);
}

#[test]
fn options_in_other_fields_and_in_pieces_are_read() {
    let mut bytes = answer(Kind::Offer, &Message::of_client(Kind::Discover, identity().mac, 1)).encode();
    let end = bytes.iter().rposition(|&byte| byte == option::END).unwrap();
    bytes.truncate(end);
    // The domain comes in three pieces, one of them in `file`, one in `sname`.
    bytes.extend([option::DOMAIN, 3, b'e', b'x', b'a', option::OVERLOAD, 1, 3, option::END]);
    bytes[108..114].copy_from_slice(&[option::DOMAIN, 2, b'm', b'p', option::END, 9]);
    bytes[44..49].copy_from_slice(&[option::DOMAIN, 2, b'l', b'e', option::END]);

    let message = Message::decode(&bytes).unwrap();

    assert_eq!(message.text(option::DOMAIN).as_deref(), Some("example"));
    assert_eq!(message.address(option::SERVER), Some(SERVER));
}

#[test]
fn a_checksum_that_was_left_to_the_network_card_is_no_damage() {
    let mut packet = wrap(SERVER, ADDRESS, b"hello");
    // From the server's port to the client's.
    packet[20..24].copy_from_slice(&[0, 67, 0, 68]);
    let pseudo = |packet: &[u8]| {
        let words = packet[12..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum = words.sum::<u32>() + 17 + 13;
        (sum & 0xffff) as u16 + (sum >> 16) as u16
    };

    assert_eq!(unwrap(&packet), Some(&b"hello"[..]), "swapping the ports leaves the sum as it is");
    let partial = pseudo(&packet).to_be_bytes();
    packet[26..28].copy_from_slice(&partial);
    assert_eq!(unwrap(&packet), Some(&b"hello"[..]));
    packet[26..28].copy_from_slice(&[0, 0]);
    assert_eq!(unwrap(&packet), Some(&b"hello"[..]));
    packet[26] ^= 1;
    assert_eq!(unwrap(&packet), None);
    packet[26..28].copy_from_slice(&[0, 0]);
    for (at, what) in [(0, 0x65), (9, 6), (6, 0x20), (7, 1), (21, 68), (23, 67), (3, 20), (10, 1)] {
        let mut other = packet.clone();
        other[at] = what;
        assert_eq!(unwrap(&other), None, "byte {at}");
    }
}

fn message() -> impl Strategy<Value = Message> {
    let kind = prop::sample::select(vec![Kind::Discover, Kind::Offer, Kind::Request, Kind::Ack, Kind::Nak]);
    let options = prop::collection::btree_map(1u8..255, vec(any::<u8>(), 1..600), 0..12);
    (kind, any::<(bool, bool, u32, u16)>(), any::<(Ipv4Addr, Ipv4Addr)>(), any::<u64>(), options).prop_map(
        |(kind, (is_reply, broadcast, xid, secs), (ciaddr, yiaddr), mac, mut options)| {
            options.remove(&option::KIND);
            options.remove(&option::OVERLOAD);
            let mac = pipewright_api::net::MacAddr::derived(mac);
            Message { kind, is_reply, xid, secs, broadcast, ciaddr, yiaddr, mac, options }
        },
    )
}

proptest! {
    #[test]
    fn messages_survive_the_wire(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode()), Some(message));
    }

    #[test]
    fn whatever_comes_is_read_or_dropped(
        bytes in vec(any::<u8>(), 0..600), message in message(), cut in any::<prop::sample::Index>(),
        spoiled in any::<prop::sample::Index>(), with in any::<u8>(),
    ) {
        Message::decode(&bytes);
        unwrap(&bytes);
        let mut whole = wrap(SERVER, ADDRESS, &message.encode());
        whole[20..24].copy_from_slice(&[0, 67, 0, 68]);
        prop_assert_eq!(unwrap(&whole).and_then(Message::decode), Some(message));
        unwrap(&whole[..cut.index(whole.len())]);
        let spoil = spoiled.index(whole.len());
        whole[spoil] = with;
        unwrap(&whole).map(Message::decode);
        Message::decode(&whole[28..]);
    }

    #[test]
    fn what_a_lease_says_holds_together(message in message(), mask in 0u8..=32, secs in any::<u32>()) {
        let message = message
            .with(option::SERVER, SERVER.octets())
            .with(option::MASK, Ipv4Net::new(ADDRESS, mask).unwrap().netmask().octets())
            .with(option::LEASE_TIME, secs.to_be_bytes());
        let Ok(lease) = Lease::read(&message, SERVER_MAC, at(0)) else { return Ok(()) };
        prop_assert!(lease.t1 <= lease.t2 && lease.lasts.is_none_or(|lasts| lease.t2 <= lasts));
        prop_assert_eq!(lease.address.addr(), std::net::IpAddr::from(lease.ip));
        let mut reachable = vec![lease.address.net()];
        for route in &lease.routes {
            prop_assert_eq!(route.destination, route.destination.trunc());
            match route.via {
                None => reachable.push(route.destination.into()),
                Some(via) => prop_assert!(reachable.iter().any(|net| net.contains(&std::net::IpAddr::from(via)))),
            }
        }
    }

    /// Whatever is heard and however time passes: at most one message at a time, never more than one in three seconds
    /// on average, and no address after its end.
    #[test]
    fn a_client_keeps_its_manners(
        seed in any::<u64>(), script in vec((0u64..100_000, 0u8..6, any::<bool>()), 1..60),
    ) {
        let mut client = Client::new(identity(), seed, at(0));
        let (mut now, mut last, mut count) = (at(0), None, 0);
        for (millis, what, ours) in script {
            now += Duration::from_millis(millis);
            let mut actions = client.tick(now);
            if let Some(request) = &last {
                let kind = [Kind::Offer, Kind::Ack, Kind::Nak][usize::from(what % 3)];
                let server = if ours { SERVER } else { OTHER };
                if what < 3 {
                    actions.extend(client.hear(&answer(kind, request).with(option::SERVER, server.octets()), SERVER_MAC, now));
                }
            }
            for action in &actions {
                if let Action::Send { message, .. } = action {
                    last = Some(message.clone());
                    count += 1;
                }
            }
            if let Some(lease) = client.lease() {
                prop_assert!(lease.ends_at().is_none_or(|end| now < end));
            }
            prop_assert!(client.due().is_none_or(|due| due > now || actions.iter().any(|a| matches!(a, Action::Refused(_) | Action::Ended))));
        }
        prop_assert!(count <= 120);
    }
}
