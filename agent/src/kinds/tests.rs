//! Plans from specs: what is asked and what is there, and the steps that follow.

use pipewright_api::attachment::{GuestIdentity, Runtime};
use pipewright_api::net::VlanId;
use pipewright_api::spec::{AttachmentSpec, Kind, SwitchKind};
use pipewright_api::wire;
use uuid::Uuid;

use super::{Bridge, Derived, Filtering, Found, Ground, plan};
use crate::host::mark;
use crate::step::{SavedRoute, Step, undo};
use pipewright_api::reason::Reason;

const LINUX: Bridge = linux(1500, false, Filtering::Off);
const USERSPACE: Bridge = Bridge::Ovs { mtu: 1500, ours: true, userspace: true };

const fn linux(mtu: u32, ours: bool, filtering: Filtering) -> Bridge {
    Bridge::Linux { mtu, ours, filtering, uplink: None }
}

fn ground(bridge: Bridge) -> Ground {
    on(Found::Bridge(bridge))
}

pub(super) fn on(uplink: Found) -> Ground {
    Ground {
        guest: GuestIdentity {
            runtime: Runtime::Netns,
            id: "/run/netns/web".into(),
            name: "web".into(),
            pid: None,
            netns_cookie: 1,
            started_at: String::new(),
        },
        uplink,
        ifname_taken: false,
        host_ifname_taken: false,
        ipv6_disabled: false,
        default_routes: Vec::new(),
        bridge_mac: "02:00:5e:10:00:01".parse().unwrap(),
    }
}

pub(super) fn spec(change: impl FnOnce(&mut wire::AttachmentSpec)) -> AttachmentSpec {
    let cidrs = vec!["192.0.2.10/24".to_owned()];
    let mut asked = wire::AttachmentSpec {
        guest: "netns:web".into(),
        uplink: "br0".into(),
        addressing: Some(wire::attachment_spec::Addressing::StaticAddresses(wire::StaticAddresses { cidrs })),
        ..Default::default()
    };
    change(&mut asked);
    AttachmentSpec::try_from(asked).unwrap()
}

pub(super) fn derived() -> Derived {
    let id = Uuid::from_u128(1);
    Derived { id, host_end: mark::host_end(id), mac: mark::mac(id) }
}

pub(super) fn lines(spec: &AttachmentSpec, ground: &Ground) -> Vec<String> {
    plan(spec, ground, derived()).unwrap().plan.iter().map(ToString::to_string).collect()
}

fn saved(family: &str, text: &str) -> SavedRoute {
    SavedRoute { text: text.into(), message: family.into() }
}

#[test]
fn a_bridge_of_somebody_else_is_neither_made_nor_released() {
    let decision = plan(&spec(|_| ()), &ground(LINUX), derived()).unwrap();

    let is_bridge = |step: &Step| matches!(step, Step::EnsureBridge { .. } | Step::ReleaseBridge { .. });
    assert!(!decision.plan.iter().any(is_bridge) && !undo(&decision.plan).iter().any(is_bridge));
    assert_eq!(decision.kind, Kind::LinuxBridge);
}

#[test]
fn the_undo_of_a_plan_is_its_reverse() {
    let spec = spec(|asked| asked.gateways = vec!["192.0.2.1".into()]);
    let mut ground = ground(Bridge::Missing(SwitchKind::LinuxBridge));
    ground.default_routes = vec![saved("02", "default via 198.51.100.1 dev eth0")];

    let decision = plan(&spec, &ground, derived()).unwrap();

    let host_end = decision.host_end.unwrap();
    let lines: Vec<String> = undo(&decision.plan).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "guest: ip route del default via 192.0.2.1 dev eth1".to_owned(),
            "guest: ip route add default via 198.51.100.1 dev eth0".to_owned(),
            format!("ip link del {host_end}"),
            "ip link del br0 if it is ours and without ports".to_owned(),
        ]
    );
}

#[test]
fn without_a_replaced_route_nothing_is_undone_inside_the_guest() {
    let spec = spec(|asked| asked.gateways = vec!["192.0.2.1".into()]);

    let decision = plan(&spec, &ground(LINUX), derived()).unwrap();

    assert!(!undo(&decision.plan).iter().any(Step::is_in_guest));
}

#[test]
fn only_the_default_route_of_the_gateways_family_is_set_aside() {
    let spec = spec(|asked| asked.gateways = vec!["192.0.2.1".into()]);
    let mut ground = ground(LINUX);
    ground.default_routes = vec![saved("0a", "default via fe80::1 dev eth0")];

    let decision = plan(&spec, &ground, derived()).unwrap();

    assert!(!decision.plan.iter().any(|step| matches!(step, Step::SetAsideRoute(_))));
}

#[test]
fn a_gateway_outside_the_subnet_gets_a_host_route_first() {
    let spec = spec(|asked| asked.gateways = vec!["198.51.100.1".into()]);

    let lines = lines(&spec, &ground(LINUX));

    let routes: Vec<&String> = lines.iter().filter(|line| line.contains("ip route add")).collect();
    assert_eq!(
        routes,
        [
            "guest: ip route add 198.51.100.1/32 dev eth1",
            "guest: ip route add default via 198.51.100.1 dev eth1"
        ]
    );
}

#[test]
fn ipv6_is_switched_on_only_where_it_is_off_and_wanted() {
    let v6 = spec(|asked| {
        let cidrs = vec!["2001:db8::10/64".to_owned()];
        asked.addressing =
            Some(wire::attachment_spec::Addressing::StaticAddresses(wire::StaticAddresses { cidrs }));
    });
    let off = Ground { ipv6_disabled: true, ..ground(LINUX) };
    let enables = |spec: &AttachmentSpec, ground: &Ground| {
        lines(spec, ground).iter().any(|line| line.contains("disable_ipv6"))
    };

    assert!(enables(&v6, &off) && !enables(&v6, &ground(LINUX)) && !enables(&spec(|_| ()), &off));
}

