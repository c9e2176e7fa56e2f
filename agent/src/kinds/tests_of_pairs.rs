//! Plans of links between a guest and the host, and between two guests.

use pipewright_api::attachment::GuestIdentity;
use pipewright_api::reason::Reason;
use pipewright_api::spec::{AttachmentSpec, Kind};
use pipewright_api::wire;

use super::tests::{derived, lines, on, spec};
use super::{Found, Peer, plan};
use crate::host::mark;
use crate::step::undo;

fn asked(uplink: &'static str, peer: &'static [&'static str]) -> AttachmentSpec {
    spec(|asked| {
        let cidrs = vec!["192.0.2.10/32".to_owned()];
        asked.uplink = uplink.into();
        asked.peer_cidrs = peer.iter().map(|cidr| (*cidr).to_owned()).collect();
        asked.gateways = vec!["198.51.100.1".into()];
        asked.addressing =
            Some(wire::attachment_spec::Addressing::StaticAddresses(wire::StaticAddresses { cidrs }));
    })
}

fn db() -> Peer {
    let guest = GuestIdentity { name: "db".into(), netns_cookie: 2, ..on(Found::Host).guest };
    Peer { guest, ifname: "eth1".parse().unwrap(), ifname_taken: false, ipv6_disabled: true }
}

#[test]
fn both_ends_are_born_in_place_and_each_knows_the_way_to_the_other() {
    let (id, mac) = (derived().id, mark::mac(derived().id));
    let (far, far_mac) = (mark::host_end(id), mac.with_first_octet(0xfe));

    let lines = lines(&asked("host", &["198.51.100.1/32"]), &on(Found::Host));

    assert_eq!(
        lines,
        [
            format!(
                "ip link add eth1 netns GUEST address {mac} mtu 1500 type veth peer name {far} address {far_mac} mtu 1500"
            ),
            format!(
                "sysctl -w net/ipv6/conf/{far}/accept_ra=0 net/ipv6/conf/{far}/autoconf=0 \
                 net/ipv6/conf/{far}/accept_redirects=0"
            ),
            format!("host: ip link set {far} up"),
            format!("host: ip addr add 198.51.100.1/32 dev {far}"),
            format!("host: ip route add 192.0.2.10/32 dev {far}"),
            format!("host: read back {far}"),
            "guest: ip link set eth1 up".to_owned(),
            "guest: ip addr add 192.0.2.10/32 dev eth1".to_owned(),
            "guest: ip route add 198.51.100.1/32 dev eth1".to_owned(),
            "guest: ip route add default via 198.51.100.1 dev eth1".to_owned(),
            "read back eth1".to_owned(),
            "guest: wait until eth1 passes frames".to_owned(),
            format!("host: arping -A / ndisc6 -U on {far} for 198.51.100.1"),
            "guest: arping -A / ndisc6 -U on eth1 for 192.0.2.10".to_owned(),
        ]
    );
}

#[test]
fn one_end_takes_the_other_along() {
    let to_host = plan(&asked("host", &[]), &on(Found::Host), derived()).unwrap();
    let to_guest = plan(&asked("guest:db", &[]), &on(Found::Guest(db())), derived()).unwrap();
    let undone = |plan| undo(plan).iter().map(ToString::to_string).collect::<Vec<_>>();

    assert_eq!(undone(&to_host.plan), [format!("ip link del {}", mark::host_end(derived().id))]);
    assert_eq!(undone(&to_guest.plan), ["guest: ip link del eth1"]);
    assert_eq!((to_host.kind, to_host.host_end.is_some()), (Kind::Ptp, true));
    assert_eq!((to_guest.kind, to_guest.host_end), (Kind::Ptp, None));
}

#[test]
fn ipv6_is_switched_on_at_the_other_end_where_it_is_off_and_wanted() {
    let enables = |peer: Peer, cidrs| {
        let all = lines(&asked("guest:db", cidrs), &on(Found::Guest(peer)));
        all.contains(&"other guest: sysctl net/ipv6/conf/eth1/disable_ipv6=0".to_owned())
    };

    assert!(enables(db(), &["2001:db8::1/64"]));
    assert!(!enables(db(), &["192.0.2.1/24"]));
    assert!(!enables(Peer { ipv6_disabled: false, ..db() }, &["2001:db8::1/64"]));
}

#[test]
fn a_guest_is_no_peer_of_its_own_and_its_names_are_its_own() {
    let own = Peer { guest: on(Found::Host).guest, ..db() };
    let taken = Peer { ifname_taken: true, ..db() };
    let refused = |peer| plan(&asked("guest:db", &[]), &on(Found::Guest(peer)), derived()).unwrap_err();

    assert_eq!(refused(own).fact("field"), Some("spec.uplink"));
    assert_eq!(refused(taken).reason(), Reason::IfnameTaken);
}
