//! Strategies: values that are valid by construction.
#![allow(clippy::unwrap_used, reason = "what is built here is valid, or the test is wrong")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pipewright_api::attachment::{Attachment, GuestIdentity, ObservedLink, Origin, Runtime, State};
use pipewright_api::condition::GuestLinkState;
use pipewright_api::dhcp::{ClientId, Dhcp, Dhcp6, Lease};
use pipewright_api::labels::Labels;
use pipewright_api::net::{InterfaceAddr, LinkName, MacAddr, Mtu, VlanId};
use pipewright_api::operation::{Operation, OperationState};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{
    Addressing, AttachmentSpec, ContainerdRef, DuplicateCheck, FleetName, Follow, GuestRef, HostSpec,
    IpoibMode, IpvlanMode, Kind, MacvlanMode, Mode, Peer, Route, SwitchKind, SwitchSpec, Uplink, UplinkSpec,
    Vlan,
};
use pipewright_api::tool::{Tool, ToolLine};
use proptest::collection::{btree_map, btree_set, hash_map, vec};
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

mod host;
mod traffic;

pub(crate) use host::{change, host_facts};
pub(crate) use traffic::{link_traffic, traffic};

/// Link names that callers may choose; those with an `x` in front are for the guest, others for the host.
pub(crate) fn link_name(first: &'static str) -> impl Strategy<Value = LinkName> {
    "[a-zA-Z0-9_.-]{1,13}".prop_map(move |rest| format!("{first}{rest}").parse().unwrap())
}

pub(crate) fn guest() -> impl Strategy<Value = GuestRef> {
    let name = || "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,60}";
    prop_oneof![
        name().prop_map(GuestRef::Docker),
        name().prop_map(GuestRef::Podman),
        name().prop_map(GuestRef::Lxc),
        (option::of(name()), name())
            .prop_map(|(namespace, id)| GuestRef::Containerd(ContainerdRef { namespace, id })),
        name().prop_map(GuestRef::Crio),
        name().prop_map(GuestRef::Machined),
        (2u32..).prop_map(GuestRef::Pid),
        name().prop_map(GuestRef::NetnsName),
        name().prop_map(|file| GuestRef::NetnsPath(format!("/run/netns/{file}").into())),
        name().prop_map(GuestRef::Bare),
    ]
    .boxed()
}

pub(crate) fn mac() -> impl Strategy<Value = MacAddr> {
    any::<u64>().prop_map(MacAddr::derived)
}

pub(crate) fn vlan_id() -> impl Strategy<Value = VlanId> {
    (1u32..=4094).prop_map(|number| number.try_into().unwrap())
}

pub(crate) fn vlan() -> impl Strategy<Value = Vlan> {
    prop_oneof![
        vlan_id().prop_map(Vlan::Access),
        btree_set(vlan_id(), 1..20).prop_map(Vlan::Trunk),
        Just(Vlan::Every),
    ]
}

