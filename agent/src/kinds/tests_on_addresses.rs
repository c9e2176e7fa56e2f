//! Plans for addresses that come from others, or that others are asked for.

use pipewright_api::attachment::Runtime;
use pipewright_api::spec::AttachmentSpec;
use pipewright_api::wire;

use super::tests::{LINUX, derived, ground, saved, spec};
use super::{Ground, plan};
use crate::dhcp::given::Identity;
use crate::step::{Step, undo};

fn leased(change: impl FnOnce(&mut wire::AttachmentSpec)) -> AttachmentSpec {
    spec(|asked| {
        asked.addressing = Some(wire::attachment_spec::Addressing::Dhcp(wire::Dhcp::default()));
        change(asked);
    })
}

#[test]
fn a_lease_is_asked_for_when_frames_pass_and_given_back_first_of_all() {
    let ground = Ground { default_routes: vec![saved("02", "default dev eth0")], ..ground(LINUX) };

    let decision = plan(&leased(|_| ()), &ground, derived()).unwrap();

    let lines: Vec<String> = decision.plan.iter().map(ToString::to_string).collect();
    let end = lines.iter().position(|line| line.starts_with("wait for operstate up")).unwrap();
    assert_eq!(
        lines[end + 1..],
        [
            format!(
                "guest: udhcpc -i eth1 -x 0x3d:01{} -x hostname:web",
                decision.mac.unwrap().to_string().replace(':', "")
            ),
            "guest: ip addr add and ip route add for eth1 as the DHCP server says".to_owned(),
        ]
    );
    let undone: Vec<String> = undo(&decision.plan).iter().map(ToString::to_string).collect();
    assert_eq!(
        undone[..2],
        [
            "guest: ip addr del and ip route del for eth1; ip route add default dev eth0",
            "guest: give the DHCP lease of eth1 back"
        ]
    );
}

#[test]
fn a_gateway_that_was_asked_for_takes_the_place_of_the_dhcp_servers() {
    let ground = Ground { default_routes: vec![saved("02", "default dev eth0")], ..ground(LINUX) };

    let decision =
        plan(&leased(|asked| asked.gateways = vec!["192.0.2.1".into()]), &ground, derived()).unwrap();

    let takes_default = |step: &Step| matches!(step, Step::ApplyLease(asked) if asked.takes_default);
    assert!(!decision.plan.iter().any(takes_default));
    let lines: Vec<String> = decision.plan.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines[lines.len() - 4..lines.len() - 1],
        [
            "guest: ip route del default dev eth0",
            "guest: ip route add 192.0.2.1/32 dev eth1",
            "guest: ip route add default via 192.0.2.1 dev eth1"
        ]
    );
    assert!(lines.last().is_some_and(|line| line.starts_with("read back")), "{lines:?}");
}

#[test]
fn addresses_that_are_checked_come_when_frames_pass_and_routes_after_them() {
    let asked = spec(|asked| {
        let cidrs = vec!["192.0.2.10/24".to_owned(), "2001:db8::10/64".to_owned()];
        asked.addressing =
            Some(wire::attachment_spec::Addressing::StaticAddresses(wire::StaticAddresses { cidrs }));
        asked.gateways = vec!["192.0.2.1".into()];
        asked.duplicate_check = wire::DuplicateCheck::Quick.into();
    });

    let decision = plan(&asked, &ground(LINUX), derived()).unwrap();

    let lines: Vec<String> = decision.plan.iter().map(ToString::to_string).collect();
    let passes = lines.iter().position(|line| line.starts_with("wait for operstate up")).unwrap();
    assert!(!lines[..passes].iter().any(|line| line.contains("addr add") || line.contains("route add")));
    let host_end = decision.host_end.unwrap();
    assert_eq!(
        lines[passes + 1..],
        [
            "guest: arping -D -I eth1 192.0.2.10",
            "guest: sysctl net/ipv6/conf/eth1/accept_dad=1",
            "guest: sysctl net/ipv6/conf/eth1/dad_transmits=1",
            "guest: ip addr add 192.0.2.10/24 dev eth1",
            "guest: ip addr add 2001:db8::10/64 dev eth1",
            "guest: wait until 2001:db8::10 on eth1 is not tentative",
            "guest: ip route add default via 192.0.2.1 dev eth1",
            &format!("read back {host_end} and eth1"),
            "guest: arping -A / ndisc6 -U on eth1 for 192.0.2.10 2001:db8::10",
        ]
    );
}

#[test]
fn a_container_is_known_by_its_id_and_link_and_other_guests_by_their_mac() {
    let mut ground = ground(LINUX);
    ground.guest.runtime = Runtime::Docker;
    ground.guest.id = "0123456789ab".into();
    ground.guest.name = "no_host_name".into();
    let identity = |spec: &AttachmentSpec, ground: &Ground| {
        let plan = plan(spec, ground, derived()).unwrap().plan;
        let asked = plan.into_iter().find_map(|step| match step {
            Step::AcquireLease(asked) => Some(asked.identity),
            _ => None,
        });
        match asked {
            Some(Identity::V4(identity)) => (identity.client_id, identity.hostname),
            other => panic!("{other:?}"),
        }
    };
    let own = leased(|asked| {
        let dhcp = wire::Dhcp { hostname: "db".into(), client_id: "01:02".into() };
        asked.addressing = Some(wire::attachment_spec::Addressing::Dhcp(dhcp));
    });

    assert_eq!(identity(&leased(|_| ()), &ground), (b"\x000123456789ab/eth1".to_vec(), None));
    assert_eq!(identity(&own, &ground), (vec![1, 2], Some("db".to_owned())));
}

#[test]
fn routers_are_listened_to_before_the_link_is_up_and_servers_asked_when_frames_pass() {
    let asked = spec(|asked| {
        asked.addressing = None;
        asked.slaac = true;
        asked.dhcp6 = Some(wire::Dhcp6::default());
        asked.gateways = vec!["2001:db8::1".into()];
    });
    let off = Ground { ipv6_disabled: true, ..ground(LINUX) };

    let decision = plan(&asked, &off, derived()).unwrap();

    let lines: Vec<String> = decision.plan.iter().map(ToString::to_string).collect();
    let host_end = decision.host_end.unwrap();
    assert_eq!(
        lines[1..7],
        [
            "guest: sysctl net/ipv6/conf/eth1/disable_ipv6=0",
            "guest: sysctl net/ipv6/conf/eth1/autoconf=1",
            "guest: sysctl net/ipv6/conf/eth1/accept_ra_defrtr=0",
            "guest: sysctl net/ipv6/conf/eth1/accept_ra=2",
            "guest: ip link set eth1 up",
            &format!("read back {host_end} and eth1"),
        ]
    );
    assert_eq!(lines[8], "guest: wait until an address of a router's prefix on eth1 is not tentative");
    assert!(lines[9].starts_with("guest: udhcpc6 -i eth1 -x 1:0004"), "{}", lines[9]);
    assert_eq!(lines[10], "guest: ip addr add for eth1 as the DHCPv6 server says");
    let undone: Vec<String> = undo(&decision.plan).iter().map(ToString::to_string).collect();
    assert_eq!(
        undone[..2],
        ["guest: give the DHCPv6 lease of eth1 back", &format!("ip link del {host_end}")]
    );
}