#[test]
fn on_the_userspace_datapath_checksums_are_filled_in_by_the_guest() {
    let tagged = spec(|asked| asked.vlan = Some(wire::attachment_spec::Vlan::AccessVlan(100)));
    let kernel = Bridge::Ovs { mtu: 1500, ours: true, userspace: false };
    let disables =
        |bridge| lines(&tagged, &ground(bridge)).iter().any(|line| line == "guest: ethtool -K eth1 tx off");

    assert!(disables(USERSPACE) && !disables(kernel));
}

#[test]
fn a_port_of_open_vswitch_without_a_vlan_is_refused() {
    let failure = plan(&spec(|_| ()), &ground(USERSPACE), derived()).unwrap_err();

    assert_eq!((failure.reason(), failure.fact("field")), (Reason::InvalidField, Some("spec.vlan")));
}

fn in_vlan(number: u32) -> AttachmentSpec {
    spec(|asked| asked.vlan = Some(wire::attachment_spec::Vlan::AccessVlan(number)))
}

#[test]
fn filtering_is_not_switched_on_under_the_ports_of_others() {
    let failure = plan(&in_vlan(100), &ground(LINUX), derived()).unwrap_err();

    assert_eq!(failure.fact("field"), Some("spec.vlan"));
    assert!(failure.message().contains("ip link set br0 type bridge vlan_filtering 1"), "{failure}");
}

#[test]
fn a_port_with_a_vlan_is_born_down_and_never_in_the_default_vlan() {
    let missing = Bridge::Missing(SwitchKind::LinuxBridge);

    let decision = plan(&in_vlan(100), &ground(missing), derived()).unwrap();

    let host_end = decision.host_end.unwrap();
    let lines: Vec<String> = decision.plan.iter().map(ToString::to_string).collect();
    assert_eq!(lines[1], "ip link set br0 type bridge vlan_filtering 1");
    assert!(
        lines[2].starts_with(&format!("ip link add {host_end} ")) && !lines[2].contains(" up "),
        "{}",
        lines[2]
    );
    assert_eq!(
        lines[3],
        format!(
            "bridge vlan add dev {host_end} vid 100 pvid untagged, and none else; ip link set {host_end} up"
        )
    );
    let undone: Vec<String> = undo(&decision.plan).iter().map(ToString::to_string).collect();
    assert_eq!(
        undone,
        [
            format!("ip link del {host_end}"),
            "ip link set br0 type bridge vlan_filtering 0 if it is ours and has no ports of others"
                .to_owned(),
            "ip link del br0 if it is ours and without ports".to_owned(),
        ]
    );
}

#[test]
fn filtering_that_somebody_else_switched_on_stays_on() {
    for (filtering, is_ours, switches) in [
        (Filtering::On { default: Some(VlanId::try_from(1).unwrap()) }, false, false),
        (Filtering::On { default: None }, true, false),
        (Filtering::Off, true, true),
        (Filtering::ByUs, true, true),
    ] {
        let decision = plan(&in_vlan(100), &ground(linux(1500, is_ours, filtering)), derived()).unwrap();

        let is_switch = |step: &Step| matches!(step, Step::FilterVlans { .. });
        assert_eq!(decision.plan.iter().any(is_switch), switches, "{filtering:?}");
    }
}

#[test]
fn a_port_that_nothing_would_pass_is_refused() {
    let none = linux(1500, false, Filtering::On { default: None });

    let failure = plan(&spec(|_| ()), &ground(none.clone()), derived()).unwrap_err();

    assert_eq!(failure.fact("field"), Some("spec.vlan"));
    assert!(plan(&in_vlan(100), &ground(none), derived()).is_ok());
}

#[test]
fn an_mtu_above_the_bridges_is_refused_and_none_is_the_bridges() {
    let small = linux(1400, false, Filtering::Off);
    let asked = spec(|asked| asked.mtu = 1500);

    let refused = plan(&asked, &ground(small.clone()), derived()).unwrap_err();
    let inherited = plan(&spec(|_| ()), &ground(small), derived()).unwrap();

    assert_eq!(refused.fact("field"), Some("spec.mtu"));
    assert_eq!(inherited.mtu.get(), 1400);
}

#[test]
fn a_name_that_is_taken_is_refused_on_either_side() {
    let guest = Ground { ifname_taken: true, ..ground(LINUX) };
    let host = Ground { host_ifname_taken: true, ..ground(LINUX) };
    let asked = spec(|asked| asked.host_ifname = "vethweb".into());

    for ground in [guest, host] {
        assert_eq!(plan(&asked, &ground, derived()).unwrap_err().reason(), Reason::IfnameTaken);
    }
}

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
                decision.mac.to_string().replace(':', "")
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
        asked.map(|identity| (identity.client_id, identity.hostname)).unwrap()
    };
    let own = leased(|asked| {
        let dhcp = wire::Dhcp { hostname: "db".into(), client_id: "01:02".into() };
        asked.addressing = Some(wire::attachment_spec::Addressing::Dhcp(dhcp));
    });

    assert_eq!(identity(&leased(|_| ()), &ground), (b"\x000123456789ab/eth1".to_vec(), None));
    assert_eq!(identity(&own, &ground), (vec![1, 2], Some("db".to_owned())));
}
