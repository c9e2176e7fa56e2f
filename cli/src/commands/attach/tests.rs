//! What is asked for on the command line, and what is shown of the answer.

use clap::Parser;
use pipewright_api::wire;

use super::lines;
use crate::args::{Cli, Command};
use crate::explain::Failed;

#[test]
fn an_attachment_is_shown_and_a_dry_run_shows_its_steps() {
    let attachment = wire::Attachment {
        id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
        plan: vec!["ip link add br0 type bridge".to_owned(), "guest: ip link set eth1 up".to_owned()],
        ..wire::Attachment::default()
    };
    let made = wire::AttachResponse { attachment: Some(attachment), created: true };
    let there = wire::AttachResponse { created: false, ..made.clone() };

    assert!(lines(&made, false).lines().nth(1).is_some_and(|row| row.starts_with("0198c0de  ")));
    assert!(lines(&there, false).ends_with("\n\nit was there already; nothing was changed"));
    assert_eq!(
        lines(&made, true),
        "nothing was changed; what would be done:\n  ip link add br0 type bridge\n  guest: ip link set eth1 up"
    );
}

/// The spec that a command line asks for as JSON, or what is said of it. Nothing connects here.
fn asked(arguments: &str) -> Result<serde_json::Value, String> {
    let line = ["pwctl", "attach"].into_iter().chain(arguments.split_whitespace());
    let cli = Cli::try_parse_from(line).map_err(|error| {
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })?;
    let Command::Attach(attach) = cli.command else { panic!("{arguments}") };
    match attach.spec() {
        Ok(spec) => Ok(serde_json::to_value(spec).unwrap()),
        Err(Failed::Usage(text)) => Err(text),
        Err(other) => panic!("{other:?}"),
    }
}

