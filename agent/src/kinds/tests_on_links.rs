//! Plans of links that are born in the guest: on a link of the host, on its sub-interface, on nothing.

use pipewright_api::dhcp::Dhcp;
use pipewright_api::reason::Reason;
use pipewright_api::spec::{Addressing, AttachmentSpec, IpvlanMode, Kind, MacvlanMode};
use pipewright_api::wire;
use uuid::Uuid;

use super::tests::{derived, lines, on, spec};
use super::{Decision, Found, Neighbour, Parent, VlanLink, plan};
use crate::host::mark;
use crate::step::{LinkType, Step, undo};

pub(super) fn nic() -> Parent {
    Parent {
        link: "eth0".parse().unwrap(),
        mtu: 1500,
        mac: Some("02:00:5e:10:00:aa".parse().unwrap()),
        is_raised: false,
        vlan: None,
        addresses: Vec::new(),
        neighbours: Vec::new(),
    }
}

/// The sub-interface eth0.100, missing.
fn sub_interface() -> VlanLink {
    VlanLink {
        link: "eth0.100".parse().unwrap(),
        vlan: 100.try_into().unwrap(),
        mtu: 1500,
        is_there: false,
        is_ours: true,
        is_raised: false,
    }
}

fn neighbour(what: LinkType) -> Neighbour {
    Neighbour { id: Uuid::from_u128(9), mac: "02:00:5e:10:00:bb".parse().ok(), what }
}

fn macvlan(mode: MacvlanMode) -> LinkType {
    LinkType::Macvlan { parent: "eth0".parse().unwrap(), mode }
}

pub(super) fn asked(change: impl FnOnce(&mut wire::AttachmentSpec)) -> AttachmentSpec {
    spec(|asked| {
        asked.uplink = "eth0".into();
        change(asked);
    })
}

fn in_vlan(asked: &mut wire::AttachmentSpec) {
    asked.vlan = Some(wire::attachment_spec::Vlan::AccessVlan(100));
}

pub(super) fn taken_back(decision: &Decision) -> Vec<String> {
    undo(&decision.plan).iter().map(ToString::to_string).collect()
}

#[test]
fn a_macvlan_is_made_by_one_request_and_waited_for_in_the_guest() {
    let spec = asked(|_| ());
    let mac = mark::mac(derived().id);

    let decision = plan(&spec, &on(Found::Macvlan(nic())), derived()).unwrap();

    let lines: Vec<String> = decision.plan.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            format!(
                "ip link add link eth0 name eth1 netns GUEST address {mac} mtu 1500 up type macvlan mode bridge"
            ),
            "guest: ip link set eth1 up".to_owned(),
            "guest: ip addr add 192.0.2.10/24 dev eth1".to_owned(),
            "read back eth1".to_owned(),
            "guest: wait until eth1 passes frames".to_owned(),
            "guest: arping -A / ndisc6 -U on eth1 for 192.0.2.10".to_owned(),
        ]
    );
    assert_eq!(taken_back(&decision), ["guest: ip link del eth1"]);
    assert_eq!((decision.kind, decision.host_end), (Kind::Macvlan, None));
}

#[test]
fn a_nic_and_a_sub_interface_that_an_attach_needs_are_let_go_of_in_reverse() {
    let parent = Parent { is_raised: true, vlan: Some(sub_interface()), ..nic() };

    let decision = plan(&asked(in_vlan), &on(Found::Macvlan(parent)), derived()).unwrap();

    let begins: Vec<String> = decision.plan.iter().take(2).map(ToString::to_string).collect();
    assert_eq!(
        begins,
        [
            "ip link set eth0 up",
            "ip link add link eth0 name eth0.100 type vlan id 100; sysctl -w net/ipv6/conf/eth0.100/accept_ra=0 \
             net/ipv6/conf/eth0.100/autoconf=0 net/ipv6/conf/eth0.100/accept_redirects=0; ip link set eth0.100 up"
        ]
    );
    assert!(decision.plan[2].to_string().starts_with("ip link add link eth0.100 name eth1 netns GUEST"));
    assert_eq!(
        taken_back(&decision),
        [
            "guest: ip link del eth1",
            "ip link del eth0.100 if it is ours and nothing is on it",
            "ip link set eth0 down"
        ]
    );
}

