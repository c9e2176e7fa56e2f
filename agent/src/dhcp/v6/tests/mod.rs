//! Stories of one client, told by hand, and messages as they are on the wire.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::client::{Action, Client, Identity};
use super::lease::Lease;
use super::message::{Association, Kind, Leased, Message, option};
use crate::dhcp::{Machine, Moment};

const ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);
const FROM: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const SERVER: &[u8] = b"\0\x03\0\x01server";
const OTHER: &[u8] = b"\0\x03\0\x01other";

fn identity() -> Identity {
    Identity { duid: b"\0\x040123456789abcdef".to_vec(), hostname: Some("web".to_owned()) }
}

fn at(secs: u64) -> Moment {
    Duration::from_secs(1000 + secs)
}

/// A server's answer: preferred for 80 s and valid for 100, so T1 is 40 and T2 is 64.
fn answer(kind: Kind, to: &Message) -> Message {
    let leased = Leased { address: ADDRESS, preferred: 80, valid: 100 };
    with_association(kind, to, vec![(option::ADDRESS, leased.encode())])
}

fn with_association(kind: Kind, to: &Message, options: Vec<(u16, Vec<u8>)>) -> Message {
    let association = Association { id: 1, t1: 0, t2: 0, options };
    Message::new(kind, to.xid)
        .with(option::CLIENT_ID, to.option(option::CLIENT_ID).unwrap())
        .with(option::SERVER_ID, SERVER)
        .with(option::IA_NA, association.encode())
}

fn sent(actions: &[Action]) -> Message {
    match actions {
        [Action::Send { message, .. }] => message.clone(),
        other => panic!("not one message: {other:?}"),
    }
}

fn asked_address(message: &Message) -> Option<Ipv6Addr> {
    message.association(1)?.addresses().next().map(|leased| leased.address)
}

/// A client that got a lease at second 1.
fn bound() -> (Client, Lease) {
    let mut client = Client::new(identity(), 7, at(0));
    let solicit = sent(&client.tick(at(0)));
    let willing = answer(Kind::Advertise, &solicit).with(option::PREFERENCE, [255]);
    let request = sent(&client.hear(&willing, FROM, at(1)));
    let actions = client.hear(&answer(Kind::Reply, &request), FROM, at(1));
    let [Action::Bound(lease)] = actions.as_slice() else { panic!("{actions:?}") };
    (client, lease.clone())
}

#[test]
fn an_address_is_found_asked_for_and_bound() {
    let mut client = Client::new(identity(), 7, at(0));

    let solicit = sent(&client.tick(at(0)));
    assert_eq!(client.hear(&answer(Kind::Advertise, &solicit), FROM, at(0)), [], "others may answer, too");
    let request = sent(&client.tick(at(2)));
    let bound = client.hear(&answer(Kind::Reply, &request), FROM, at(3));

    assert_eq!((solicit.kind, asked_address(&solicit)), (Kind::Solicit, None));
    assert_eq!(solicit.option(option::FQDN), Some(&b"\x01\x03web"[..]));
    assert_eq!((request.kind, asked_address(&request)), (Kind::Request, Some(ADDRESS)));
    assert_eq!(request.option(option::SERVER_ID), Some(SERVER));
    assert_ne!(request.xid, solicit.xid);
    let [Action::Bound(lease)] = bound.as_slice() else { panic!("{bound:?}") };
    assert_eq!((lease.address.to_string().as_str(), lease.server_ip), ("2001:db8::77/128", FROM));
    // Times count from when it was asked for.
    assert_eq!(
        [lease.renew_at(), lease.rebind_at(), lease.ends_at()],
        [42, 66, 102].map(|secs| Some(at(secs)))
    );
    assert_eq!(client.due(), Some(at(42)));
}

