//! Requests that must be refused before anything has an effect, as data: each is a valid request with one thing wrong,
//! beside the path of the field that the refusal must name. Other test crates include this file and send the rows to
//! a real agent.

mod addresses;
mod host;
mod names;
mod traffic;

use pipewright_api::wire;
use pipewright_api::wire::attachment_spec::{Addressing, Vlan};

pub(crate) use host::{rows as host_rows, valid as valid_host};
pub(crate) use traffic::{removed, rows as traffic_rows, valid as valid_traffic};

/// One request that must be refused.
pub(crate) struct Refused<R> {
    /// What is wrong, unique in its table.
    pub(crate) name: String,
    /// Path of the field that the refusal must name.
    pub(crate) field: String,
    /// Spoils a valid request.
    pub(crate) spoil: Box<dyn Fn(&mut R) + Send + Sync>,
}

impl<R> Refused<R> {
    fn new(name: &str, field: &str, spoil: impl Fn(&mut R) + Send + Sync + 'static) -> Self {
        Self { name: name.to_owned(), field: field.to_owned(), spoil: Box::new(spoil) }
    }
}

type Row = Refused<wire::AttachRequest>;

/// The request that every row of [`attach_rows`] begins with.
pub(crate) fn valid_attach() -> wire::AttachRequest {
    wire::AttachRequest {
        request_id: "9b2f4c1e-6d1b-4f0e-8a37-0c5d1f6b7a21".to_owned(),
        spec: Some(wire::AttachmentSpec {
            guest: "docker:web".to_owned(),
            ifname: "eth1".to_owned(),
            uplink: "br0".to_owned(),
            kind: wire::Kind::Unspecified.into(),
            mode: wire::Mode::Unspecified.into(),
            host_ifname: "web-eth1".to_owned(),
            mac: "02:00:5e:10:00:01".to_owned(),
            mtu: 1400,
            vlan: None,
            pkey: 0,
            addressing: statics(["192.0.2.10/24", "2001:db8::10/64"]),
            gateways: vec!["192.0.2.1".to_owned(), "fe80::1".to_owned()],
            routes: vec![
                route("198.51.100.0/24", "192.0.2.254"),
                route("2001:db8:1::/48", "2001:db8::fe"),
                route("203.0.113.0/24", ""),
            ],
            duplicate_check: 0,
            host_reach: false,
            peer_ifname: String::new(),
            peer_cidrs: Vec::new(),
            slaac: false,
            dhcp6: None,
            labels: [("example.owner".to_owned(), "web team".to_owned())].into(),
            follow: 0,
        }),
        dry_run: false,
    }
}

/// Every attach request that must be refused.
pub(crate) fn attach_rows() -> Vec<Row> {
    let mut rows = names::rows();
    rows.extend(ids());
    rows.extend(numbers());
    rows.extend(parts());
    rows.extend(labels());
    rows.extend(kinds());
    rows.extend(addresses::rows());
    rows
}

/// A row that spoils the spec.
fn of_spec(
    name: &str,
    field: &str,
    spoil: impl Fn(&mut wire::AttachmentSpec) + Send + Sync + 'static,
) -> Row {
    Row::new(name, field, move |request| {
        spoil(request.spec.as_mut().expect("the valid request has a spec"));
    })
}

/// A row for each text that a field cannot be.
fn each(
    field: &'static str,
    texts: &'static [&'static str],
    set: impl Fn(&mut wire::AttachmentSpec, String) + Copy + Send + Sync + 'static,
) -> Vec<Row> {
    let row = |text: &&'static str| {
        let text = *text;
        of_spec(&format!("{field} {text:?}"), field, move |spec| set(spec, text.to_owned()))
    };
    texts.iter().map(row).collect()
}

fn statics<const N: usize>(cidrs: [&str; N]) -> Option<Addressing> {
    let cidrs = cidrs.map(str::to_owned).to_vec();
    Some(Addressing::StaticAddresses(wire::StaticAddresses { cidrs }))
}