#[test]
fn a_sub_interface_of_somebody_else_is_used_and_left() {
    let vlan = VlanLink { is_there: true, is_ours: false, mtu: 1400, ..sub_interface() };
    let parent = Parent { vlan: Some(vlan), ..nic() };

    let decision = plan(&asked(in_vlan), &on(Found::Macvlan(parent)), derived()).unwrap();

    assert!(!decision.plan.iter().any(|step| matches!(step, Step::EnsureVlanLink { .. })));
    assert_eq!(taken_back(&decision), ["guest: ip link del eth1"]);
    assert_eq!(decision.mtu.unwrap().get(), 1400);
}

#[test]
fn links_that_share_their_parents_mac_address_are_given_none() {
    let passthru = asked(|asked| {
        asked.kind = wire::Kind::Macvlan.into();
        asked.mode = wire::Mode::Passthru.into();
    });
    let ipvlan = asked(|asked| asked.kind = wire::Kind::Ipvlan.into());

    for (spec, found) in [(passthru, Found::Macvlan(nic())), (ipvlan, Found::Ipvlan(nic()))] {
        let decision = plan(&spec, &on(found.clone()), derived()).unwrap();
        let first = decision.plan[0].to_string();

        assert_eq!(decision.mac, nic().mac);
        assert!(!first.contains("address"), "{first}");
    }
}

#[test]
fn a_sub_interface_in_the_guest_itself_needs_none_in_the_host() {
    let spec = asked(|asked| {
        asked.kind = wire::Kind::Vlan.into();
        in_vlan(asked);
    });
    let missing = Parent { vlan: Some(sub_interface()), ..nic() };
    let there =
        Parent { vlan: Some(VlanLink { is_there: true, is_ours: false, ..sub_interface() }), ..nic() };

    let lines = lines(&spec, &on(Found::Vlan(missing)));
    let refused = plan(&spec, &on(Found::Vlan(there)), derived()).unwrap_err();

    assert!(lines[0].starts_with("ip link add link eth0 name eth1 netns GUEST"), "{}", lines[0]);
    assert!(lines[0].ends_with("type vlan id 100"), "{}", lines[0]);
    assert_eq!((refused.reason(), refused.fact("holder")), (Reason::UplinkBusy, Some("link eth0.100")));
}

#[test]
fn a_dummy_is_neither_waited_for_nor_announced() {
    let spec = spec(|asked| asked.uplink = "dummy".into());

    let decision = plan(&spec, &on(Found::Nothing), derived()).unwrap();

    let is_outward = |step: &Step| matches!(step, Step::AwaitGuestForwarding { .. } | Step::Announce { .. });
    assert!(!decision.plan.iter().any(is_outward));
    assert_eq!(taken_back(&decision), ["guest: ip link del eth1"]);
}

#[test]
fn kinds_that_exclude_each_other_on_one_parent_are_refused_with_the_holder() {
    let ipvlan = |mode| LinkType::Ipvlan { parent: "eth0".parse().unwrap(), mode };
    let on_macvlan = |there: LinkType| Found::Macvlan(Parent { neighbours: vec![neighbour(there)], ..nic() });
    let on_ipvlan = |there: LinkType| Found::Ipvlan(Parent { neighbours: vec![neighbour(there)], ..nic() });
    let plain = asked(|_| ());
    let passthru = asked(|asked| {
        asked.kind = wire::Kind::Macvlan.into();
        asked.mode = wire::Mode::Passthru.into();
    });
    let cases = [
        (&plain, on_macvlan(ipvlan(IpvlanMode::L2))),
        (&plain, on_macvlan(macvlan(MacvlanMode::Passthru))),
        (&passthru, on_macvlan(macvlan(MacvlanMode::Bridge))),
        (&plain, on_ipvlan(macvlan(MacvlanMode::Bridge))),
        (&plain, on_ipvlan(ipvlan(IpvlanMode::L3))),
    ];
    for (spec, found) in cases {
        let failure = plan(spec, &on(found.clone()), derived()).unwrap_err();

        assert_eq!(failure.reason(), Reason::UplinkBusy, "{found:?}");
        assert_eq!(failure.fact("holder"), Some(&*format!("attachment {}", Uuid::from_u128(9))));
    }
    assert!(plan(&plain, &on(on_macvlan(macvlan(MacvlanMode::Vepa))), derived()).is_ok());
    assert!(plan(&plain, &on(on_ipvlan(ipvlan(IpvlanMode::L2))), derived()).is_ok());
}