fn br0(changes: &serde_json::Value) -> serde_json::Value {
    let mut spec = serde_json::json!({
        "guest": "web", "ifname": "eth1", "uplink": "br0", "kind": null, "mode": null, "host_ifname": null,
        "mac": null, "mtu": null, "vlan": null, "addressing": { "static": ["192.0.2.10/24"] }, "gateways": [], "routes": [], "slaac": false, "dhcp6": null,
        "duplicate_check": "off",
        "host_reach": false,
    });
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

#[test]
fn arguments_become_a_spec() {
    let cases = [
        ("br0 web --ip 192.0.2.10/24", serde_json::json!({})),
        (
            "br0 web --dhcp",
            serde_json::json!({ "addressing": { "dhcp": { "hostname": null, "client_id": null } } }),
        ),
        (
            "br0 web --dhcp --hostname web --client-id 01:02",
            serde_json::json!({ "addressing": { "dhcp": { "hostname": "web", "client_id": "01:02" } } }),
        ),
        ("br0 web --ip 192.0.2.10/24 --check-duplicates", serde_json::json!({ "duplicate_check": "full" })),
        (
            "br0 web --ip 192.0.2.10/24 --check-duplicates=quick",
            serde_json::json!({ "duplicate_check": "quick" }),
        ),
        ("br0 web --slaac", serde_json::json!({ "addressing": "none", "slaac": true })),
        (
            "br0 web --dhcp --dhcp6 --hostname db",
            serde_json::json!({
                "addressing": { "dhcp": { "hostname": "db", "client_id": null } }, "dhcp6": { "hostname": "db" },
            }),
        ),
        ("br0 docker:web --no-ip", serde_json::json!({ "guest": "docker:web", "addressing": "none" })),
        (
            "br0 web --ip 192.0.2.10/24 --ip 2001:db8::10/64 --gateway 192.0.2.1 --gateway 2001:db8::1",
            serde_json::json!({
                "addressing": { "static": ["192.0.2.10/24", "2001:db8::10/64"] },
                "gateways": ["192.0.2.1", "2001:db8::1"],
            }),
        ),
        (
            "ovs0 web --ip 192.0.2.10/24 --vlan 100 --kind ovs --mtu 1400 --mac U:myhost.foo.com",
            serde_json::json!({
                "uplink": "ovs0", "vlan": { "access": 100 }, "kind": "ovs", "mtu": 1400,
                "mac": "02:72:6c:cd:9b:8d",
            }),
        ),
        ("br0 web --ip 192.0.2.10/24 --trunk 20,10", serde_json::json!({ "vlan": { "trunk": [10, 20] } })),
        ("br0 web --ip 192.0.2.10/24 --trunk all --kind auto", serde_json::json!({ "vlan": "every" })),
        (
            "br0 web --ip 192.0.2.10/24 --route 198.51.100.0/24 --route 203.0.113.0/24@192.0.2.1",
            serde_json::json!({ "routes": [
                { "destination": "198.51.100.0/24", "via": null },
                { "destination": "203.0.113.0/24", "via": "192.0.2.1" },
            ] }),
        ),
        (
            "eth0 web --ip 192.0.2.10/24 --mode private --vlan 5",
            serde_json::json!({ "uplink": "eth0", "mode": "private", "vlan": { "access": 5 } }),
        ),
        (
            "mac:02:00:5E:00:53:01 web --ip 192.0.2.10/24 --kind ipvlan",
            serde_json::json!({ "uplink": "mac:02:00:5e:00:53:01", "kind": "ipvlan" }),
        ),
        ("br0 web --ip 192.0.2.10/24 --once", serde_json::json!({ "follow": "once" })),
        ("br0 web --ip 192.0.2.10/24 --follow", serde_json::json!({ "follow": "restarts" })),
        ("dummy web --ip 192.0.2.10/24", serde_json::json!({ "uplink": "dummy" })),
        (
            "ib0 web --ip 192.0.2.10/24 --pkey 32769",
            serde_json::json!({ "uplink": "ib0", "ifname": "ib0", "pkey": "0x8001" }),
        ),
        (
            "ib0 web --ip 192.0.2.10/24 --kind ipoib --mode connected --ifname eth1",
            serde_json::json!({ "uplink": "ib0", "kind": "ipoib", "mode": "connected" }),
        ),
        (
            "br0 web --ip 192.0.2.10/24 --ifname net0 --host-ifname web0 --dry-run --timeout 5s -o json",
            serde_json::json!({ "ifname": "net0", "host_ifname": "web0" }),
        ),
    ];
    for (arguments, changes) in cases {
        assert_eq!(asked(arguments), Ok(br0(&changes)), "{arguments}");
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_connects() {
    let ip = "--ip 192.0.2.10/24";
    let cases = [
        (
            "br0 web".to_owned(),
            "give an address with --ip CIDR, have one given with --dhcp, --slaac or --dhcp6, or --no-ip for a link without one",
        ),
        (format!("br0 web {ip} --no-ip"), "the argument '--ip <CIDR>' cannot be used with '--no-ip'"),
        (
            "br0 web --ip 192.0.2.10".to_owned(),
            "invalid value '192.0.2.10' for '--ip <CIDR>': not an interface address: add the length of its prefix, \
             perhaps 192.0.2.10/24",
        ),
        (
            format!("mac:eth0 web {ip}"),
            "invalid value 'mac:eth0' for '<UPLINK>': \"eth0\" is not a MAC address: write six pairs of hex digits, \
             such as 02:00:5e:10:00:01",
        ),
        (format!("dummy web {ip} --kind ovs"), "--kind: ovs does not fit the uplink dummy: leave it out"),
        (
            format!("eth0 web {ip} --kind ipvlan --mode vepa"),
            "--mode: vepa is no mode of ipvlan: use l2, l3 or l3s",
        ),
        (
            format!("eth0 web {ip} --kind macvlan --trunk 10,20"),
            "--trunk: macvlan is on one VLAN at most: give it with --vlan, or leave it out for all",
        ),
        (
            format!("ib0 web {ip} --kind ipoib --mac U:web"),
            "--mac: a link of InfiniBand has a hardware address of 20 bytes, which the fabric gives: leave it out",
        ),
        (
            format!("ib0 web {ip} --kind ipoib --vlan 100"),
            "--vlan: InfiniBand has partitions instead of VLANs: give one with --pkey, or leave it out",
        ),
        (
            format!("br0 web {ip} --kind linux-bridge --pkey 0x8001"),
            "--pkey: only InfiniBand has partitions, not linux-bridge: leave it out",
        ),
        (
            format!("ib0 web {ip} --pkey 0x8000"),
            "invalid value '0x8000' for '--pkey <KEY>': not a partition key: use 0x0001 to 0x7fff; with the bit 0x8000, \
             which is set in any case, 0x8001 to 0xffff",
        ),
        (
            format!("ib0 web {ip} --mode connected"),
            "--mode: connected is a mode of ipoib: ask for that kind, too",
        ),
        (
            format!("eth0 web {ip} --kind geneve"),
            "invalid value 'geneve' for '--kind <KIND>': use auto, linux-bridge, ovs, macvlan, ipvlan, vlan, dummy, ptp, \
             direct or ipoib",
        ),
        (
            format!("ovs0 web {ip} --vlan 4095"),
            "invalid value '4095' for '--vlan <VID>': not a VLAN: use 1 to 4094",
        ),
        (
            format!("ovs0 web {ip} --vlan 1 --trunk 2"),
            "the argument '--vlan <VID>' cannot be used with '--trunk <VID,…|all>'",
        ),
        (
            format!("br0 web {ip} --mtu 100"),
            "invalid value '100' for '--mtu <BYTES>': not an MTU: use 1280 to 9216 bytes",
        ),
        (
            format!("br0 web {ip} --mac 01:00:5e:00:00:01"),
            "invalid value '01:00:5e:00:00:01' for '--mac <MAC|U:SEED>': not a unicast MAC address: the first byte \
             must be even, or frames from it are multicast",
        ),
        (
            format!("br0 web {ip} --gateway 192.0.2.10"),
            "--gateway: 192.0.2.10 is the link's own address: give the router's",
        ),
        (
            format!("br0 web {ip} --gateway 192.0.2.1/24"),
            "invalid value '192.0.2.1/24' for '--gateway <IP>': write it as 192.0.2.1 or 2001:db8::1, without a \
             prefix length",
        ),
        (
            format!("br0 garden:web {ip}"),
            "invalid value 'garden:web' for '<GUEST>': not a guest: use docker:NAME, podman:NAME, lxc:NAME, containerd:ID, crio:ID, machined:NAME, pid:N, netns:NAME or a bare name",
        ),
        (
            format!("br0 web {ip} --host a --endpoint unix:/run/x.sock"),
            "the argument '--host <NAME>' cannot be used with '--endpoint <ENDPOINT>'",
        ),
        (
            format!("br0 web {ip} --timeout 0s"),
            "invalid value '0s' for '--timeout <DURATION>': use more than zero and at most 24h",
        ),
        (
            format!("br0 pid:4242 {ip} --follow"),
            "--follow: pid:4242 is no guest of Docker or Podman, which alone are followed: leave it out",
        ),
        (format!("br0 web {ip} --follow --once"), "the argument '--follow' cannot be used with '--once'"),
        (format!("br0 web {ip} --dhcp"), "the argument '--ip <CIDR>' cannot be used with '--dhcp'"),
        (
            "br0 web --dhcp --hostname web-".to_owned(),
            "invalid value 'web-' for '--hostname <NAME>': not a host name: use letters, digits and '-', up to \
             63 between dots, with no '-' at either end",
        ),
    ];
    for (arguments, said) in cases {
        assert_eq!(asked(&arguments), Err(said.to_owned()), "{arguments}");
    }
}
