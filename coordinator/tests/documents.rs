//! What a fleet file makes of each host.

#![allow(clippy::panic, clippy::unwrap_used, reason = "that is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};

use pipewright_api::spec::{HostSpec, SwitchKind, Vlan};
use pipewright_coordinator::name::Name;
use pipewright_coordinator::{check, desired, fleet};
use proptest::prelude::*;
use proptest::sample::subsequence;

fn documents(text: &str) -> BTreeMap<Name, HostSpec> {
    let file = fleet::parse(text, "fleet.yaml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    let fleet = check::check(&file).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    desired::desired(&fleet)
}

const LAB: &str = "
fleet: lab
hosts:
  a: { endpoint: \"http://192.0.2.1:7443\" }
  b: { endpoint: \"http://192.0.2.2:7443\" }
  c: { endpoint: \"http://192.0.2.3:7443\" }
switches:
  ovs0: { kind: ovs, hosts: [a, b], uplink: { a: eth1, b: ens3 } }
  ovs1: { kind: ovs, hosts: [a], uplink: eth2 }
  br0: { kind: linux, hosts: [a], uplink: eth3 }
segments:
  red: { switch: ovs0, vlan: 100, subnet: 10.0.0.0/24, gateway: 10.0.0.254 }
  blue: { switch: ovs0, vlan: 200, subnet: 10.0.0.0/24 }
  unused: { switch: ovs0, vlan: 300, subnet: 10.0.0.0/24 }
  idle: { switch: ovs1, vlan: 400, subnet: 10.0.0.0/24 }
  flat: { switch: br0, subnet: 192.0.2.0/24 }
attachments:
  - { host: b, guest: con3, segment: red, ip: 10.0.0.3/24, gateway: none }
  - { host: a, guest: con2, segment: blue, ip: 10.0.0.2/24, ifname: eth7, mtu: 1400, mac: \"02:00:5e:00:53:01\" }
  - { host: a, guest: con1, segment: red, ip: 10.0.0.1/24, routes: [\"198.51.100.0/24@10.0.0.9\"] }
  - { host: a, guest: con1, segment: flat, ip: 192.0.2.1/24, ifname: eth2, gateway: 192.0.2.254 }
";

#[test]
fn a_host_gets_its_own_switches_and_guests() {
    let documents = documents(LAB);

    let json = |host: &str| {
        let document = documents.iter().find(|(name, _)| name.as_str() == host).map(|(_, document)| document);
        serde_json::to_value(document).unwrap()
    };
    let attachment = |guest: &str, ifname: &str, uplink: &str, ip: &str| {
        serde_json::json!({
            "guest": guest, "ifname": ifname, "uplink": uplink, "kind": "ovs", "mode": null, "host_ifname": null, "mac": null,
            "mtu": null, "vlan": { "access": 100 }, "addressing": { "static": [ip] }, "gateways": [], "routes": [],
            "duplicate_check": "off", "slaac": false, "dhcp6": null, "host_reach": false,
        })
    };
    let mut con1 = attachment("con1", "eth1", "ovs0", "10.0.0.1/24");
    con1["gateways"] = serde_json::json!(["10.0.0.254"]);
    con1["routes"] = serde_json::json!([{ "destination": "198.51.100.0/24", "via": "10.0.0.9" }]);
    let mut flat = attachment("con1", "eth2", "br0", "192.0.2.1/24");
    flat["kind"] = "linux-bridge".into();
    flat["vlan"] = serde_json::Value::Null;
    flat["gateways"] = serde_json::json!(["192.0.2.254"]);
    let mut con2 = attachment("con2", "eth7", "ovs0", "10.0.0.2/24");
    con2["vlan"] = serde_json::json!({ "access": 200 });
    con2["mtu"] = 1400.into();
    con2["mac"] = "02:00:5e:00:53:01".into();
    assert_eq!(
        json("a"),
        serde_json::json!({
            "fleet": "lab",
            "switches": [
                { "name": "br0", "kind": "linux-bridge", "uplink": { "link": "eth3", "trunk": [] } },
                { "name": "ovs0", "kind": "ovs", "uplink": { "link": "eth1", "trunk": [100, 200] } },
                { "name": "ovs1", "kind": "ovs", "uplink": { "link": "eth2", "trunk": [] } },
            ],
            "attachments": [con1, flat, con2],
        })
    );
    assert_eq!(
        json("b"),
        serde_json::json!({
            "fleet": "lab",
            "switches": [
                { "name": "ovs0", "kind": "ovs", "uplink": { "link": "ens3", "trunk": [100, 200] } },
            ],
            "attachments": [attachment("con3", "eth1", "ovs0", "10.0.0.3/24")],
        })
    );
    assert_eq!(json("c"), serde_json::json!({ "fleet": "lab", "switches": [], "attachments": [] }));
}

#[test]
fn taking_a_fleet_down_needs_its_name_and_hosts_only() {
    let text = "
fleet: lab
hosts: { a: { endpoint: \"unix:/run/a.sock\" } }
segments: { red: { switch: gone, vlan: 9999, subnet: nonsense } }
attachments: [{ host: gone, guest: con1, segment: red }]
";
    let file = fleet::parse(text, "fleet.yaml").unwrap();
    assert!(check::check(&file).is_err());

    let members = check::members(&file).unwrap();

    let nothing: Vec<HostSpec> = desired::nothing(&members).into_values().collect();
    let fleet = "lab".parse().unwrap();
    assert_eq!(nothing, [HostSpec { fleet, switches: Vec::new(), attachments: Vec::new() }]);
}

/// One attachment of a generated fleet: host, guest and segment by number; its address follows from its own number.
type Link = (usize, usize, usize);

const VLANS: [u16; 5] = [10, 20, 30, 40, 50];

fn file(hosts: usize, segments: &[u16], links: &[(usize, Link)]) -> String {
    let mut text = "fleet: lab\nhosts:\n".to_owned();
    for host in 0..hosts {
        text.push_str(&format!("  h{host}: {{ endpoint: \"unix:/run/h{host}.sock\" }}\n"));
    }
    let names = (0..hosts).map(|host| format!("h{host}")).collect::<Vec<_>>().join(", ");
    text.push_str(&format!(
        "switches: {{ ovs0: {{ kind: ovs, hosts: [{names}], uplink: eth1 }} }}\nsegments:\n"
    ));
    for vlan in segments {
        text.push_str(&format!("  s{vlan}: {{ switch: ovs0, vlan: {vlan}, subnet: 10.0.0.0/16 }}\n"));
    }
    text.push_str("attachments:\n");
    for (number, (host, guest, segment)) in links {
        let (host, vlan) = (host % hosts, segments[segment % segments.len()]);
        text.push_str(&format!(
            "  - {{ host: h{host}, guest: g{guest}, segment: s{vlan}, ip: 10.0.1.{}/16, ifname: e{number} }}\n",
            number + 1
        ));
    }
    text
}

prop_compose! {
    fn fleets()(
        hosts in 1..5usize,
        segments in subsequence(VLANS.to_vec(), 1..=VLANS.len()),
        links in prop::collection::vec((0..5usize, 0..6usize, 0..5usize), 0..40),
    )(
        shuffled in Just(links.iter().copied().enumerate().collect::<Vec<_>>()).prop_shuffle(),
        hosts in Just(hosts),
        segments in Just(segments),
        links in Just(links),
    ) -> (usize, Vec<u16>, Vec<(usize, Link)>, Vec<(usize, Link)>) {
        (hosts, segments, links.into_iter().enumerate().collect(), shuffled)
    }
}

proptest! {
    #[test]
    fn the_order_of_the_file_does_not_matter((hosts, segments, links, shuffled) in fleets()) {
        let reversed: Vec<u16> = segments.iter().rev().copied().collect();

        // The n-th link is on the segment of the same VLAN in both files.
        let mirrored: Vec<(usize, Link)> = shuffled
            .iter()
            .map(|&(number, (host, guest, segment))| {
                (number, (host, guest, segments.len() - 1 - segment % segments.len()))
            })
            .collect();

        prop_assert_eq!(documents(&file(hosts, &segments, &links)), documents(&file(hosts, &reversed, &mirrored)));
    }

    #[test]
    fn an_uplink_carries_the_vlans_in_use_and_no_other((hosts, segments, links, _) in fleets()) {
        let documents = documents(&file(hosts, &segments, &links));

        let tagged = documents.values().flat_map(|document| &document.attachments).map(|spec| match &spec.vlan {
            Some(Vlan::Access(vlan)) => *vlan,
            other => panic!("{other:?}"),
        });
        let in_use: BTreeSet<_> = tagged.collect();
        let asked: BTreeSet<u16> =
            links.iter().map(|(_, (_, _, segment))| segments[segment % segments.len()]).collect();
        prop_assert_eq!(in_use.iter().map(|vlan| vlan.get()).collect::<BTreeSet<_>>(), asked);
        for document in documents.values() {
            prop_assert_eq!(document.switches.len(), 1);
            prop_assert_eq!(document.switches[0].kind, SwitchKind::Ovs);
            prop_assert_eq!(&document.switches[0].uplink.as_ref().unwrap().trunk, &in_use);
        }
    }

    #[test]
    fn no_link_is_lost_and_none_is_made_up((hosts, segments, links, _) in fleets()) {
        let documents = documents(&file(hosts, &segments, &links));

        prop_assert_eq!(documents.len(), hosts);
        prop_assert_eq!(documents.values().map(|document| document.attachments.len()).sum::<usize>(), links.len());
        for document in documents.values() {
            prop_assert!(document.check().is_ok());
        }
    }

    #[test]
    fn any_text_anywhere_is_taken_or_refused(text in "\\PC*", line in 0..TEMPLATES.len()) {
        let quoted = serde_json::to_string(&text).unwrap();
        for value in [&text, &quoted] {
            // A panic would fail this test.
            let _ = fleet::parse(&TEMPLATES[line].replace('@', value), "fleet.yaml").map(|file| check::check(&file));
        }
    }
}

/// A value that can be anything, in files that are right otherwise.
const TEMPLATES: [&str; 5] = [
    "@",
    "fleet: @\nhosts: { a: { endpoint: \"unix:/run/a.sock\" } }",
    "fleet: lab\nhosts: { a: { endpoint: @ } }",
    "fleet: lab\nhosts: { a: { endpoint: \"unix:/run/a.sock\" } }\nswitches: { s: { kind: ovs, hosts: [a], uplink: @ } }
segments: { g: { switch: s, vlan: 1, subnet: @, range: @, gateway: @ } }",
    "fleet: lab\nhosts: { a: { endpoint: \"unix:/run/a.sock\" } }\nswitches: { s: { kind: ovs, hosts: [a] } }
segments: { g: { switch: s, vlan: 1, subnet: 10.0.0.0/24 } }
attachments: [{ host: a, guest: @, segment: g, ip: @, mac: @, gateway: @, routes: [@], ifname: @ }]",
];