fn route(destination: &str, via: &str) -> wire::Route {
    wire::Route { destination: destination.to_owned(), via: via.to_owned(), ..wire::Route::default() }
}

fn trunk(vlans: &[u32]) -> Option<Vlan> {
    Some(Vlan::TrunkVlans(wire::TrunkVlans { vlans: vlans.to_vec() }))
}

fn ids() -> Vec<Row> {
    let texts = [
        "",
        "1",
        "request",
        "9b2f4c1e6d1b4f0e8a370c5d1f6b7a21",
        "{9b2f4c1e-6d1b-4f0e-8a37-0c5d1f6b7a21}",
        "urn:uuid:9b2f4c1e-6d1b-4f0e-8a37-0c5d1f6b7a21",
        "9b2f4c1e-6d1b-4f0e-8a37-0c5d1f6b7a2",
        "9b2f4c1e-6d1b-4f0e-8a37-0c5d1f6b7a211",
        "9b2f4c1e-6d1b-4f0e-8a37-0c5d1f6b7a2g",
        "9b2f4c1e-6d1b-4f0e-8a37-0c5d1f6b7a21\n",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        // By time and MAC address, by name (MD5, SHA-1), and by whatever (RFC 9562 §5).
        "c232ab00-9414-11ec-b3c8-9f6bdeced846",
        "5df41881-3aed-3515-88a7-2f4a814cf09e",
        "2ed6657d-e927-568b-95e1-2665a8aea6a2",
        "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0",
        // Version 4 of another variant.
        "9b2f4c1e-6d1b-4f0e-ca37-0c5d1f6b7a21",
    ];
    let row = |text: &'static str| {
        Row::new(&format!("request_id {text:?}"), "request_id", move |request: &mut wire::AttachRequest| {
            request.request_id = text.to_owned();
        })
    };
    texts.map(row).into()
}

fn numbers() -> Vec<Row> {
    let mut rows = Vec::new();
    for mtu in [1, 68, 576, 1279, 9217, 65535, 65536 + 1400, u32::MAX] {
        rows.push(of_spec(&format!("mtu {mtu}"), "spec.mtu", move |spec| spec.mtu = mtu));
    }
    // 65636 is 100 to whoever keeps 16 bits of it.
    for vlan in [0, 4095, 4096, 65536, 65636, u32::MAX] {
        rows.push(of_spec(&format!("access VLAN {vlan}"), "spec.access_vlan", move |spec| {
            spec.kind = wire::Kind::Ovs.into();
            spec.vlan = Some(Vlan::AccessVlan(vlan));
        }));
        rows.push(of_spec(&format!("trunk with {vlan}"), "spec.trunk_vlans.vlans[1]", move |spec| {
            spec.kind = wire::Kind::Ovs.into();
            spec.vlan = trunk(&[100, vlan]);
        }));
    }
    for number in [99, -1, i32::MAX, i32::MIN] {
        rows.push(of_spec(&format!("kind {number}"), "spec.kind", move |spec| spec.kind = number));
        rows.push(of_spec(&format!("mode {number}"), "spec.mode", move |spec| spec.mode = number));
    }
    rows
}

fn labels() -> Vec<Row> {
    let label = |key: &'static str, value: &'static str| {
        of_spec(&format!("label {key:?} {value:?}"), "spec.labels", move |spec| {
            spec.labels.insert(key.to_owned(), value.to_owned());
        })
    };
    vec![
        label("", "v"),
        label("iface-id", "an Open vSwitch controller acts on it"),
        label("pipewright-id", "ours"),
        label("pipewright.x", "ours"),
        label("a b.c", "v"),
        label("a.b", "two\nlines"),
        of_spec("33 labels", "spec.labels", |spec| {
            spec.labels = (0..33).map(|number| (format!("a.b{number}"), "v".to_owned())).collect();
        }),
    ]
}