#[test]
fn a_mac_address_that_is_in_use_on_the_parent_is_refused() {
    let parent = Parent { neighbours: vec![neighbour(macvlan(MacvlanMode::Bridge))], ..nic() };
    for mac in ["02:00:5e:10:00:aa", "02:00:5e:10:00:bb"] {
        let spec = asked(|asked| asked.mac = mac.into());

        let failure = plan(&spec, &on(Found::Macvlan(parent.clone())), derived()).unwrap_err();

        assert_eq!(failure.fact("field"), Some("spec.mac"), "{mac}");
    }
}

#[test]
fn what_does_not_fit_a_link_without_a_host_end_is_refused() {
    let named = asked(|asked| asked.host_ifname = "web0".into());
    let trunk = asked(|asked| {
        asked.vlan = Some(wire::attachment_spec::Vlan::TrunkVlans(wire::TrunkVlans { vlans: vec![100] }));
    });
    let large = asked(|asked| asked.mtu = 9000);

    for (spec, field) in [(named, "spec.host_ifname"), (trunk, "spec.vlan"), (large, "spec.mtu")] {
        let failure = plan(&spec, &on(Found::Macvlan(nic())), derived()).unwrap_err();

        assert_eq!(failure.fact("field"), Some(field));
    }
}

#[test]
fn the_host_reaches_a_macvlan_last_and_its_question_is_answered_beforehand() {
    let spec = asked(|asked| asked.host_reach = true);
    let (shim, mac) = (mark::shim(&nic().link), mark::mac(derived().id));
    let own = |text: &str| Parent { addresses: vec![text.parse().unwrap()], ..nic() };

    let decision = plan(&spec, &on(Found::Macvlan(own("192.0.2.1/24"))), derived()).unwrap();

    let last = decision.plan.last().unwrap().to_string();
    assert_eq!(
        last,
        format!(
            "ip neigh add 192.0.2.10 lladdr {mac} dev {shim}; ip route add 192.0.2.10/32 dev {shim} src 192.0.2.1"
        )
    );
    let undone = taken_back(&decision);
    assert!(undone[0].starts_with("ip route del 192.0.2.10/32"), "{undone:?}");
    assert_eq!(undone.last().unwrap(), &format!("ip link del {shim} if it is ours"));
}

#[test]
fn the_host_follows_a_lease_whose_address_nobody_knows_beforehand() {
    let mut spec = asked(|asked| asked.host_reach = true);
    spec.addressing = Addressing::Dhcp(Dhcp::default());
    (spec.gateways, spec.routes) = (Vec::new(), Vec::new());
    let (shim, mac) = (mark::shim(&nic().link), mark::mac(derived().id));
    let own = Parent { addresses: vec!["192.0.2.1/24".parse().unwrap()], ..nic() };

    let decision = plan(&spec, &on(Found::Macvlan(own)), derived()).unwrap();

    let what = format!("for what the DHCP server gave {mac}, dev {shim}");
    assert_eq!(decision.plan.last().unwrap().to_string(), format!("ip neigh add and ip route add {what}"));
    assert_eq!(taken_back(&decision)[0], format!("ip route del and ip neigh del {what}"));
    let refused = plan(&spec, &on(Found::Macvlan(nic())), derived()).unwrap_err();
    assert!(refused.message().contains("eth0 has no IPv4 address"), "{}", refused.message());
}

#[test]
fn a_host_without_an_address_that_the_guest_can_answer_to_is_refused() {
    let spec = asked(|asked| asked.host_reach = true);

    for addresses in [vec![], vec!["198.51.100.1/24".parse().unwrap()]] {
        let parent = Parent { addresses, ..nic() };
        let refused = plan(&spec, &on(Found::Macvlan(parent)), derived()).unwrap_err();
        assert_eq!(refused.reason(), Reason::InvalidField);
        assert!(refused.message().contains("eth0 has no address in 192.0.2.0/24"), "{}", refused.message());
    }
}
