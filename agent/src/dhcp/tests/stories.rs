//! Stories of one client, told by hand: what comes in, when, and what goes out.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::{ADDRESS, OTHER, SERVER, SERVER_MAC, answer, at, identity};
use crate::dhcp::Machine as _;
use crate::dhcp::client::{Action, Client, To};
use crate::dhcp::lease::{Lease, LeasedRoute};
use crate::dhcp::message::{Kind, Message, option};

/// The one message that is sent among these actions, and to whom.
fn sent(actions: &[Action]) -> (Message, To) {
    let mut sent = actions.iter().filter_map(|action| match action {
        Action::Send { message, to } => Some((message.clone(), *to)),
        _ => None,
    });
    let first = sent.next().unwrap_or_else(|| panic!("nothing is sent: {actions:?}"));
    assert_eq!(sent.next(), None);
    first
}

/// A client that got a lease at second 0.
fn bound() -> (Client, Lease) {
    let mut client = Client::new(identity(), 7, at(0));
    let (discover, _) = sent(&client.tick(at(0)));
    let (request, _) = sent(&client.hear(&answer(Kind::Offer, &discover), SERVER_MAC, at(0)));
    let actions = client.hear(&answer(Kind::Ack, &request), SERVER_MAC, at(0));
    let [Action::Bound(lease)] = actions.as_slice() else { panic!("{actions:?}") };
    (client, lease.clone())
}

#[test]
fn an_address_is_found_asked_for_and_bound() {
    let mut client = Client::new(identity(), 7, at(0));

    let (discover, to) = sent(&client.tick(at(0)));
    let (request, request_to) = sent(&client.hear(&answer(Kind::Offer, &discover), SERVER_MAC, at(1)));
    let bound = client.hear(&answer(Kind::Ack, &request), SERVER_MAC, at(2));

    assert_eq!((discover.kind, to, discover.ciaddr), (Kind::Discover, To::All, Ipv4Addr::UNSPECIFIED));
    assert_eq!(discover.options[&option::CLIENT_ID], b"\0web/eth1");
    assert_eq!(discover.text(option::HOSTNAME).as_deref(), Some("web"));
    assert!(discover.options[&option::WANTED].contains(&option::CLASSLESS_ROUTES));
    assert_eq!((request.kind, request_to, request.ciaddr), (Kind::Request, To::All, Ipv4Addr::UNSPECIFIED));
    assert_eq!(
        (request.address(option::ADDRESS), request.address(option::SERVER)),
        (Some(ADDRESS), Some(SERVER))
    );
    let [Action::Bound(lease)] = bound.as_slice() else { panic!("{bound:?}") };
    assert_eq!((lease.address.to_string().as_str(), lease.server), ("192.0.2.77/24", SERVER));
    // Times count from when it was asked for.
    assert_eq!(
        (lease.renew_at(), lease.rebind_at(), lease.ends_at()),
        (Some(at(41)), Some(at(71)), Some(at(81)))
    );
    assert_eq!(lease.routes, [LeasedRoute { destination: Ipv4Net::default(), via: Some(SERVER) }]);
    assert_eq!(client.due(), Some(at(41)));
}

#[test]
fn silence_is_asked_again_after_4_8_16_32_64_and_64_seconds_give_or_take_one() {
    let mut client = Client::new(identity(), 7, at(0));
    let mut last = at(0);
    let first = sent(&client.tick(last)).0;

    for expected in [4, 8, 16, 32, 64, 64] {
        let due = client.due().unwrap();
        let waited = (due - last).as_secs_f64();
        assert!((waited - f64::from(expected)).abs() <= 1.0, "{waited} instead of {expected}");
        assert_eq!(client.tick(due - Duration::from_millis(1)), []);
        let again = sent(&client.tick(due)).0;
        assert_eq!((again.kind, again.xid), (Kind::Discover, first.xid));
        assert_eq!(u64::from(again.secs), (due - at(0)).as_secs());
        last = due;
    }
}

#[test]
fn an_offer_that_is_not_confirmed_is_given_up_after_four_requests() {
    let mut client = Client::new(identity(), 7, at(0));
    let discover = sent(&client.tick(at(0))).0;
    client.hear(&answer(Kind::Offer, &discover), SERVER_MAC, at(0));

    let kinds: Vec<Kind> = (0..4).map(|_| sent(&client.tick(client.due().unwrap())).0.kind).collect();

    assert_eq!(kinds, [Kind::Request, Kind::Request, Kind::Request, Kind::Discover]);
}

