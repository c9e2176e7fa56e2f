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

pub(super) const LINUX: Bridge = linux(1500, false, Filtering::Off);
const USERSPACE: Bridge = Bridge::Ovs { mtu: 1500, ours: true, userspace: true };

const fn linux(mtu: u32, ours: bool, filtering: Filtering) -> Bridge {
    Bridge::Linux { mtu, ours, filtering, uplink: None }
}

pub(super) fn ground(bridge: Bridge) -> Ground {
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
    Derived { id, host_end: mark::host_end(id), mac: mark::mac(id), alias: None }
}

pub(super) fn lines(spec: &AttachmentSpec, ground: &Ground) -> Vec<String> {
    plan(spec, ground, derived()).unwrap().plan.iter().map(ToString::to_string).collect()
}

pub(super) fn saved(family: &str, text: &str) -> SavedRoute {
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
    assert_eq!(lines[2], "ip link set br0 type bridge vlan_filtering 1");
    assert!(
        lines[3].starts_with(&format!("ip link add {host_end} ")) && !lines[3].contains(" up "),
        "{}",
        lines[3]
    );
    assert_eq!(
        lines[4],
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

fn deaf(link: &str) -> String {
    format!(
        "sysctl -w net/ipv6/conf/{link}/accept_ra=0 net/ipv6/conf/{link}/autoconf=0 \
         net/ipv6/conf/{link}/accept_redirects=0"
    )
}

#[test]
fn on_a_bridge_of_ours_the_host_hears_no_router_before_there_is_a_port() {
    let missing = lines(&spec(|_| ()), &ground(Bridge::Missing(SwitchKind::LinuxBridge)));
    let foreign = lines(&spec(|_| ()), &ground(LINUX));

    assert_eq!(missing[1], deaf("br0"));
    assert!(missing[2].contains(" up master br0 "), "{}", missing[2]);
    assert!(!foreign.iter().any(|line| line.contains("sysctl")), "{foreign:?}");
}

#[test]
fn on_a_port_of_open_vswitch_the_host_hears_no_router_from_before_it_is_up() {
    let decision = plan(&in_vlan(100), &ground(USERSPACE), derived()).unwrap();

    let end = decision.host_end.unwrap();
    let lines: Vec<String> = decision.plan.iter().map(ToString::to_string).collect();
    assert_eq!(lines[1], deaf("br0"));
    assert!(!lines[2].contains(" up "), "{}", lines[2]);
    assert_eq!(lines[3], format!("{}; ip link set {end} up", deaf(end.as_str())));
    assert!(lines[4].starts_with("ovs-vsctl add-port"), "{}", lines[4]);
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
    assert_eq!(inherited.mtu.unwrap().get(), 1400);
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