#[test]
fn the_most_willing_server_that_answers_in_time_is_asked() {
    let mut client = Client::new(identity(), 7, at(0));
    let solicit = sent(&client.tick(at(0)));
    let mut other = answer(Kind::Advertise, &solicit).with(option::PREFERENCE, [9]);
    other.options.retain(|(number, _)| *number != option::SERVER_ID);
    let other = other.with(option::SERVER_ID, OTHER);

    for offer in [answer(Kind::Advertise, &solicit), other, answer(Kind::Advertise, &solicit)] {
        assert_eq!(client.hear(&offer, FROM, at(0)), []);
    }

    assert_eq!(sent(&client.tick(at(2))).option(option::SERVER_ID), Some(OTHER));
}

#[test]
fn nobody_else_is_heeded() {
    let mut client = Client::new(identity(), 7, at(0));
    let solicit = sent(&client.tick(at(0)));
    let good = answer(Kind::Advertise, &solicit).with(option::PREFERENCE, [255]);
    let mut other_client = good.clone();
    other_client.options[0].1 = b"somebody".to_vec();

    for bad in [
        Message { xid: good.xid ^ 1, ..good.clone() },
        other_client,
        Message { kind: Kind::Solicit, ..good.clone() },
    ] {
        assert_eq!(client.hear(&bad, FROM, at(0)), []);
    }
    let request = sent(&client.hear(&good, FROM, at(0)));
    let mut other_server = answer(Kind::Reply, &request);
    other_server.options[1].1 = OTHER.to_vec();
    assert_eq!(client.hear(&other_server, FROM, at(0)), []);
}

#[test]
fn at_t1_its_server_is_asked_and_at_t2_every_one_and_at_the_end_it_is_given_up() {
    let (mut client, lease) = bound();

    let renew = sent(&client.tick(at(41)));
    let rebind = sent(&client.tick(at(65)));
    assert_eq!(client.due(), Some(at(83)));
    let mut longer = client.clone();
    let prolonged = longer.hear(&answer(Kind::Reply, &rebind), FROM, at(66));
    let ended = client.tick(at(101));

    assert_eq!((renew.kind, renew.option(option::SERVER_ID)), (Kind::Renew, Some(SERVER)));
    assert_eq!((rebind.kind, rebind.option(option::SERVER_ID)), (Kind::Rebind, None));
    assert_eq!((asked_address(&renew), asked_address(&rebind)), (Some(ADDRESS), Some(ADDRESS)));
    assert_eq!(prolonged, [Action::Bound(Lease { since: at(65), ..lease })]);
    assert_eq!((ended, client.lease()), (vec![Action::Ended], None));
    assert_eq!(asked_address(&sent(&client.tick(at(101)))), Some(ADDRESS), "the same address is asked for");
}

#[test]
fn a_server_that_lost_the_lease_is_asked_for_it_anew() {
    let (mut client, _) = bound();
    let renew = sent(&client.tick(at(41)));

    let no_binding = with_association(Kind::Reply, &renew, vec![(option::STATUS, vec![0, 3])]);
    let request = sent(&client.hear(&no_binding, FROM, at(41)));
    let actions = client.hear(&answer(Kind::Reply, &request), FROM, at(41));

    assert_eq!((request.kind, asked_address(&request)), (Kind::Request, Some(ADDRESS)));
    assert!(matches!(&actions[..], [Action::Bound(_)]), "{actions:?}");
}

#[test]
fn a_server_that_takes_the_address_back_is_obeyed_and_others_are_looked_for() {
    for gone in [
        vec![(option::STATUS, b"\0\x02no more\x07".to_vec())],
        vec![(option::ADDRESS, Leased { address: ADDRESS, preferred: 0, valid: 0 }.encode())],
    ] {
        let (mut client, _) = bound();
        let renew = sent(&client.tick(at(41)));

        let actions = client.hear(&with_association(Kind::Reply, &renew, gone), FROM, at(42));

        assert!(
            matches!(&actions[..], [Action::Refused(text)] if text.as_deref().is_none_or(|text| text == "no more"))
        );
        assert_eq!(client.lease(), None);
        let solicit = sent(&client.tick(at(42)));
        assert_eq!((solicit.kind, asked_address(&solicit)), (Kind::Solicit, None));
    }
}