fn parts() -> Vec<Row> {
    vec![
        Row::new("no spec", "spec", |request: &mut wire::AttachRequest| request.spec = None),
        Row::new("empty spec", "spec.guest", |request: &mut wire::AttachRequest| {
            request.spec = Some(wire::AttachmentSpec::default());
        }),
        of_spec("an Open vSwitch port without VLAN", "spec.vlan", |spec| spec.kind = wire::Kind::Ovs.into()),
        of_spec("an empty trunk", "spec.trunk_vlans.vlans", |spec| spec.vlan = trunk(&[])),
        of_spec("an empty trunk on Open vSwitch", "spec.trunk_vlans.vlans", |spec| {
            spec.kind = wire::Kind::Ovs.into();
            spec.vlan = trunk(&[]);
        }),
        of_spec("a trunk with a VLAN twice", "spec.trunk_vlans.vlans[1]", |spec| spec.vlan = trunk(&[7, 7])),
        of_spec("a trunk with a VLAN twice, apart", "spec.trunk_vlans.vlans[2]", |spec| {
            spec.vlan = trunk(&[100, 200, 100]);
        }),
        of_spec("a trunk of more VLANs than there are", "spec.trunk_vlans.vlans", |spec| {
            spec.vlan = trunk(&(0..4095).collect::<Vec<u32>>());
        }),
        of_spec("a host end named like the bridge", "spec.host_ifname", |spec| {
            spec.host_ifname = spec.uplink.clone();
        }),
        of_spec("no addressing", "spec.addressing", |spec| spec.addressing = None),
    ]
}

