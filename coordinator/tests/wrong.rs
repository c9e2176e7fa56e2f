//! What a fleet file can have wrong, and what is said of it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "that is how a test fails")]

use pipewright_coordinator::{check, fleet};

/// What is said of a file.
fn said(text: &str) -> String {
    match fleet::parse(text, "fleet.yaml") {
        Err(error) => error.to_string(),
        Ok(file) => match check::check(&file) {
            Ok(_) => "nothing is wrong".to_owned(),
            Err(problems) => problems.to_string(),
        },
    }
}

/// A file that is right, up to where `rest` begins.
fn lab(rest: &str) -> String {
    format!(
        "fleet: lab
hosts:
  a: {{ endpoint: \"http://192.0.2.1:7443\" }}
  b: {{ endpoint: \"http://192.0.2.2:7443\" }}
switches:
  ovs0: {{ kind: ovs, hosts: [a, b], uplink: eth1 }}
  br0: {{ kind: linux, hosts: [a] }}
segments:
  red: {{ switch: ovs0, vlan: 100, subnet: 10.0.0.0/24, gateway: 10.0.0.254 }}
  blue: {{ switch: ovs0, vlan: 200, subnet: 10.0.0.0/24 }}
  flat: {{ switch: br0, subnet: 192.0.2.0/28 }}
attachments:
{rest}"
    )
}

/// Everything at once, in the order of the lines.
#[test]
fn all_that_is_wrong_is_said_at_once() {
    let text = "\
fleet: Lab
hosts:
  a: { endpoint: \"http://192.0.2.1:7443\" }
  b: { endpoint: \"http://192.0.2.1:7443\" }
switches:
  ovs0: { kind: ovs, hosts: [a, b, c], uplink: { a: eth1 } }
  br0: { kind: linux, hosts: [a, a], uplink: eth0, host_address: move }
  br1: { kind: linux, hosts: [], uplink: eth9 }
segments:
  red: { switch: ovs0, vlan: 100, subnet: 10.0.0.0/24 }
  blue: { switch: ovs0, vlan: 100, subnet: 10.0.0.0/24 }
  black: { switch: ovs0, subnet: 10.0.0.5/24 }
  green: { switch: ovs9, vlan: 4095, subnet: 10.0.0.0/24 }
  grey: { switch: br0, vlan: 5, subnet: 198.51.100.0/24, gateway: 198.51.101.1, range: 198.51.100.9-198.51.100.3 }
  white: { switch: br0, subnet: 203.0.113.0/24 }
attachments:
  - { host: d, guest: \"docker:con1\", segment: red, ip: 10.0.0.1/24 }
  - { host: a, guest: \"docker:con1\", segment: pink, ip: auto }
  - { host: a, guest: \"a b\", segment: red, ip: 10.0.0.1/24, mac: zz, mtu: 7 }
";

    let expected = "\
1:8: fleet: \"Lab\" is not a fleet's name: use 1 to 63 lower-case letters, digits and '-', beginning with a letter
4:18: hosts.b.endpoint: http://192.0.2.1:7443 is the endpoint of a already
6:36: switches.ovs0.hosts[2]: there is no host \"c\"; hosts: a, b
6:48: switches.ovs0.uplink: there is no uplink for b: add `b: LINK`, or take it out of `hosts`
7:34: switches.br0.hosts[1]: a is there twice; leave one out
7:66: switches.br0.host_address: move is not in this version: it would cut the host off without a confirmation; \
use an uplink that has no address, and leave this out
8:8: switches.br1.hosts: a switch is on at least one host: name it here
11:31: segments.blue.vlan: VLAN 100 on ovs0 is segment red already: use another
12:10: segments.black.vlan: an Open vSwitch port without a tag is a trunk of every VLAN: give one, 1 to 4094
12:34: segments.black.subnet: 10.0.0.5/24 has bits after its prefix: did you mean 10.0.0.0/24?
13:20: segments.green.switch: there is no switch \"ovs9\"; switches: br0, br1, ovs0
14:67: segments.grey.gateway: 198.51.101.1 is outside the subnet 198.51.100.0/24
14:88: segments.grey.range: it ends before it begins: write 198.51.100.3-198.51.100.9
15:10: segments.white.vlan: segment grey on br0 has a VLAN: the segments of a linux bridge all have one, or none
17:13: attachments[0].host: there is no host \"d\"; hosts: a, b
18:47: attachments[1].segment: there is no segment \"pink\"; segments: black, blue, green, grey, red, white
18:57: attachments[1].ip: auto is not in this version: give an address, such as 192.0.2.10/24
19:23: attachments[2].guest: \"a b\" is not a guest: a name is 1 to 128 letters, digits, '_', '.' and '-', and \
begins with a letter or digit
19:48: attachments[2].ip: 10.0.0.1 is taken in segment red (attachments[0]): use another
19:66: attachments[2].mac: \"zz\" is not a MAC address: write six pairs of hex digits, such as 02:00:5e:10:00:01
19:75: attachments[2].mtu: \"7\" is not an MTU: use 1280 to 9216 bytes";
    assert_eq!(said(text), expected);
}

#[test]
fn an_address_belongs_to_a_host_of_the_subnet() {
    let cases = [
        ("red, ip: 10.0.1.1/24", "10.0.1.1 is outside the subnet 10.0.0.0/24"),
        ("red, ip: 10.0.0.0/24", "10.0.0.0 is the number of the subnet 10.0.0.0/24: use one after it"),
        ("red, ip: 10.0.0.255/24", "10.0.0.255 is the broadcast address of 10.0.0.0/24: use one before it"),
        ("red, ip: 10.0.0.254/24", "10.0.0.254 is the segment's gateway: use another"),
        ("red, ip: 10.0.0.1/16", "10.0.0.1/16 has another prefix length than the subnet: write 10.0.0.1/24"),
        (
            "red, ip: 10.0.0.1",
            "\"10.0.0.1\" is not an interface address: add the length of its prefix, perhaps 10.0.0.1/24",
        ),
        ("red", "give an address, such as 10.0.0.1/24"),
        ("flat, ip: auto", "auto is not in this version: give an address, such as 192.0.2.1/28"),
    ];
    for (rest, message) in cases {
        let text = lab(&format!("  - {{ host: a, guest: con1, segment: {rest} }}\n"));

        let said = said(&text);

        let place = if rest == "red" { "13:5" } else { "13:47" };
        let place = if rest.starts_with("flat") { "13:48" } else { place };
        assert_eq!(said, format!("{place}: attachments[0].ip: {message}"), "{rest}");
    }
}

#[test]
fn what_an_agent_would_refuse_is_said_before_it_is_asked() {
    let cases = [
        (
            "ifname: pwlink",
            "ifname: pwlink begins with \"pw\", which marks names that the agent makes: use another",
        ),
        ("ifname: a/b", "ifname: \"a/b\" is not a link name: use letters, digits, '_', '.' and '-' only"),
        ("gateway: 10.0.0.1", "gateways[0]: 10.0.0.1 is the link's own address: give the router's"),
        ("gateway: x", "gateway: \"x\" is not an address: write it as 192.0.2.1 or 2001:db8::1"),
        (
            "routes: [\"10.0.0.0/24\"]",
            "routes[0].destination: 10.0.0.0/24 is the subnet of 10.0.0.1/24, whose route the kernel makes itself",
        ),
        (
            "routes: [\"198.51.100.1/24\"]",
            "routes[0]: \"198.51.100.1/24\" is not a route: its bits after the prefix must be zero, as in \
             198.51.100.0/24",
        ),
    ];
    for (field, message) in cases {
        let text = lab(&format!("- {{ host: a, guest: con1, segment: red, ip: 10.0.0.1/24, {field} }}\n"));

        let said = said(&text);

        let (place, said) = said.split_once(": ").unwrap();
        assert!(place.starts_with("13:"), "{place}");
        assert_eq!(said, format!("attachments[0].{message}"));
    }
}

#[test]
fn a_guest_has_one_link_of_a_name_and_a_segment_one_guest_of_an_address() {
    let text = lab("\
- { host: a, guest: con1, segment: red, ip: 10.0.0.1/24 }
- { host: a, guest: con1, segment: blue, ip: 10.0.0.1/24 }
- { host: b, guest: con1, segment: red, ip: 10.0.0.1/24, mac: \"U:one\" }
- { host: b, guest: con2, segment: red, ip: 10.0.0.2/24, mac: \"U:one\" }
");

    let expected = "\
14:21: attachments[1].ifname: con1 on a has a link eth1 already (attachments[0]): give another ifname
15:45: attachments[2].ip: 10.0.0.1 is taken in segment red (attachments[0]): use another
16:63: attachments[3].mac: 02:5b:bf:5a:52:32 is taken in segment red (attachments[2]): use another";
    assert_eq!(said(&text), expected);
}

#[test]
fn a_guest_is_on_a_host_that_has_the_segments_switch() {
    let text = lab("  - { host: b, guest: con1, segment: flat, ip: 192.0.2.1/28 }\n");

    let expected = "13:38: attachments[0].segment: segment flat is on switch br0, which b does not have (it is on a): \
                    add b to switches.br0.hosts";
    assert_eq!(said(&text), expected);
}

#[test]
fn an_uplink_is_in_one_switch() {
    let text = "\
fleet: lab
hosts: { a: { endpoint: \"unix:/run/a.sock\" } }
switches:
  br0: { kind: linux, hosts: [a], uplink: eth1 }
  br1: { kind: linux, hosts: [a], uplink: { a: eth1, b: eth2 } }
  br2: { kind: linux, hosts: [a], uplink: br1 }
";

    let expected = "\
5:43: switches.br1.uplink: eth1 on a is the uplink of br0 already; a link is in one switch
5:57: switches.br1.uplink.b: there is no host \"b\"; hosts: a
6:43: switches.br2.uplink: br1 is a switch of this fleet, not a link of a";
    assert_eq!(said(text), expected);
}

#[test]
fn guests_on_two_hosts_need_an_uplink_between_them() {
    let text = "\
fleet: lab
hosts: { a: { endpoint: \"unix:/run/a.sock\" }, b: { endpoint: \"unix:/run/b.sock\" } }
switches:
  ovs0: { kind: ovs, hosts: [a, b] }
segments:
  red: { switch: ovs0, vlan: 100, subnet: 10.0.0.0/24 }
attachments:
  - { host: a, guest: con1, segment: red, ip: 10.0.0.1/24 }
  - { host: b, guest: con2, segment: red, ip: 10.0.0.2/24 }
";

    let expected = "4:9: switches.ovs0.uplink: segment red has guests on a and b, and nothing joins them: give each \
                    host an uplink";
    assert_eq!(said(text), expected);
}

#[test]
fn segments_without_a_vlan_on_one_bridge_do_not_overlap() {
    let text = "\
fleet: lab
hosts: { a: { endpoint: \"unix:/run/a.sock\" } }
switches: { br0: { kind: linux, hosts: [a] } }
segments:
  one: { switch: br0, subnet: 10.0.0.0/24 }
  other: { switch: br0, subnet: 10.0.1.0/24 }
  wide: { switch: br0, subnet: 10.0.0.0/16 }
";

    let expected = "\
7:32: segments.wide.subnet: 10.0.0.0/16 overlaps 10.0.0.0/24 of segment one, and both are on br0 without a VLAN: use another
7:32: segments.wide.subnet: 10.0.0.0/16 overlaps 10.0.1.0/24 of segment other, and both are on br0 without a VLAN: use another";
    assert_eq!(said(text), expected);
}

#[test]
fn segments_of_different_vlans_can_have_the_same_subnet_and_the_same_addresses() {
    let text = lab("\
- { host: a, guest: con1, segment: red, ip: 10.0.0.1/24 }
- { host: a, guest: con2, segment: blue, ip: 10.0.0.1/24 }
");

    assert_eq!(said(&text), "nothing is wrong");
}

#[test]
fn what_has_not_the_shape_of_a_fleet_is_shown_with_its_line() {
    let cases = [
        (
            "fleet: lab\nhosts: { a: { endpoint: x, port: 1 } }\n",
            "fleet.yaml:2:28: unknown field `port`, expected one of endpoint\n  | hosts: { a: { endpoint: x, port: 1 } }\n  |                            ^",
        ),
        (
            "fleet: lab\nfleet: lab\nhosts: {}\n",
            "fleet.yaml:2:1: duplicate mapping key: fleet not allowed here\n  | fleet: lab\n  | ^",
        ),
        (
            "fleet: lab\nhosts: {}\nsegments: { red: { switch: s, vlan: ten, subnet: s } }\n",
            "fleet.yaml:3:37: this is not a whole number\n  | segments: { red: { switch: s, vlan: ten, subnet: s } }\n  |                                     ^",
        ),
        (
            "fleet: lab\nhosts: []\n",
            "fleet.yaml:2:8: this is not a map of names to values: write `name: value`\n  | hosts: []\n  |        ^",
        ),
        ("", "fleet.yaml:1:1: unexpected end of file\n  | \n  | ^"),
    ];
    for (text, expected) in cases {
        assert_eq!(said(text), expected);
    }
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let route = "198.51.100.0/24";
    let routes = vec![route; 1000].join(", ");
    let mut text = lab(&format!(
        "  - &big {{ host: a, guest: con1, segment: red, ip: 10.0.0.1/24, routes: [{routes}] }}\n"
    ));
    assert!(fleet::parse(&text, "fleet.yaml").is_ok());
    text.push_str(&"  - *big\n".repeat(500));

    let said = said(&text);

    assert!(said.contains("total_replayed_events"), "{said}");
}