/// Uplinks with the kinds, modes and VLANs that fit them.
pub(crate) fn port() -> impl Strategy<Value = (Uplink, Option<Kind>, Option<Mode>, Option<Vlan>)> {
    let bridge = || link_name("br").prop_map(Uplink::Link);
    let nic = || prop_oneof![link_name("en").prop_map(Uplink::Link), mac().prop_map(Uplink::Mac)];
    let macvlan = prop::sample::select(vec![
        MacvlanMode::Bridge,
        MacvlanMode::Private,
        MacvlanMode::Vepa,
        MacvlanMode::Passthru,
    ]);
    let ipvlan = prop::sample::select(vec![IpvlanMode::L2, IpvlanMode::L3, IpvlanMode::L3s]);
    let access = || vlan_id().prop_map(Vlan::Access);
    prop_oneof![
        bridge().prop_map(|bridge| (bridge, None, None, None)),
        bridge().prop_map(|bridge| (bridge, Some(Kind::LinuxBridge), None, None)),
        (bridge(), vlan()).prop_map(|(bridge, vlan)| (bridge, None, None, Some(vlan))),
        (bridge(), vlan()).prop_map(|(bridge, vlan)| (bridge, Some(Kind::Ovs), None, Some(vlan))),
        (nic(), option::of(macvlan), option::of(access()))
            .prop_map(|(nic, mode, vlan)| { (nic, Some(Kind::Macvlan), mode.map(Mode::Macvlan), vlan) }),
        (nic(), option::of(ipvlan), option::of(access()))
            .prop_map(|(nic, mode, vlan)| { (nic, Some(Kind::Ipvlan), mode.map(Mode::Ipvlan), vlan) }),
        (nic(), access()).prop_map(|(nic, vlan)| (nic, Some(Kind::Vlan), None, Some(vlan))),
        (nic(), option::of(access())).prop_map(|(nic, vlan)| (nic, Some(Kind::Direct), None, vlan)),
        (link_name("ib"), option::of(prop::sample::select(vec![IpoibMode::Datagram, IpoibMode::Connected])))
            .prop_map(|(port, mode)| (Uplink::Link(port), Some(Kind::Ipoib), mode.map(Mode::Ipoib), None)),
        option::of(Just(Kind::Dummy)).prop_map(|kind| (Uplink::Dummy, kind, None, None)),
        option::of(Just(Kind::Ptp)).prop_map(|kind| (Uplink::Host, kind, None, None)),
        guest().prop_map(|guest| (Uplink::Guest(guest), None, None, None)),
    ]
    // On the heap: what a test thread's stack holds is little.
    .boxed()
}

/// Own addresses end in 1 to 99 in subnets below 10.0.0.0/8 and 2001:db8::/33; routers end in 100 and more.
pub(crate) fn addressing() -> impl Strategy<Value = Addressing> {
    let address = |(v6, net, host): (bool, u8, u8)| -> InterfaceAddr {
        let text =
            if v6 { format!("2001:db8:{net:x}::{host:x}/64") } else { format!("10.{net}.0.{host}/24") };
        text.parse().unwrap()
    };
    let some = btree_set((any::<bool>(), any::<u8>(), 1u8..100), 1..10);
    prop_oneof![
        Just(Addressing::None),
        dhcp().prop_map(Addressing::Dhcp),
        some.prop_map(move |hosts| Addressing::Static(hosts.into_iter().map(address).collect())),
    ]
}

fn dhcp() -> impl Strategy<Value = Dhcp> {
    let client_id = prop_oneof![
        vec(any::<u8>(), 2..255).prop_map(ClientId::Bytes),
        "[a-z0-9/ ]{1,254}".prop_map(|text| text.parse().unwrap()),
    ];
    let hostname = "[a-z0-9]{1,63}(\\.[A-Z]{1,9})?".prop_map(|name| name.parse().unwrap());
    (option::of(hostname), option::of(client_id))
        .prop_map(|(hostname, client_id)| Dhcp { hostname, client_id })
}

fn lease() -> impl Strategy<Value = Lease> {
    let servers = || vec(any::<IpAddr>(), 0..3);
    let address = (1u8..255).prop_map(|host| format!("192.0.2.{host}/25").parse());
    let address = address.prop_filter_map("a subnet's own number", Result::ok);
    (address, any::<IpAddr>(), option::of(time()), servers(), servers(), "[a-z.]{0,20}").prop_map(
        |(address, server, expires_at, routers, dns_servers, domain)| Lease {
            address,
            server,
            expires_at,
            routers,
            dns_servers,
            domain,
        },
    )
}

pub(crate) fn router(v6: bool) -> impl Strategy<Value = IpAddr> {
    (any::<u8>(), 100u8..250, any::<bool>()).prop_map(move |(net, host, link_local)| {
        let text = match (v6, link_local) {
            (false, _) => format!("10.{net}.0.{host}"),
            (true, false) => format!("2001:db8:{net:x}::{host:x}"),
            (true, true) => format!("fe80::{host:x}"),
        };
        text.parse().unwrap()
    })
}

