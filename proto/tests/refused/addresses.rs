//! Addresses, gateways and routes that a link cannot have; the kernel takes most of the IPv4 ones.

use pipewright_api::wire;
use pipewright_api::wire::attachment_spec::Addressing;

use super::{Row, each, of_spec, route, statics};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = each("spec.static_addresses.cidrs[0]", NO_INTERFACE_ADDRESS, |spec, text| {
        spec.addressing = statics([&text]);
    });
    rows.extend(addresses());
    rows.extend(dhcp());
    rows.extend(checks());
    rows.extend(each("spec.gateways[0]", NO_GATEWAY, |spec, text| spec.gateways = vec![text]));
    rows.extend(gateways());
    rows.extend(each("spec.routes[0].destination", NO_DESTINATION, |spec, text| {
        spec.routes = vec![route(&text, "")];
    }));
    rows.extend(each("spec.routes[0].via", NO_VIA, |spec, text| {
        spec.routes = vec![route("198.51.100.0/24", &text)];
    }));
    rows.extend(routes());
    rows
}

const NO_INTERFACE_ADDRESS: &[&str] = &[
    // The subnet's number and its broadcast address; every host; no host.
    "192.0.2.0/24",
    "192.0.2.255/24",
    "192.0.2.8/30",
    "192.0.2.11/30",
    "10.0.0.0/8",
    "10.255.255.255/8",
    "255.255.255.255/32",
    "255.255.255.255/24",
    "0.0.0.0/24",
    "0.0.0.5/24",
    "0.1.2.3/8",
    "127.0.0.1/8",
    "127.1.2.3/32",
    "224.0.0.1/4",
    "239.1.1.1/24",
    "240.0.0.1/24",
    "250.1.2.3/32",
    "169.254.1.1/16",
    "::/64",
    "::/128",
    "::1/128",
    "::1/64",
    "ff02::1/64",
    "ff02::1/128",
    "fe80::1/64",
    "febf::1/64",
    "::ffff:192.0.2.10/96",
    "::ffff:192.0.2.10/128",
    "::ffff:c000:20a/120",
    // Prefix lengths.
    "192.0.2.10",
    "192.0.2.10/",
    "192.0.2.10/0",
    "192.0.2.10/33",
    "192.0.2.10/-1",
    "192.0.2.10/+24",
    "192.0.2.10/024",
    "192.0.2.10/2 4",
    "192.0.2.10/255.255.255.0",
    "192.0.2.10/24/24",
    "0/0",
    "/24",
    "2001:db8::10",
    "2001:db8::10/0",
    "2001:db8::10/129",
    "2001:db8::10/ffff::",
    // Forms that inet_aton takes, and other slips.
    "192.0.2.010/24",
    "0192.0.2.10/24",
    "192.0.2/24",
    "192.0.2.256/24",
    "192.0.2.10.1/24",
    "3221225994/24",
    "0xc0.0.2.10/24",
    "192.0.2.1O/24",
    "192.0.2.10/24,192.0.2.11/24",
    "192.0.2.10/24 ",
    " 192.0.2.10/24",
    "192.0.2.10/24\n",
    "192.0.2.10/24\0",
    "192.0.2.10/24@192.0.2.1",
    "fe80::1%eth0/64",
    "2001:db8::1%eth0/64",
    "2001:db8::1/64%eth0",
    "2001:db8:::1/64",
    "2001:db8::1::2/64",
    "12345::1/64",
    "[2001:db8::1]/64",
    "",
    "dhcp",
    "web",
];

