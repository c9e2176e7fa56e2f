//! Lines of pipework's, and what they ask for. Each refusal of the script has its better message here.

use super::form::{Addressing, Attach, Dhcp, Form, HostInterface, Refused};
use super::parse::{could_be_link, parse};
use super::usage::USAGE;
use pipewright_api::tool::Tool;

/// Words of a line; `''` is an empty one.
fn words(line: &str) -> Vec<String> {
    line.split(' ').map(|word| if word == "''" { "" } else { word }.to_owned()).collect()
}

fn form(line: &str) -> Form {
    parse(&words(line), false).unwrap_or_else(|why| panic!("{line}: {why:?}"))
}

fn attach(line: &str) -> Attach {
    match form(line) {
        Form::Attach(attach) => *attach,
        other => panic!("{line}: {other:?}"),
    }
}

fn because(line: &str) -> String {
    match parse(&words(line), false) {
        Err(Refused::Because(why)) => why,
        other => panic!("{line}: {other:?}"),
    }
}

/// A form as one line: host guest ifname host_ifname addressing mac tag.
fn shown(line: &str) -> String {
    let Attach { host, direct, ifname, host_ifname, guest, addressing, mac, tag, unused } = attach(line);
    let host = match host {
        HostInterface::Named(name) => name.to_string(),
        HostInterface::Mac(mac) => format!("mac:{mac}"),
        HostInterface::Dummy => "DUMMY".to_owned(),
    };
    let addressing = match addressing {
        Addressing::Static(address, None) => address.to_string(),
        Addressing::Static(address, Some(gateway)) => format!("{address}@{gateway}"),
        Addressing::None(None) => "none".to_owned(),
        Addressing::None(Some(gateway)) => format!("none@{gateway}"),
        Addressing::Dhcp(Dhcp { client, options }) => format!("{client:?}{options:?}"),
    };
    let mut text = format!("{host} {guest} {addressing}");
    let parts = [
        ("i", ifname.map(|name| name.to_string())),
        ("l", host_ifname.map(|name| name.to_string())),
        ("mac", mac.map(|mac| mac.to_string())),
        ("tag", tag),
        ("direct", direct.then(String::new)),
        ("unused", (!unused.is_empty()).then(|| unused.join("+"))),
    ];
    for (name, part) in parts {
        if let Some(part) = part {
            text.push_str(&format!(" {name}={part}"));
        }
    }
    text
}

#[test]
fn every_form_of_a_link_is_read() {
    let cases = [
        // F1
        ("br1 web 192.0.2.1/24", "br1 web 192.0.2.1/24"),
        ("br1 web 192.0.2.25/20@192.0.2.2", "br1 web 192.0.2.25/20@192.0.2.2"),
        ("br1 -i eth2 web 192.0.2.1/24", "br1 web 192.0.2.1/24 i=eth2"),
        ("br1 -i eth2 -l hostapp1 web 192.0.2.1/24", "br1 web 192.0.2.1/24 i=eth2 l=hostapp1"),
        ("br1 -l hostapp1 web 192.0.2.1/24", "br1 web 192.0.2.1/24 l=hostapp1"),
        ("br1 -i eth2 -l h1 -a 6 web 2001:db8::1/64", "br1 web 2001:db8::1/64 i=eth2 l=h1"),
        ("br1 -a 6 web 2001:db8::1/64@2001:db8::fe", "br1 web 2001:db8::1/64@2001:db8::fe"),
        ("br1 -a inet6 web 2001:db8::1/64", "br1 web 2001:db8::1/64"),
        ("br1 web 192.0.2.1/24 26:2e:71:98:60:8f", "br1 web 192.0.2.1/24 mac=26:2e:71:98:60:8f"),
        ("br1 web 192.0.2.1/24 26:2e:71:98:60:8f@10", "br1 web 192.0.2.1/24 mac=26:2e:71:98:60:8f tag=10"),
        ("ovs0 web 192.0.2.1/24 @100", "ovs0 web 192.0.2.1/24 tag=100"),
        ("ovs0 web 192.0.2.1/24 @", "ovs0 web 192.0.2.1/24"),
        ("ovs0 web 192.0.2.1/24 ''", "ovs0 web 192.0.2.1/24"),
        ("ib0 web 192.0.2.1/24 @8001", "ib0 web 192.0.2.1/24 tag=8001"),
        ("br1 web 192.0.2.1/24 U:myhost.foo.com", "br1 web 192.0.2.1/24 mac=02:72:6c:cd:9b:8d"),
        ("br1 web 192.0.2.1/24 U:@5", "br1 web 192.0.2.1/24 mac=02:68:b3:29:da:98 tag=5"),
        ("br1 web 192.0.2.1/255.255.255.0", "br1 web 192.0.2.1/24"),
        // IPv6 without -a, which the script cannot.
        ("br1 web 2001:db8::1/64", "br1 web 2001:db8::1/64"),
        // F2 and F3
        ("eth1 web dhcp", "eth1 web Udhcpc[]"),
        ("eth1 web dhcp:-f", "eth1 web Udhcpc[\"-f\"]"),
        ("eth1 web udhcpc:-x:a", "eth1 web Udhcpc[\"-x:a\"]"),
        ("eth1 web udhcpc-f", "eth1 web Udhcpc[]"),
        ("eth1 web dhclient", "eth1 web Dhclient[]"),
        ("eth1 web dhclient-f", "eth1 web Dhclient[]"),
        ("eth1 web dhcpcd @7", "eth1 web Dhcpcd[] tag=7"),
        // F4
        ("mac:00:1B:21:0a:0b:0c web 192.0.2.1/24", "mac:00:1b:21:0a:0b:0c web 192.0.2.1/24"),
        // F5
        ("--direct-phys eth1 web 192.0.2.1/24", "eth1 web 192.0.2.1/24 direct="),
        ("--direct-phys mac:00:1b:21:0a:0b:0c web dhcp", "mac:00:1b:21:0a:0b:0c web Udhcpc[] direct="),
        // F6
        ("dummy web 192.0.2.1/24", "DUMMY web 192.0.2.1/24"),
        ("dummyXYZ -i d0 web 0/0", "DUMMY web none i=d0"),
        // F9
        ("br1 web 0/0", "br1 web none"),
        ("br1 web 0/0@192.0.2.1", "br1 web none@192.0.2.1"),
        ("br1 -a 6 web 0/0", "br1 web none"),
        ("br1 -a 6 web ::/0@2001:db8::1", "br1 web none@2001:db8::1"),
        // Guests by the names that pwctl has for them.
        ("br1 pid:4711 192.0.2.1/24", "br1 pid:4711 192.0.2.1/24"),
    ];
    for (line, expected) in cases {
        assert_eq!(shown(line), expected, "{line}");
    }
}