pub(crate) fn labels() -> impl Strategy<Value = Labels> {
    btree_map("[a-o][a-z0-9_-]{0,8}\\.[a-zA-Z0-9_-]{1,10}", "[ -~]{0,40}", 0..5)
        .prop_map(|labels| labels.try_into().unwrap())
}

pub(crate) fn tool_line() -> impl Strategy<Value = ToolLine> {
    let verb = prop::sample::select(vec!["show", "add", "flush"]);
    let rest = vec("[a-z0-9:]{1,12}x", 0..5);
    (any::<bool>(), verb, rest).prop_map(|(is_route, verb, rest)| {
        let tool = if is_route { Tool::Route } else { Tool::Rule };
        let words = ["-6".to_owned(), verb.to_owned()].into_iter().chain(rest).collect();
        ToolLine::new(tool, words).unwrap()
    })
}

pub(crate) fn routes() -> impl Strategy<Value = Vec<Route>> {
    let nets = btree_set((any::<bool>(), any::<u8>()), 0..10);
    let routes = nets.prop_flat_map(|nets| {
        let route = |(v6, net): (bool, u8)| {
            let text = if v6 { format!("2001:db8:f{net:03x}::/48") } else { format!("198.18.{net}.0/24") };
            let destination = text.parse().unwrap();
            option::of(router(v6)).prop_map(move |via| Route::new(destination, via))
        };
        nets.into_iter().map(route).collect::<Vec<_>>()
    });
    routes.prop_shuffle()
}

prop_compose! {
    pub(crate) fn spec()(
        guest in guest(),
        ifname in link_name("x"),
        (uplink, kind, mode, vlan) in port(),
        (host_ifname, mac) in (option::of(link_name("v")), option::of(mac())),
        (mtu, pkey) in (option::of(1280u32..=9216), option::of(1u32..0x8000)),
        addressing in addressing(),
        routers in (option::of(router(false)), option::of(router(true))),
        routes in routes(),
        (peer_ifname, peer_hosts) in (option::of(link_name("x")), btree_set(1u8..100, 0..3)),
        labels in labels(),
        (slaac, dhcp6) in any::<(bool, bool)>(),
        check in prop::sample::select(vec![DuplicateCheck::Off, DuplicateCheck::Quick, DuplicateCheck::Full]),
        follow in prop::sample::select(vec![None, Some(Follow::Restarts), Some(Follow::Once)]),
    ) -> AttachmentSpec {
        let is_ptp = matches!(uplink, Uplink::Host | Uplink::Guest(_));
        let is_ipoib = kind == Some(Kind::Ipoib);
        let addressing = match addressing {
            Addressing::Dhcp(_) if is_ptp || is_ipoib => Addressing::None,
            addressing => addressing,
        };
        let peer_address = |host: u8| format!("172.16.0.{host}/24").parse().unwrap();
        let peer = Peer {
            ifname: peer_ifname.filter(|_| matches!(uplink, Uplink::Guest(_))),
            addresses: peer_hosts.into_iter().filter(|_| is_ptp).map(peer_address).collect(),
        };
        let own = addressing.addresses();
        let reachable = |router: &IpAddr| own.is_empty() || own.iter().any(|own| own.addr().is_ipv4() == router.is_ipv4());
        let gateways = [routers.0, routers.1].into_iter().flatten().filter(reachable).collect();
        let mtu = mtu.filter(|_| !is_ipoib).map(|bytes| Mtu::try_from(bytes).unwrap());
        let pkey = pkey.filter(|_| is_ipoib).map(|key| key.try_into().unwrap());
        let spec = AttachmentSpec {
            guest, ifname, uplink, kind, mode, host_ifname: None, mac: None, mtu, vlan, pkey, addressing, gateways, routes,
            peer, host_reach: false, labels, duplicate_check: DuplicateCheck::Off, slaac: false, dhcp6: None, follow: None,
        };
        let automatic = AttachmentSpec { slaac, dhcp6: dhcp6.then(Dhcp6::default), ..spec.clone() };
        let spec = if automatic.check().is_ok() { automatic } else { spec };
        let following = AttachmentSpec { follow, ..spec.clone() };
        let spec = if following.check().is_ok() { following } else { spec };
        let checked = AttachmentSpec { duplicate_check: check, ..spec.clone() };
        let spec = if checked.check().is_ok() { checked } else { spec };
        // A link without a host's end has no name for it, and one with its parent's MAC address none of its own.
        let is_pair = spec.known_kind().is_none_or(|kind| kind.has_host_end(&spec.uplink));
        let has_parents_mac = is_ipoib || spec.kind == Some(Kind::Ipvlan) || mode == Some(Mode::Macvlan(MacvlanMode::Passthru));
        AttachmentSpec {
            host_ifname: host_ifname.filter(|_| is_pair),
            mac: mac.filter(|_| !has_parents_mac),
            ..spec
        }
    }
}