fn addresses() -> Vec<Row> {
    vec![
        of_spec("no address in the list", "spec.static_addresses.cidrs", |spec| {
            spec.addressing = statics([]);
        }),
        of_spec("an address twice", "spec.static_addresses.cidrs[1]", |spec| {
            spec.addressing = statics(["192.0.2.10/24", "192.0.2.10/24"]);
        }),
        of_spec("an address twice, with another prefix", "spec.static_addresses.cidrs[2]", |spec| {
            spec.addressing = statics(["192.0.2.10/24", "2001:db8::10/64", "192.0.2.10/25"]);
        }),
        of_spec("an IPv6 address twice, written in two ways", "spec.static_addresses.cidrs[1]", |spec| {
            spec.addressing = statics(["2001:db8::10/64", "2001:0DB8:0:0::10/64"]);
        }),
        of_spec("the second address is bad", "spec.static_addresses.cidrs[1]", |spec| {
            spec.addressing = statics(["192.0.2.10/24", "192.0.2.0/24"]);
        }),
        of_spec("65 addresses", "spec.static_addresses.cidrs", |spec| {
            let cidrs: [String; 65] = std::array::from_fn(|host| format!("192.0.2.{}/24", host + 100));
            spec.addressing = statics(cidrs.each_ref().map(String::as_str));
        }),
    ]
}

fn checks() -> Vec<Row> {
    let full = wire::DuplicateCheck::Full.into();
    let nowhere = |spec: &mut wire::AttachmentSpec| {
        spec.uplink = "dummy".to_owned();
        spec.host_ifname.clear();
    };
    vec![
        of_spec("SLAAC without routers", "spec.slaac", move |spec| {
            nowhere(spec);
            spec.slaac = true;
        }),
        of_spec("DHCPv6 without servers", "spec.dhcp6", move |spec| {
            nowhere(spec);
            spec.dhcp6 = Some(wire::Dhcp6::default());
        }),
        of_spec("DHCPv6 by a name that is none", "spec.dhcp6.hostname", |spec| {
            spec.dhcp6 = Some(wire::Dhcp6 { hostname: "a_b".to_owned() });
        }),
        of_spec("a check that is not known", "spec.duplicate_check", |spec| spec.duplicate_check = 17),
        of_spec("a check for no address", "spec.duplicate_check", move |spec| {
            spec.duplicate_check = full;
            spec.addressing = Some(Addressing::NoAddress(wire::NoAddress {}));
        }),
        of_spec("a check among no neighbours", "spec.duplicate_check", move |spec| {
            spec.duplicate_check = full;
            spec.uplink = "dummy".to_owned();
            spec.host_ifname.clear();
        }),
        of_spec("a check without broadcasts", "spec.duplicate_check", move |spec| {
            spec.duplicate_check = full;
            spec.kind = wire::Kind::Ipvlan.into();
            spec.mode = wire::Mode::L3s.into();
            spec.uplink = "eth1".to_owned();
            spec.host_ifname.clear();
            spec.mac.clear();
        }),
    ]
}

fn dhcp() -> Vec<Row> {
    let ask = |hostname: &str, client_id: &str| {
        let asked = wire::Dhcp { hostname: hostname.to_owned(), client_id: client_id.to_owned() };
        move |spec: &mut wire::AttachmentSpec| {
            spec.gateways.clear();
            spec.routes.clear();
            spec.addressing = Some(Addressing::Dhcp(asked.clone()));
        }
    };
    let label = "x".repeat(64);
    let mut rows = Vec::new();
    for hostname in ["-web", "web-", "we b", "web.", ".web", "w_b", "web\n", "web\0", "wéb", &label] {
        let name = format!("host name {hostname:?}");
        rows.push(of_spec(&name, "spec.dhcp.hostname", ask(hostname, "")));
    }
    for client_id in ["web\n", "\0", &"x".repeat(255), &"01:".repeat(256)] {
        let name = format!("client id {client_id:?}");
        rows.push(of_spec(&name, "spec.dhcp.client_id", ask("", client_id)));
    }
    rows
}

const NO_GATEWAY: &[&str] = &[
    "",
    "192.0.2.1/24",
    "192.0.2.01",
    "192.0.2",
    "0.0.0.0",
    "0.0.0.1",
    "127.0.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "169.254.0.1",
    "::",
    "::1",
    "ff02::2",
    "::ffff:192.0.2.1",
    "fe80::1%eth1",
    "[2001:db8::1]",
    "router",
    "192.0.2.1 ",
    "-",
    // The link's own; the subnet's number and broadcast address.
    "192.0.2.10",
    "2001:db8::10",
    "192.0.2.0",
    "192.0.2.255",
];