#[test]
fn what_is_not_for_this_client_is_not_heeded() {
    let mut client = Client::new(identity(), 7, at(0));
    let discover = sent(&client.tick(at(0))).0;
    let good = answer(Kind::Offer, &discover);

    let bad = [
        Message { xid: good.xid ^ 1, ..good.clone() },
        Message { mac: "02:00:5e:10:00:78".parse().unwrap(), ..good.clone() },
        Message { is_reply: false, ..good.clone() },
        Message { kind: Kind::Ack, ..good.clone() },
        Message { kind: Kind::Nak, ..good.clone() },
    ];

    for message in bad {
        assert_eq!(client.hear(&message, SERVER_MAC, at(1)), [], "{message:?}");
    }
    for number in [option::SERVER, option::LEASE_TIME] {
        let mut without = good.clone();
        without.options.remove(&number);
        assert!(matches!(client.hear(&without, SERVER_MAC, at(1))[..], [Action::Ignored(_)]), "{number}");
    }
    let of_nobody = Message { yiaddr: Ipv4Addr::UNSPECIFIED, ..good.clone() };
    assert!(matches!(client.hear(&of_nobody, SERVER_MAC, at(1))[..], [Action::Ignored(_)]));
    assert_eq!(sent(&client.hear(&good, SERVER_MAC, at(1))).0.kind, Kind::Request);
}

#[test]
fn an_acknowledgement_of_another_server_than_the_chosen_one_is_not_heeded() {
    let mut client = Client::new(identity(), 7, at(0));
    let discover = sent(&client.tick(at(0))).0;
    let request = sent(&client.hear(&answer(Kind::Offer, &discover), SERVER_MAC, at(0))).0;

    for kind in [Kind::Ack, Kind::Nak] {
        let other = answer(kind, &request).with(option::SERVER, OTHER.octets());
        assert_eq!(client.hear(&other, SERVER_MAC, at(0)), []);
    }
    assert!(matches!(client.hear(&answer(Kind::Ack, &request), SERVER_MAC, at(0))[..], [Action::Bound(_)]));
}

#[test]
fn at_t1_the_server_itself_is_asked_and_the_lease_lasts_longer() {
    let (mut client, lease) = bound();

    assert_eq!(client.tick(at(39)), []);
    let (request, to) = sent(&client.tick(at(40)));
    let actions = client.hear(&answer(Kind::Ack, &request), SERVER_MAC, at(41));

    assert_eq!((request.kind, request.ciaddr), (Kind::Request, ADDRESS));
    assert_eq!(to, To::One { server: SERVER, mac: SERVER_MAC });
    // RFC 2131 table 5: neither may be in it.
    assert_eq!((request.address(option::ADDRESS), request.address(option::SERVER)), (None, None));
    let longer = Lease { since: at(40), ..lease };
    assert_eq!(actions, [Action::Bound(longer)]);
    assert_eq!(client.due(), Some(at(80)));
}

#[test]
fn at_t2_every_server_is_asked_and_at_the_end_the_address_is_given_up() {
    let (mut client, _) = bound();

    let renew = sent(&client.tick(at(40)));
    // Half of what is left to T2 is less than a minute, so T2 is next.
    assert_eq!(client.due(), Some(at(70)));
    let (rebind, to) = sent(&client.tick(at(70)));
    assert_eq!(client.due(), Some(at(80)));
    let ended = client.tick(at(80));

    assert_ne!(rebind.xid, renew.0.xid);
    assert_eq!((rebind.ciaddr, to), (ADDRESS, To::All));
    assert_eq!(ended, [Action::Ended]);
    let (discover, _) = sent(&client.tick(at(80)));
    assert_eq!((discover.kind, discover.ciaddr), (Kind::Discover, Ipv4Addr::UNSPECIFIED));
    assert_eq!(discover.address(option::ADDRESS), Some(ADDRESS), "the same address is asked for");
    assert_eq!(client.lease(), None);
}

#[test]
fn any_server_may_prolong_a_lease_after_t2() {
    let (mut client, _) = bound();
    let request = sent(&client.tick(at(70))).0;

    let actions =
        client.hear(&answer(Kind::Ack, &request).with(option::SERVER, OTHER.octets()), SERVER_MAC, at(71));

    assert!(matches!(&actions[..], [Action::Bound(lease)] if lease.server == OTHER), "{actions:?}");
}

#[test]
fn a_server_that_says_no_is_obeyed_and_an_address_is_asked_for_anew() {
    let (mut client, _) = bound();
    let request = sent(&client.tick(at(40))).0;
    let no = answer(Kind::Nak, &request).with(option::TEXT, "wrong\u{7} network");

    let other = client.hear(&no.clone().with(option::SERVER, OTHER.octets()), SERVER_MAC, at(41));
    let actions = client.hear(&no, SERVER_MAC, at(41));

    assert_eq!(other, [], "a server that was not asked");
    assert_eq!(actions, [Action::Refused(Some("wrong network".to_owned()))]);
    assert_eq!(client.lease(), None);
    let discover = sent(&client.tick(at(41))).0;
    assert_eq!((discover.kind, discover.address(option::ADDRESS)), (Kind::Discover, None));
    assert_ne!(discover.xid, request.xid);
}