pub(crate) fn fleet() -> impl Strategy<Value = FleetName> {
    "[a-z][a-z0-9-]{0,62}".prop_map(|name| name.parse().unwrap())
}

/// Switches have names and uplinks of their own, so no attachment is on one by chance.
pub(crate) fn host_spec() -> impl Strategy<Value = HostSpec> {
    let switch = (any::<bool>(), option::of(btree_set(vlan_id(), 0..5)));
    (fleet(), vec(switch, 0..5), vec(spec(), 0..5)).prop_map(|(fleet, switches, mut attachments)| {
        let switch = |(index, (ovs, trunk)): (usize, (bool, Option<BTreeSet<VlanId>>))| SwitchSpec {
            name: format!("s{index}").parse().unwrap(),
            kind: if ovs { SwitchKind::Ovs } else { SwitchKind::LinuxBridge },
            uplink: trunk.map(|trunk| UplinkSpec { link: format!("u{index}").parse().unwrap(), trunk }),
        };
        for (index, attachment) in attachments.iter_mut().enumerate() {
            attachment.ifname = format!("x{index}").parse().unwrap();
            if let Uplink::Link(name) = &mut attachment.uplink {
                *name = format!("br{index}").parse().unwrap();
            } else {
                // No two have the same address or MAC address on one uplink.
                attachment.mac = None;
                attachment.gateways.clear();
                attachment.routes.clear();
                attachment.addressing = Addressing::None;
                attachment.duplicate_check = DuplicateCheck::Off;
            }
            attachment.host_ifname = None;
        }
        HostSpec { fleet, switches: switches.into_iter().enumerate().map(switch).collect(), attachments }
    })
}

pub(crate) fn request_id() -> impl Strategy<Value = Uuid> {
    any::<[u8; 16]>().prop_map(|bytes| uuid::Builder::from_random_bytes(bytes).into_uuid())
}

pub(crate) fn id() -> impl Strategy<Value = Uuid> {
    (1u128..u128::MAX).prop_map(Uuid::from_u128)
}

/// Linux sets no clock before 1970, nor does serde store such a time; a timestamp ends with the year 9999.
pub(crate) fn time() -> impl Strategy<Value = SystemTime> {
    (0u64..253_402_300_800, 0u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| UNIX_EPOCH + Duration::new(seconds, nanos))
}

pub(crate) fn failure() -> impl Strategy<Value = Failure> {
    let reason = (0i32..=25).prop_map(|number| Reason::try_from(number).unwrap());
    (reason, ".{0,40}", hash_map("[a-z]{1,8}", ".{0,20}", 0..4)).prop_map(|(reason, message, facts)| {
        facts.into_iter().fold(Failure::new(reason, message), |failure, (key, fact)| failure.with(&key, fact))
    })
}