fn gateways() -> Vec<Row> {
    let gateways = |texts: &'static [&'static str]| {
        move |spec: &mut wire::AttachmentSpec| {
            spec.gateways = texts.iter().map(|&text| text.to_owned()).collect();
        }
    };
    vec![
        of_spec("two IPv4 gateways", "spec.gateways[1]", gateways(&["192.0.2.1", "192.0.2.2"])),
        of_spec("a gateway twice", "spec.gateways[1]", gateways(&["192.0.2.1", "192.0.2.1"])),
        of_spec("two IPv6 gateways", "spec.gateways[2]", gateways(&["192.0.2.1", "2001:db8::1", "fe80::1"])),
        of_spec("an IPv6 gateway without IPv6 address", "spec.gateways[1]", |spec| {
            spec.addressing = statics(["192.0.2.10/24"]);
            spec.gateways = vec!["192.0.2.1".to_owned(), "2001:db8::1".to_owned()];
            spec.routes.clear();
        }),
        of_spec("an IPv4 gateway without IPv4 address", "spec.gateways[0]", |spec| {
            spec.addressing = statics(["2001:db8::10/64"]);
            spec.gateways = vec!["192.0.2.1".to_owned()];
            spec.routes.clear();
        }),
        of_spec("a link-local IPv6 gateway without IPv6 address", "spec.gateways[0]", |spec| {
            spec.addressing = statics(["192.0.2.10/24"]);
            spec.gateways = vec!["fe80::1".to_owned()];
            spec.routes.clear();
        }),
        of_spec("65 gateways", "spec.gateways", |spec| spec.gateways = vec!["192.0.2.1".to_owned(); 65]),
    ]
}

const NO_DESTINATION: &[&str] = &[
    "",
    "default",
    "198.51.100.0",
    "198.51.100.0/",
    "198.51.100.0/33",
    "198.51.100.0/024",
    "198.051.100.0/24",
    "010.0.0.0/8",
    "198.51.100/24",
    "2001:db8:1::/129",
    "2001:db8:1::",
    "fe80::%eth1/64",
    // Host bits.
    "198.51.100.1/24",
    "198.51.100.128/24",
    "198.51.100.1/31",
    "2001:db8:1::1/48",
    "2001:db8:1:1::/48",
    "0.0.0.1/0",
    "::1/0",
    // The default route has a field of its own.
    "0.0.0.0/0",
    "::/0",
    // What never leaves a host; the link's own subnets.
    "127.0.0.0/8",
    "127.0.0.1/32",
    "::1/128",
    "::ffff:0:0/96",
    "::ffff:198.51.100.0/120",
    "192.0.2.0/24",
    "2001:db8::/64",
];

const NO_VIA: &[&str] = &[
    "192.0.2.1/24",
    "192.0.2.01",
    "router",
    "0.0.0.0",
    "127.0.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "169.254.0.1",
    "192.0.2.10",
    "192.0.2.0",
    "192.0.2.255",
    "2001:db8::1",
    "fe80::1",
    "::1",
    "::ffff:192.0.2.1",
];

fn routes() -> Vec<Row> {
    vec![
        of_spec("an IPv4 next hop for IPv6", "spec.routes[0].via", |spec| {
            spec.routes = vec![route("2001:db8:1::/48", "192.0.2.1")];
        }),
        of_spec("the link's own IPv6 address as next hop", "spec.routes[1].via", |spec| {
            spec.routes = vec![route("198.51.100.0/24", ""), route("2001:db8:1::/48", "2001:db8::10")];
        }),
        of_spec("a destination twice", "spec.routes[1].destination", |spec| {
            spec.routes = vec![route("198.51.100.0/24", "192.0.2.1"), route("198.51.100.0/24", "192.0.2.2")];
        }),
        of_spec("a destination twice, written in two ways", "spec.routes[2].destination", |spec| {
            spec.routes = vec![
                route("2001:db8:1::/48", ""),
                route("198.51.100.0/24", ""),
                route("2001:0DB8:0001:0::/48", ""),
            ];
        }),
        of_spec("65 routes", "spec.routes", |spec| {
            spec.routes = (0..65).map(|net| route(&format!("10.0.{net}.0/24"), "")).collect();
        }),
    ]
}