/// What does not fit a link that is born in the guest.
fn kinds() -> Vec<Row> {
    use wire::{Kind, Mode};
    let row = |what: &str, field: &'static str, uplink: &'static str, kind: Kind, mode: Mode| {
        of_spec(&format!("{what} on {uplink}"), field, move |spec| {
            spec.uplink = uplink.to_owned();
            spec.kind = kind.into();
            spec.mode = mode.into();
        })
    };
    let with = |what: &str, field, kind: Kind, change: fn(&mut wire::AttachmentSpec)| {
        of_spec(what, field, move |spec| {
            spec.uplink = if kind == Kind::Dummy { "dummy" } else { "eth0" }.to_owned();
            spec.kind = kind.into();
            (spec.host_ifname, spec.mac, spec.vlan) = (String::new(), String::new(), None);
            change(spec);
        })
    };
    let ipoib = |what: &str, field, change: fn(&mut wire::AttachmentSpec)| {
        of_spec(what, field, move |spec| {
            (spec.uplink, spec.kind) = ("ib0".to_owned(), Kind::Ipoib.into());
            (spec.host_ifname, spec.mac, spec.mtu) = (String::new(), String::new(), 0);
            change(spec);
        })
    };
    let every = |spec: &mut wire::AttachmentSpec| spec.vlan = Some(Vlan::EveryVlan(wire::EveryVlan {}));
    vec![
        row("a dummy", "spec.uplink", "eth0", Kind::Dummy, Mode::Unspecified),
        row("a dummy", "spec.uplink", "mac:02:00:5e:10:00:01", Kind::Dummy, Mode::Unspecified),
        row("a macvlan", "spec.kind", "dummy", Kind::Macvlan, Mode::Unspecified),
        row("a port", "spec.kind", "mac:02:00:5e:10:00:01", Kind::Ovs, Mode::Unspecified),
        row("mode l2 without a kind", "spec.mode", "eth0", Kind::Unspecified, Mode::L2),
        row("mode l3 of a macvlan", "spec.mode", "mac:02:00:5e:10:00:01", Kind::Unspecified, Mode::L3),
        row("mode vepa of an ipvlan", "spec.mode", "eth0", Kind::Ipvlan, Mode::Vepa),
        row("a mode of a bridge", "spec.mode", "br0", Kind::LinuxBridge, Mode::Bridge),
        row("a whole NIC", "spec.kind", "dummy", Kind::Direct, Mode::Unspecified),
        row("a mode of a whole NIC", "spec.mode", "eth0", Kind::Direct, Mode::Passthru),
        row("a mode of a dummy", "spec.mode", "dummy", Kind::Unspecified, Mode::Private),
        with("a macvlan with a host end", "spec.host_ifname", Kind::Macvlan, |spec| {
            spec.host_ifname = "web0".to_owned();
        }),
        with("an ipvlan with a MAC address", "spec.mac", Kind::Ipvlan, |spec| spec.mac = "U:web".to_owned()),
        with("a passthru macvlan with a MAC address", "spec.mac", Kind::Macvlan, |spec| {
            spec.mode = Mode::Passthru.into();
            spec.mac = "U:web".to_owned();
        }),
        with("a sub-interface without VLAN", "spec.vlan", Kind::Vlan, |_| ()),
        with("a trunk of a macvlan", "spec.trunk_vlans", Kind::Macvlan, |spec| spec.vlan = trunk(&[100])),
        with("every VLAN of an ipvlan", "spec.every_vlan", Kind::Ipvlan, every),
        row("a ptp", "spec.uplink", "br0", Kind::Ptp, Mode::Unspecified),
        row("a ptp", "spec.uplink", "mac:02:00:5e:10:00:01", Kind::Ptp, Mode::Unspecified),
        row("a macvlan", "spec.kind", "host", Kind::Macvlan, Mode::Unspecified),
        row("a port", "spec.kind", "guest:db", Kind::Ovs, Mode::Unspecified),
        row("a mode of a ptp", "spec.mode", "host", Kind::Unspecified, Mode::Bridge),
        of_spec("a link of a guest to itself", "spec.uplink", |spec| {
            spec.uplink = "guest:docker:web".to_owned();
        }),
        of_spec("a host end in another guest", "spec.host_ifname", |spec| {
            spec.uplink = "guest:db".to_owned();
        }),
        of_spec("a peer's name on a bridge", "spec.peer_ifname", |spec| spec.peer_ifname = "eth1".to_owned()),
        of_spec("a peer's name in the host", "spec.peer_ifname", |spec| {
            spec.uplink = "host".to_owned();
            spec.peer_ifname = "eth1".to_owned();
        }),
        of_spec("a reserved peer's name", "spec.peer_ifname", |spec| {
            (spec.uplink, spec.host_ifname) = ("guest:db".to_owned(), String::new());
            spec.peer_ifname = "pw0".to_owned();
        }),
        of_spec("a peer's address on a bridge", "spec.peer_cidrs", |spec| {
            spec.peer_cidrs = vec!["192.0.2.1/24".to_owned()];
        }),
        of_spec("a peer's address that is none", "spec.peer_cidrs[0]", |spec| {
            spec.uplink = "host".to_owned();
            spec.peer_cidrs = vec!["192.0.2.1".to_owned()];
        }),
        of_spec("one address at both ends", "spec.peer_cidrs[1]", |spec| {
            spec.uplink = "host".to_owned();
            spec.peer_cidrs = vec!["192.0.2.9/24".to_owned(), "192.0.2.10/24".to_owned()];
        }),
        with("a way to the host of a macvlan in mode vepa", "spec.host_reach", Kind::Macvlan, |spec| {
            spec.mode = Mode::Vepa.into();
            spec.host_reach = true;
        }),
        with("a way to the host of an ipvlan", "spec.host_reach", Kind::Ipvlan, |spec| {
            spec.host_reach = true;
        }),
        with("a way to the host of a dummy", "spec.host_reach", Kind::Dummy, |spec| spec.host_reach = true),
        with("a way to the host without an address", "spec.host_reach", Kind::Macvlan, |spec| {
            spec.addressing = Some(Addressing::NoAddress(wire::NoAddress {}));
            (spec.gateways, spec.routes) = (Vec::new(), Vec::new());
            spec.host_reach = true;
        }),
        of_spec("a process that is followed", "spec.follow", |spec| {
            spec.guest = "pid:4242".to_owned();
            spec.follow = wire::Follow::Restarts.into();
        }),
        of_spec("a namespace at the other end that is followed", "spec.follow", |spec| {
            spec.uplink = "guest:netns:blue".to_owned();
            (spec.gateways, spec.routes, spec.host_ifname) = (Vec::new(), Vec::new(), String::new());
            spec.follow = wire::Follow::Restarts.into();
        }),
        of_spec("a way to follow that there is not", "spec.follow", |spec| spec.follow = 3),
        of_spec("a VLAN of a ptp", "spec.access_vlan", |spec| {
            spec.uplink = "host".to_owned();
            spec.vlan = Some(Vlan::AccessVlan(100));
        }),
        of_spec("DHCP on a ptp", "spec.dhcp", |spec| {
            spec.uplink = "host".to_owned();
            spec.addressing = Some(Addressing::Dhcp(wire::Dhcp::default()));
        }),
        with("a whole NIC with a host end", "spec.host_ifname", Kind::Direct, |spec| {
            spec.host_ifname = "web0".to_owned();
        }),
        with("a trunk of a whole NIC", "spec.trunk_vlans", Kind::Direct, |spec| spec.vlan = trunk(&[100])),
        with("every VLAN of a whole NIC", "spec.every_vlan", Kind::Direct, every),
        row("a mode of IPoIB without the kind", "spec.mode", "ib0", Kind::Unspecified, Mode::Connected),
        row("mode l2 of IPoIB", "spec.mode", "ib0", Kind::Ipoib, Mode::L2),
        row("mode datagram of a macvlan", "spec.mode", "eth0", Kind::Macvlan, Mode::Datagram),
        row("mode connected of a bridge", "spec.mode", "br0", Kind::LinuxBridge, Mode::Connected),
        row("IPoIB", "spec.kind", "dummy", Kind::Ipoib, Mode::Unspecified),
        row("IPoIB", "spec.kind", "host", Kind::Ipoib, Mode::Unspecified),
        ipoib("IPoIB by a MAC address", "spec.uplink", |spec| {
            spec.uplink = "mac:02:00:5e:10:00:01".to_owned();
        }),
        ipoib("IPoIB with a host end", "spec.host_ifname", |spec| spec.host_ifname = "web0".to_owned()),
        ipoib("IPoIB with a MAC address", "spec.mac", |spec| spec.mac = "U:web".to_owned()),
        ipoib("IPoIB with an MTU", "spec.mtu", |spec| spec.mtu = 2044),
        ipoib("IPoIB in a VLAN", "spec.access_vlan", |spec| spec.vlan = Some(Vlan::AccessVlan(100))),
        ipoib("a trunk of IPoIB", "spec.trunk_vlans", |spec| spec.vlan = trunk(&[100])),
        ipoib("every VLAN of IPoIB", "spec.every_vlan", every),
        ipoib("DHCP over InfiniBand", "spec.dhcp", |spec| {
            spec.addressing = Some(Addressing::Dhcp(wire::Dhcp::default()));
        }),
        ipoib("DHCPv6 over InfiniBand", "spec.dhcp6", |spec| spec.dhcp6 = Some(wire::Dhcp6::default())),
        ipoib("probes on InfiniBand", "spec.duplicate_check", |spec| {
            spec.duplicate_check = wire::DuplicateCheck::Full.into();
        }),
        ipoib("a way to the host of IPoIB", "spec.host_reach", |spec| spec.host_reach = true),
        ipoib("a partition key without a partition", "spec.pkey", |spec| spec.pkey = 0x8000),
        ipoib("a partition key of three bytes", "spec.pkey", |spec| spec.pkey = 0x1_0001),
        ipoib("a partition by its key alone, and a MAC address", "spec.mac", |spec| {
            (spec.kind, spec.pkey, spec.mac) = (0, 0x8001, "U:web".to_owned());
        }),
        with("a partition of a macvlan", "spec.pkey", Kind::Macvlan, |spec| spec.pkey = 0x8001),
        with("a partition of a dummy", "spec.pkey", Kind::Dummy, |spec| spec.pkey = 0x8001),
        with("a VLAN of a dummy", "spec.access_vlan", Kind::Dummy, |spec| {
            spec.vlan = Some(Vlan::AccessVlan(100));
        }),
    ]
}