#[test]
fn an_address_from_before_a_restart_is_confirmed_or_kept_unheard_or_given_up() {
    let (_, lease) = bound();
    let ask = || {
        let mut client = Client::reboot(identity(), 7, lease.clone(), at(10));
        let confirm = sent(&client.tick(at(10)));
        assert_eq!((confirm.kind, asked_address(&confirm)), (Kind::Confirm, Some(ADDRESS)));
        let reply = Message::new(Kind::Reply, confirm.xid)
            .with(option::CLIENT_ID, identity().duid)
            .with(option::SERVER_ID, SERVER);
        (client, reply)
    };

    let (mut yes, reply) = ask();
    assert_eq!(yes.hear(&reply, FROM, at(10)), []);
    let (mut no, reply) = ask();
    let refused = no.hear(&reply.with(option::STATUS, b"\0\x04moved".to_vec()), FROM, at(10));
    let (mut silence, _) = ask();
    assert!([12, 15].into_iter().all(|secs| sent(&silence.tick(at(secs))).kind == Kind::Confirm));
    assert_eq!(silence.tick(at(20)), []);

    assert!(yes.is_at_rest() && silence.is_at_rest() && yes.due() == lease.renew_at());
    assert_eq!((refused, no.lease()), (vec![Action::Refused(Some("moved".to_owned()))], None));
}

#[test]
fn an_address_of_somebody_else_is_declined_and_one_that_is_not_needed_is_given_back() {
    let (mut client, lease) = bound();

    let decline = sent(&client.decline(at(2)));
    let release = Client::release(&identity(), &lease, 9);

    for (message, kind) in [(decline, Kind::Decline), (release, Kind::Release)] {
        assert_eq!((message.kind, asked_address(&message)), (kind, Some(ADDRESS)));
        assert_eq!(message.option(option::SERVER_ID), Some(SERVER));
        assert_eq!(message.option(option::CLIENT_ID), Some(&identity().duid[..]));
    }
    assert_eq!(asked_address(&sent(&client.tick(at(2)))), None, "another address is asked for");
}

#[test]
fn a_message_survives_the_wire_and_one_that_is_cut_short_is_no_panic() {
    let message = answer(Kind::Reply, &Message::new(Kind::Solicit, 0xabcdef).with(option::CLIENT_ID, *b"me"))
        .with(option::DNS, FROM.octets())
        .with(option::DOMAINS, *b"\x07example\x03org\0\x01x\0");
    let bytes = message.encode();

    let read = Message::decode(&bytes).unwrap();

    assert_eq!(read, message);
    assert_eq!((read.dns_servers(), read.domain()), (vec![FROM], "example.org".to_owned()));
    for cut in 0..bytes.len() {
        if let Some(part) = Message::decode(&bytes[..cut]) {
            let _ = (Lease::read(&part, 1, FROM, at(0)), part.domain(), part.dns_servers());
        }
    }
}

#[test]
fn a_lease_that_makes_no_sense_is_not_heeded() {
    let to = Message::new(Kind::Solicit, 1).with(option::CLIENT_ID, *b"me");
    let leased = |address: &str, preferred, valid| {
        vec![(option::ADDRESS, Leased { address: address.parse().unwrap(), preferred, valid }.encode())]
    };
    for options in [
        Vec::new(),
        leased("2001:db8::1", 9, 3),
        leased("2001:db8::1", 3, 3),
        leased("::1", 90, 90),
        leased("ff02::1", 90, 90),
        leased("::", 90, 90),
    ] {
        let message = with_association(Kind::Reply, &to, options);
        assert!(Lease::read(&message, 1, FROM, at(0)).is_err(), "{message:?}");
    }
    let for_ever = with_association(Kind::Reply, &to, leased("2001:db8::1", u32::MAX, u32::MAX));
    let lease = Lease::read(&for_ever, 1, FROM, at(0)).unwrap();
    assert_eq!((lease.renew_at(), lease.rebind_at(), lease.ends_at()), (None, None, None));
}
