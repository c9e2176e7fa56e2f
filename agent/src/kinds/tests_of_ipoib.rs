//! Plans of IP over InfiniBand, which no test machine has.

use pipewright_api::reason::Reason;
use pipewright_api::spec::{IpoibMode, Kind, Mode};
use pipewright_api::wire;

use super::tests::{derived, lines, on, saved};
use super::tests_on_links::{asked, nic, taken_back};
use super::{Found, Ground, Parent, plan};
use crate::step::Step;

fn port() -> Parent {
    Parent { link: "ib0".parse().unwrap(), mtu: 2044, mac: None, ..nic() }
}

fn on_port() -> Ground {
    on(Found::Ipoib(port()))
}

#[test]
fn an_ipoib_link_has_neither_mac_address_nor_mtu_and_is_not_announced() {
    let spec = asked(|asked| {
        asked.uplink = "ib0".into();
        asked.pkey = 0x8001;
    });

    let decision = plan(&spec, &on_port(), derived()).unwrap();

    assert_eq!(
        decision.plan.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "ip link add link ib0 name ib0 netns GUEST up type ipoib pkey 0x8001 mode datagram",
            "guest: ip link set ib0 up",
            "guest: ip addr add 192.0.2.10/24 dev ib0",
            "read back ib0",
            "guest: wait until ib0 passes frames",
        ]
    );
    assert_eq!(taken_back(&decision), ["guest: ip link del ib0"]);
    assert_eq!((decision.kind, decision.mode), (Kind::Ipoib, Some(Mode::Ipoib(IpoibMode::Datagram))));
    assert_eq!((decision.mac, decision.mtu, decision.host_end), (None, None, None));
}

#[test]
fn the_uplink_alone_makes_it_ipoib() {
    let spec = asked(|asked| asked.uplink = "ib0".into());
    let down = Parent { is_raised: true, ..port() };

    let lines = lines(&spec, &on(Found::Ipoib(down)));

    assert_eq!(lines[0], "ip link set ib0 up");
    assert_eq!(lines[1], "ip link add link ib0 name eth1 netns GUEST up type ipoib mode datagram");
}

#[test]
fn a_gateway_replaces_the_default_route_and_routes_wait_for_routers() {
    let spec = asked(|asked| {
        asked.uplink = "ib0".into();
        asked.mode = wire::Mode::Connected.into();
        asked.kind = wire::Kind::Ipoib.into();
        asked.gateways = vec!["192.0.2.1".into()];
        asked.slaac = true;
    });
    let ground =
        Ground { default_routes: vec![saved("02", "default via 198.51.100.1 dev eth0")], ..on_port() };

    let decision = plan(&spec, &ground, derived()).unwrap();

    assert!(decision.plan[0].to_string().ends_with("type ipoib mode connected"));
    assert!(decision.plan.iter().any(|step| matches!(step, Step::AwaitAddresses(_))));
    let undone = taken_back(&decision);
    assert!(
        undone.contains(&"guest: ip route add default via 198.51.100.1 dev eth0".to_owned()),
        "{undone:?}"
    );
}

/// Known by the uplink only, so no earlier than here.
#[test]
fn what_does_not_fit_infiniband_is_refused_when_the_uplink_says_that_it_is() {
    use wire::attachment_spec::{Addressing, Vlan};
    type Change = fn(&mut wire::AttachmentSpec);
    let wrong: [(&str, Change); 6] = [
        ("spec.mac", |asked| asked.mac = "U:web".into()),
        ("spec.mtu", |asked| asked.mtu = 2044),
        ("spec.access_vlan", |asked| asked.vlan = Some(Vlan::AccessVlan(100))),
        ("spec.dhcp", |asked| asked.addressing = Some(Addressing::Dhcp(wire::Dhcp::default()))),
        ("spec.duplicate_check", |asked| asked.duplicate_check = wire::DuplicateCheck::Quick.into()),
        ("spec.host_reach", |asked| asked.host_reach = true),
    ];
    for (field, change) in wrong {
        let spec = asked(|asked| {
            asked.uplink = "ib0".into();
            change(asked);
        });

        let refused = plan(&spec, &on_port(), derived()).unwrap_err();

        assert_eq!(
            (refused.reason(), refused.fact("field")),
            (Reason::InvalidField, Some(field)),
            "{refused}"
        );
    }
}