prop_compose! {
    pub(crate) fn attachment()(
        id in id(),
        spec in spec().boxed(),
        state in prop::sample::select(vec![
            State::Attaching, State::Attached, State::Detaching, State::Detached, State::Incomplete, State::Waiting,
        ]),
        runtime in prop::sample::select(vec![
            Runtime::Docker,
            Runtime::Podman,
            Runtime::Lxc,
            Runtime::Containerd,
            Runtime::Crio,
            Runtime::Machined,
            Runtime::Pid,
            Runtime::Netns,
        ]),
        (guest_id, name, pid, netns_cookie, started_at) in
            (".{0,20}", ".{0,20}", option::of(1u32..), any::<u64>(), ".{0,20}"),
        (host_end, mac, mtu) in (any::<u64>(), option::of(mac()), option::of(1280u32..=9216)),
        fleet in option::of(fleet()),
        created_at in time(),
        revision in any::<u64>(),
        (plan, leftovers) in (vec(".{0,20}", 0..4), vec(".{0,20}", 0..4)),
        observed in option::of((any::<bool>(), ".{0,9}", any::<u32>(), ".{0,9}", any::<i64>(), ".{0,9}")),
        lease in option::of(lease()),
        peer in option::of(any::<u64>()),
        (lease6, waiting, origin) in (option::of(lease()), ".{0,20}", option::of((".{0,20}", ".{0,20}"))),
        traffic in vec(traffic(), 0..4),
    ) -> Attachment {
        let is_pair = spec.known_kind().is_none_or(|kind| kind.has_host_end(&spec.uplink));
        let host_ifname = is_pair.then(|| LinkName::derived(host_end));
        let observed = observed.map(|(present, operstate, mtu, bridge, ofport, ovs_error)| {
            ObservedLink { present, operstate, mtu, bridge, ofport, ovs_error }
        });
        Attachment {
            id,
            spec: AttachmentSpec { host_ifname: host_ifname.clone(), ..spec },
            state,
            peer: peer.map(|netns_cookie| GuestIdentity {
                runtime, id: guest_id.clone(), name: name.clone(), pid, netns_cookie, started_at: started_at.clone(),
            }),
            guest: GuestIdentity { runtime, id: guest_id, name, pid, netns_cookie, started_at },
            host_ifname, mac, mtu: mtu.map(|bytes| Mtu::try_from(bytes).unwrap()), fleet, created_at, revision, plan, leftovers,
            observed: observed.map(Box::new), lease: lease.map(Box::new), lease6: lease6.map(Box::new), traffic, waiting, drift: Vec::new(),
            origin: origin.map(|(key, line)| Box::new(Origin { key, line })),
        }
    }
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let state = prop_oneof![
        Just(OperationState::Running),
        Just(OperationState::Done),
        failure().prop_map(OperationState::Failed),
    ];
    (request_id(), state, vec(id(), 0..4), time()).prop_map(
        |(request_id, state, attachment_ids, started_at)| Operation {
            request_id,
            state,
            attachment_ids,
            started_at,
        },
    )
}

pub(crate) fn guest_link_state() -> impl Strategy<Value = GuestLinkState> {
    let net =
        (any::<IpAddr>(), 0u8..=32).prop_map(|(address, length)| ipnet::IpNet::new(address, length).unwrap());
    let nets = vec(net, 0..4);
    let bits = (any::<bool>(), any::<bool>(), any::<bool>());
    (bits, nets.clone(), nets, option::of(any::<IpAddr>()), "[a-z]{0,10}").prop_map(
        |((exists, up, carrier), addresses, tentative, gateway, gateway_state)| GuestLinkState {
            exists,
            up,
            carrier,
            addresses,
            tentative,
            gateway,
            gateway_state,
        },
    )
}