#[test]
fn options_may_stand_anywhere() {
    let expected = "br1 web 192.0.2.1/24@192.0.2.2 i=eth2 l=h1 mac=02:00:5e:10:00:01 tag=7";
    for line in [
        "br1 -i eth2 -l h1 -a 4 web 192.0.2.1/24@192.0.2.2 02:00:5e:10:00:01@7",
        "br1 -a 4 -l h1 -i eth2 web 192.0.2.1/24@192.0.2.2 02:00:5e:10:00:01@7",
        "-l h1 -i eth2 br1 web 192.0.2.1/24@192.0.2.2 02:00:5e:10:00:01@7",
        "br1 web -i eth2 192.0.2.1/24@192.0.2.2 -l h1 02:00:5e:10:00:01@7",
        "br1 web 192.0.2.1/24@192.0.2.2 02:00:5e:10:00:01@7 -i eth2 -l h1",
    ] {
        assert_eq!(shown(line), expected, "{line}");
    }
    for line in
        ["eth1 --direct-phys web dhcp", "-i eth9 --direct-phys eth1 web dhcp", "eth1 web dhcp --direct-phys"]
    {
        assert!(attach(line).direct, "{line}");
    }
}

#[test]
fn what_pipework_drops_is_dropped_and_said() {
    for (line, expected) in [
        ("br1 web 192.0.2.1/24 @10@20", "br1 web 192.0.2.1/24 tag=10 unused=@20"),
        ("br1 web 192.0.2.1/24 '' more", "br1 web 192.0.2.1/24 unused=more"),
        (
            "br1 web 192.0.2.1/24 02:00:5e:10:00:01 @10",
            "br1 web 192.0.2.1/24 mac=02:00:5e:10:00:01 unused=@10",
        ),
    ] {
        assert_eq!(shown(line), expected, "{line}");
    }
}

#[test]
fn too_few_operands_are_answered_with_the_nine_lines() {
    for line in [
        "",
        "br1",
        "br1 web",
        "br1 web ''",
        "-i eth2",
        "br1 -i eth2 web",
        "route web",
        "rule web",
        "tc web",
        "route",
        "--direct-phys eth1 web",
        "'' web 192.0.2.1/24",
        "route '' show",
    ] {
        assert_eq!(parse(&words(line), false), Err(Refused::Syntax), "{line}");
    }
    assert_eq!(parse(&[], false), Err(Refused::Syntax));
    assert_eq!(USAGE.lines().count(), 9);
    assert!(USAGE.lines().skip(1).all(|line| line.starts_with("pipework ")));
}

#[test]
fn tools_take_every_word_after_the_guest() {
    for (line, tool, rest) in [
        ("route web show", Tool::Route, "show"),
        ("routeXYZ con show", Tool::Route, "show"),
        ("rule web add from 192.0.2.1/32 table 7", Tool::Rule, "add from 192.0.2.1/32 table 7"),
        ("tc web qdisc add dev eth1 root netem loss 30%", Tool::Tc, "qdisc add dev eth1 root netem loss 30%"),
        ("tc web -s qdisc show", Tool::Tc, "-s qdisc show"),
    ] {
        let Form::Tool { line: found, .. } = form(line) else { panic!("{line}") };

        assert_eq!((found.tool(), found.words().join(" ").as_str()), (tool, rest), "{line}");
    }
    assert!(because("route web -batch file").contains("-batch: this option is not passed on"));
    assert!(because("route -i eth2 web show").contains("-i: route, rule and tc take no options"));
}