#[test]
fn a_server_that_offers_and_refuses_is_not_asked_without_end() {
    let mut client = Client::new(identity(), 7, at(0));
    let mut now = at(0);
    for _ in 0..6 {
        now = client.due().unwrap().max(now);
        let discover = sent(&client.tick(now)).0;
        let request = sent(&client.hear(&answer(Kind::Offer, &discover), SERVER_MAC, now)).0;
        client.hear(&answer(Kind::Nak, &request), SERVER_MAC, now);
    }
    assert!(client.due().unwrap() - at(0) > Duration::from_secs(60), "{:?}", client.due());
}

#[test]
fn after_a_restart_the_lease_is_confirmed_or_kept_when_nobody_answers() {
    let (_, lease) = bound();

    let mut heard = Client::reboot(identity(), 8, lease.clone(), at(20));
    let (request, to) = sent(&heard.tick(at(20)));
    let actions = heard.hear(&answer(Kind::Ack, &request), SERVER_MAC, at(20));
    let mut unheard = Client::reboot(identity(), 9, lease.clone(), at(20));
    let mut said = Vec::new();
    while unheard.due() != Some(at(40)) {
        said.extend(unheard.tick(unheard.due().unwrap()));
    }

    assert_eq!(
        (to, request.ciaddr, request.address(option::ADDRESS)),
        (To::All, Ipv4Addr::UNSPECIFIED, Some(ADDRESS))
    );
    assert_eq!(request.address(option::SERVER), None);
    assert_eq!(actions, [Action::Bound(Lease { since: at(20), ..lease.clone() })]);
    assert_eq!((said.len(), unheard.lease()), (2, Some(&lease)));
}

#[test]
fn a_lease_that_ran_out_while_nobody_looked_is_given_up_at_once() {
    let (_, lease) = bound();

    for client in [Client::resume, Client::reboot] {
        let mut client = client(identity(), 8, lease.clone(), at(500));
        assert_eq!(client.tick(at(500)), [Action::Ended]);
        assert_eq!(sent(&client.tick(at(500))).0.kind, Kind::Discover);
    }
}

#[test]
fn a_lease_for_ever_is_never_asked_about() {
    let mut client = Client::new(identity(), 7, at(0));
    let discover = sent(&client.tick(at(0))).0;
    let for_ever = |kind, to: &Message| answer(kind, to).with(option::LEASE_TIME, [0xff; 4]);
    let request = sent(&client.hear(&for_ever(Kind::Offer, &discover), SERVER_MAC, at(0))).0;
    client.hear(&for_ever(Kind::Ack, &request), SERVER_MAC, at(0));

    assert_eq!((client.due(), client.tick(at(1 << 40))), (None, Vec::new()));
}

#[test]
fn a_release_names_address_server_and_client() {
    let (_, lease) = bound();

    let (message, to) = Client::release(&identity(), &lease, 3);

    assert_eq!((message.kind, message.ciaddr), (Kind::Release, ADDRESS));
    assert_eq!(message.address(option::SERVER), Some(SERVER));
    assert_eq!(message.options[&option::CLIENT_ID], b"\0web/eth1");
    assert_eq!(to, To::One { server: SERVER, mac: SERVER_MAC });
}

#[test]
fn times_that_make_no_sense_are_replaced_by_those_of_the_rfc() {
    let request = Message::of_client(Kind::Request, identity().mac, 1);
    for (t1, t2) in [(0_u32, 70_u32), (60, 50), (1, 70), (40, 81), (40, u32::MAX), (70, 60)] {
        let ack =
            answer(Kind::Ack, &request).with(option::T1, t1.to_be_bytes()).with(option::T2, t2.to_be_bytes());
        let lease = Lease::read(&ack, SERVER_MAC, at(0)).unwrap();
        assert_eq!((lease.t1.as_secs(), lease.t2.as_secs()), (40, 70), "{t1} {t2}");
    }
    let ack = answer(Kind::Ack, &request).with(option::T1, 10_u32.to_be_bytes());
    assert_eq!(Lease::read(&ack, SERVER_MAC, at(0)).unwrap().t1.as_secs(), 10);
}

#[test]
fn an_address_of_somebody_else_is_declined_and_another_one_looked_for_ten_seconds_later() {
    let (mut client, _) = bound();

    let (decline, to) = sent(&client.decline(at(1)));

    assert_eq!((decline.kind, to, decline.ciaddr), (Kind::Decline, To::All, Ipv4Addr::UNSPECIFIED));
    assert_eq!(
        (decline.address(option::ADDRESS), decline.address(option::SERVER)),
        (Some(ADDRESS), Some(SERVER))
    );
    assert_eq!(client.tick(at(10)), []);
    assert_eq!(client.lease(), None);
    let (discover, _) = sent(&client.tick(at(11)));
    assert_eq!((discover.kind, discover.address(option::ADDRESS)), (Kind::Discover, None));
    assert_eq!(client.decline(at(12)), [], "there is nothing to decline");
}