#[test]
fn a_keyword_that_only_begins_a_links_name_is_that_link() {
    for (line, name) in [
        ("dummy0 web 192.0.2.1/24", Some("dummy0")),
        ("-i eth2 tc1 web 192.0.2.1/24", Some("tc1")),
        ("routeXYZ web show", Some("routeXYZ")),
        ("dummy web 192.0.2.1/24", None),
        ("route web show", None),
        ("br1 dummy0 192.0.2.1/24", None),
    ] {
        assert_eq!(could_be_link(&words(line)), name, "{line}");
    }
    let Ok(Form::Attach(attach)) = parse(&words("dummy0 web 192.0.2.1/24"), true) else { panic!("no link") };
    assert_eq!(attach.host, HostInterface::Named("dummy0".parse().unwrap()));
}

#[test]
fn wait_names_the_link() {
    for (line, ifname) in
        [("--wait", "eth1"), ("--wait -i eth0", "eth0"), ("-i ib0 --wait", "ib0"), ("--wait -i ib0", "ib0")]
    {
        assert_eq!(form(line), Form::Wait { ifname: ifname.parse().unwrap() }, "{line}");
    }
    assert!(because("--wait eth0").contains("write `pipework --wait -i eth0`"));
    assert!(because("--wait -i").contains("-i: its value is missing"));
}

#[test]
fn what_cannot_be_is_refused_and_says_what_to_write() {
    let cases = [
        // pipework: `Maybe you meant 192.0.2.1@192.0.2.2/24 ?`
        ("br1 web 192.0.2.1@192.0.2.2", "Maybe you meant 192.0.2.1/24@192.0.2.2 ?"),
        ("br1 web 192.0.2.1", "The IP address should include a netmask.\nMaybe you meant 192.0.2.1/24 ?"),
        ("br1 web 2001:db8::1", "Maybe you meant 2001:db8::1/64 ?"),
        // pipework: `Maybe you meant dhcpcd-f/24 ?`
        ("br1 web dhcpcd-f", "dhcpcd-f: pipework has no such form; write dhcpcd"),
        ("br1 web dhpc", "nor a DHCP client: dhcp, udhcpc"),
        // pipework leaves the link and the switch's port behind these.
        ("br1 web 192.0.2.300/24", "\"192.0.2.300/24\" is not an interface address"),
        ("br1 web 192.0.2.1/33", "is not an interface address"),
        ("br1 web 192.0.2.0/24", "it is the subnet's own number"),
        ("br1 web 192.0.2.1/24 zz", "\"zz\" is not a MAC address: write six pairs"),
        ("br1 web 192.0.2.1/24 01:00:5e:00:00:01", "the first byte must be even"),
        ("br1 web 192.0.2.1/24@", "gateway \"\" is not an address"),
        ("br1 web 192.0.2.1/24@gw", "gateway \"gw\" is not an address"),
        ("br1 web 192.0.2.1/24@192.0.2.2/24", "without a netmask"),
        ("br1 web 192.0.2.1/24@192.0.2.2@192.0.2.3", "is not an address"),
        ("br1 web 192.0.2.1/24@2001:db8::1", "they must be of the same"),
        // pipework hands these to ip, which ends with 255 or with 1.
        ("br1 -a inet7 web 192.0.2.1/24", "-a inet7: use 4 or 6"),
        ("br1 -a 6 web 192.0.2.1/24", "-a 6: 192.0.2.1 is IPv4; leave -a out, or write -a 4"),
        ("br1 -a 4 web 2001:db8::1/64", "-a 4: 2001:db8::1 is IPv6"),
        ("br1 -a 6 web 0/0@192.0.2.1", "-a 6: 192.0.2.1 is IPv4"),
        (
            "br1 -i averyveryverylongname web 192.0.2.1/24",
            "-i: \"averyveryverylongname\" is not a link name: use 1 to 15 bytes",
        ),
        ("br1 -l a/b web 192.0.2.1/24", "-l: \"a/b\" is not a link name"),
        ("br1 -i lo web 0/0", "the kernel uses this name itself"),
        // pipework takes `-x` for the guest.
        ("br1 -x web 192.0.2.1/24", "-x: pipework has no such option; it has -i, -l, -a"),
        ("br1 -i eth1 -i eth2 web 192.0.2.1/24", "-i: it is there twice, as eth1 and as eth2"),
        ("br1 web 192.0.2.1/24 -l", "-l: its value is missing"),
        ("br1 we/b 192.0.2.1/24", "\"we/b\" is not a guest"),
        ("br1 pid:1 192.0.2.1/24", "1 is the host itself"),
        ("mac:00:1b:21 web 192.0.2.1/24", "write six pairs of hex digits"),
        ("mac:U:seed web 192.0.2.1/24", "U: makes an address for the guest's link only"),
        ("et/h0 web 192.0.2.1/24", "I do not know how to setup interface et/h0."),
    ];
    for (line, expected) in cases {
        let why = because(line);

        assert!(why.contains(expected), "{line}: {why}");
    }
}
