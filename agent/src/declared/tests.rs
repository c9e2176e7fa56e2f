//! What containers say, and what of it is allowed.

use std::collections::BTreeMap;

use pipewright_api::attachment::{GuestIdentity, Origin, Runtime};
use pipewright_api::host::{Bridge, Capability, HostFacts, HostLink};
use pipewright_api::reason::Reason;
use pipewright_api::spec::{Kind, SwitchKind};
use proptest::prelude::*;

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn container(labels: &[(&str, &str)], variables: &[&str]) -> Container {
    let text = |text: &str| text.to_owned();
    Container {
        identity: GuestIdentity {
            runtime: Runtime::Docker,
            id: text(ID),
            name: text("lab-web_3"),
            pid: Some(7),
            netns_cookie: 0,
            started_at: text("2026-01-01T00:00:00Z"),
        },
        is_running: true,
        hostname: text("web3.example"),
        labels: labels.iter().map(|(key, line)| (text(key), text(line))).collect(),
        variables: variables.iter().map(|variable| text(variable)).collect(),
    }
}

fn host() -> HostFacts {
    let bridge =
        |name: &str, kind| Bridge { name: name.to_owned(), kind, mtu: 1500, ports: Vec::new(), ours: false };
    let link = |name: &str| HostLink {
        name: name.to_owned(),
        mac: String::new(),
        hardware: "ether".to_owned(),
        mtu: 1500,
        operstate: "up".to_owned(),
        addresses: Vec::new(),
        holder: String::new(),
    };
    let ovs = Capability { name: "ovs".to_owned(), present: true, detail: String::new() };
    HostFacts {
        bridges: vec![bridge("br0", SwitchKind::LinuxBridge), bridge("ovs0", SwitchKind::Ovs)],
        links: vec![link("eth1")],
        capabilities: vec![ovs],
        ..HostFacts::default()
    }
}

fn policy(table: &str) -> Policy {
    toml::from_str::<Settings>(table).unwrap_or_else(|why| panic!("{why}")).into()
}

fn label(line: &str) -> Origin {
    Origin { key: "pipewright.attach".to_owned(), line: line.to_owned() }
}

/// What is said of a line that is to be made of that kind, or nothing.
fn refusal(policy: &Policy, line: &str, made: Option<Made>) -> Option<String> {
    let spec = container(&[], &[]).by_label(line).unwrap_or_else(|why| panic!("{line}: {why}"));
    policy.permit(&label(line), &spec, made).err().map(|failure| failure.message().to_owned())
}

#[test]
fn a_container_says_what_its_labels_and_variables_say() {
    let container = container(
        &[
            ("pipewright.attach", "br0 --no-ip"),
            ("pipewright.attach.db-1", "br1 --no-ip"),
            ("pipewright.attach.", "br2 --no-ip"),
            ("pipewright.atach", "br3 --no-ip"),
            ("pipewright.attach.a b", "br4 --no-ip"),
            ("com.example.attach", "br5 --no-ip"),
        ],
        &[
            "PATH=/bin",
            "pipework_cmd_2=b",
            "1_pipework_cmd=c=d",
            "pipework_cmd",
            "pipework_wait=eth1",
            "pipework_cmd=a",
        ],
    );

    let keys = |said: &Said| said.asked.iter().map(|one| one.key.clone()).collect::<Vec<_>>();
    let labels = container.said(false);
    let all = container.said(true);

    assert_eq!(keys(&labels), ["pipewright.attach", "pipewright.attach.db-1"]);
    assert_eq!(keys(&all)[2..], ["1_pipework_cmd", "pipework_cmd", "pipework_cmd_2"]);
    assert_eq!(all.asked[2].line, "c=d");
    let wrong: Vec<&str> = labels.wrong.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(wrong, ["pipewright.atach", "pipewright.attach.", "pipewright.attach.a b"]);
}

#[test]
fn there_is_an_end_to_what_one_container_can_ask_for() {
    let many: Vec<String> = (10..40).map(|number| format!("pipewright.attach.n{number}")).collect();
    let labels: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "br0 --no-ip")).collect();

    let said = container(&labels, &[]).said(false);

    assert_eq!((said.asked.len(), said.wrong.len()), (16, 14));
    assert!(said.wrong[0].1.message().contains("16 links at most"));
}

#[test]
fn a_line_of_pipeworks_is_about_its_own_container() {
    let container = container(&[("com.docker.compose.project", "lab")], &[]);
    let asked = |line: &str| container.by_pipework(line, &host());

    for (line, uplink, kind, address) in [
        (
            "br0 -i eth1 @CONTAINER_NAME@ 192.0.2.@INSTANCE@/24@192.0.2.1",
            "br0",
            Kind::LinuxBridge,
            "192.0.2.3/24",
        ),
        ("pipework br0 @CONTAINER_ID@ 192.0.2.7/24", "br0", Kind::LinuxBridge, "192.0.2.7/24"),
        ("br0 @HOSTNAME@ 192.0.2.7/24 U:@CONTAINER_NAME@", "br0", Kind::LinuxBridge, "192.0.2.7/24"),
        ("br0 @COMPOSE_PROJECT_NAME@-web_3 192.0.2.7/24", "br0", Kind::LinuxBridge, "192.0.2.7/24"),
        ("ovs0 docker:lab-web_3 192.0.2.7/24 @100", "ovs0", Kind::Ovs, "192.0.2.7/24"),
        ("eth1 lab-web_3 192.0.2.7/24", "eth1", Kind::Macvlan, "192.0.2.7/24"),
    ] {
        let spec = asked(line).unwrap_or_else(|why| panic!("{line}: {why}"));

        assert_eq!(spec.guest.to_string(), format!("docker:{ID}"), "{line}");
        assert_eq!((spec.uplink.to_string().as_str(), spec.kind), (uplink, Some(kind)), "{line}");
        assert_eq!(spec.addressing.addresses()[0].to_string(), address, "{line}");
        assert!(spec.host_ifname.is_none() && spec.labels.is_empty(), "{line}");
    }
    for (line, said) in [
        ("br0 db 192.0.2.7/24", "db is another guest"),
        ("br0 pid:7 192.0.2.7/24", "pid:7 is another guest"),
        ("br0 netns:/run/netns/x 192.0.2.7/24", "is another guest"),
        ("br0 0 192.0.2.7/24", "0 is another guest"),
        ("route @CONTAINER_NAME@ add default via 192.0.2.1", "not for variables"),
        ("tc @CONTAINER_NAME@ qdisc show", "not for variables"),
        ("--wait", "pwwait"),
        ("br0 @CONTAINER_NAME@", "no line of pipework's"),
        ("br0 @CONTAINER_NAME@ 192.0.2.7", "include a netmask. Maybe"),
        ("br0 \"@CONTAINER_NAME@ 192.0.2.7/24", "quote"),
    ] {
        let failure = asked(line).unwrap_err();

        assert!(failure.message().contains(said), "{line}: {failure}");
        assert_eq!(failure.reason(), Reason::InvalidField);
    }
    // Who names the host's end says so, and it is refused.
    assert!(asked("br0 -l h1 @CONTAINER_NAME@ 0/0").unwrap().host_ifname.is_some());
}

#[test]
fn without_a_table_nothing_is_allowed() {
    let off = Policy::default();
    let only_variables = policy("pipework_cmd = true");

    assert!(!off.is_on() && !only_variables.is_on() && !only_variables.has_variables());
    assert!(refusal(&off, "br0 --no-ip", None).unwrap().contains("not heeded"));
}

#[test]
fn a_rule_with_only_an_uplink_allows_a_plain_link_and_no_more() {
    let plain =
        policy("[[allow]]\nuplink = \"br0\"\n[[allow]]\nuplink = \"eth1\"\n[[allow]]\nuplink = \"dummy\"");

    for line in
        ["br0 --no-ip", "br0 --no-ip --ifname eth7 --follow", "eth1 --no-ip --mode vepa", "dummy --no-ip"]
    {
        assert_eq!(refusal(&plain, line, None), None, "{line}");
    }
    for (line, said) in [
        ("br1 --no-ip", "uplink br1 is not among those"),
        ("mac:02:00:5e:10:00:01 --no-ip", "an uplink by its MAC address"),
        ("host --no-ip", "a link to the host"),
        ("guest:docker:db --no-ip", "a link to another guest"),
        ("eth1 --no-ip --kind direct", "a whole NIC"),
        ("eth1 --no-ip --mode passthru", "a NIC for itself"),
        ("eth1 --no-ip --kind ipvlan", "kind ipvlan is not allowed"),
        ("eth1 --no-ip --kind vlan --vlan 7", "kind vlan is not allowed"),
        ("eth1 --no-ip --pkey 0x8001", "a partition of InfiniBand"),
        ("eth1 --ip 192.0.2.1/24 --host-reach", "--host-reach"),
        ("br0 --no-ip --host-ifname h1", "the name of the host's end"),
        ("br0 --no-ip --label a.b=c", "--label"),
        ("br0 --no-ip --once", "--once"),
        ("br0 --ip 192.0.2.1/24", "address 192.0.2.1/24 is not within those that are allowed: none is"),
        ("br0 --dhcp", "DHCP servers"),
        ("br0 --slaac", "DHCP servers and routers"),
        ("br0 --dhcp6", "DHCP servers"),
        ("br0 --no-ip --gateway 192.0.2.1", "default gateway 192.0.2.1 is not allowed"),
        ("br0 --no-ip --route 198.51.100.0/24", "route 198.51.100.0/24 is not within"),
        ("br0 --no-ip --mac 02:00:5e:10:00:01", "a MAC address"),
        ("br0 --no-ip --mtu 1400", "an MTU"),
        ("br0 --no-ip --vlan 100", "VLAN 100 is not allowed, but none"),
        ("br0 --no-ip --trunk all", "a trunk of VLANs"),
    ] {
        // What does not even fit together is refused before.
        let Ok(spec) = container(&[], &[]).by_label(line) else { continue };
        let failure = plain.permit(&label(line), &spec, None).unwrap_err();

        assert!(failure.message().contains(said), "{line}: {failure}");
        assert_eq!(failure.reason(), Reason::NotGranted, "{line}");
    }
}

#[test]
fn what_a_link_turns_out_to_be_is_held_against_the_rule_as_well() {
    let rule = policy("[[allow]]\nuplink = \"br0\"\nkinds = [\"linux-bridge\"]");
    let making = policy("[[allow]]\nuplink = \"br0\"\nmake = true");
    let made = |kind, is_bridge_missing| Some(Made { kind, is_bridge_missing });
    let line = "br0 --no-ip";

    assert_eq!(refusal(&rule, line, made(Kind::LinuxBridge, false)), None);
    assert!(refusal(&rule, line, made(Kind::Macvlan, false)).unwrap().contains("kind macvlan"));
    assert!(refusal(&rule, line, made(Kind::Direct, false)).unwrap().contains("a whole NIC"));
    assert!(refusal(&rule, line, made(Kind::LinuxBridge, true)).unwrap().contains("may not have it made"));
    assert_eq!(refusal(&making, line, made(Kind::LinuxBridge, true)), None);
}

#[test]
fn a_rule_allows_what_it_says() {
    let rule = policy(
        "[[allow]]\nuplink = \"ovs0\"\nvlans = [100, \"200-299\"]\ntrunk = true\naddresses = [\"192.0.2.0/25\", \"2001:db8::/64\"]\n\
         dhcp = true\ngateway = true\nroutes = [\"198.51.100.0/24\"]\nmac = true\nmtu = true\nkinds = [\"ovs\", \"ipvlan\"]",
    );
    for line in [
        "ovs0 --vlan 100 --ip 192.0.2.1/25 --ip 2001:db8::1/64 --gateway 192.0.2.2 --mac U:web --mtu 1400",
        "ovs0 --vlan 299 --dhcp --client-id web",
        "ovs0 --trunk 100,250 --no-ip",
        "ovs0 --vlan 200 --no-ip --route 198.51.100.128/25",
    ] {
        assert_eq!(refusal(&rule, line, None), None, "{line}");
    }
    for (line, said) in [
        ("ovs0 --no-ip", "a link without --vlan is not allowed, but VLAN 100, 200-299"),
        ("ovs0 --vlan 101 --no-ip", "VLAN 101 is not allowed, but 100, 200-299"),
        ("ovs0 --trunk 100,300 --no-ip", "VLAN 300 is not allowed"),
        ("ovs0 --trunk all --no-ip", "a trunk of every VLAN is not allowed"),
        (
            "ovs0 --vlan 100 --ip 192.0.2.129/25",
            "192.0.2.129/25 is not within those that are allowed: 192.0.2.0/25",
        ),
        // A wider subnet would have the container send to others over this link.
        ("ovs0 --vlan 100 --ip 192.0.2.1/24", "192.0.2.1/24 is not within"),
        ("ovs0 --vlan 100 --no-ip --route 198.51.0.0/16", "route 198.51.0.0/16 is not within"),
    ] {
        let why = refusal(&rule, line, None).unwrap_or_else(|| panic!("{line} was allowed"));

        assert!(why.contains(said), "{line}: {why}");
    }
    let every = policy("[[allow]]\nuplink = \"ovs0\"\nvlans = [\"untagged\", \"1-4094\"]\ntrunk = true");
    assert_eq!(refusal(&every, "ovs0 --trunk all --no-ip", None), None);
}

#[test]
fn one_rule_allows_all_of_a_link_or_it_is_refused() {
    let rules = policy(
        "[[allow]]\nuplink = \"br0\"\nvlans = [100]\naddresses = [\"192.0.2.0/24\"]\n\
         [[allow]]\nuplink = \"br0\"\nvlans = [200]\naddresses = [\"198.51.100.0/24\"]",
    );

    assert_eq!(refusal(&rules, "br0 --vlan 100 --ip 192.0.2.1/24", None), None);
    assert_eq!(refusal(&rules, "br0 --vlan 200 --ip 198.51.100.1/24", None), None);
    let mixed = refusal(&rules, "br0 --vlan 100 --ip 198.51.100.1/24", None).unwrap();
    assert!(mixed.contains("198.51.100.1/24") && mixed.contains("VLAN 100"), "{mixed}");
}

#[test]
fn variables_count_only_when_they_are_said_to() {
    let container = container(&[], &[]);
    let spec = container.by_pipework("br0 @CONTAINER_NAME@ 0/0", &host()).unwrap();
    let variable = Origin { key: "pipework_cmd".to_owned(), line: String::new() };
    let rule = "[[allow]]\nuplink = \"br0\"";

    let refused = policy(rule).permit(&variable, &spec, None).unwrap_err();

    assert!(refused.message().contains("pipework_cmd is not heeded"), "{refused}");
    assert_eq!(policy(&format!("pipework_cmd = true\n{rule}")).permit(&variable, &spec, None), Ok(()));
}

#[test]
fn what_no_label_may_have_cannot_be_configured() {
    for (table, said) in [
        ("[[allow]]", "uplink"),
        ("[[allow]]\nuplink = \"host\"", "cannot be allowed"),
        ("[[allow]]\nuplink = \"guest:db\"", "cannot be allowed"),
        ("[[allow]]\nuplink = \"mac:02:00:5e:10:00:01\"", "cannot be allowed"),
        ("[[allow]]\nuplink = \"br0\"\nkinds = [\"direct\"]", "direct"),
        ("[[allow]]\nuplink = \"br0\"\nkinds = [\"ptp\"]", "ptp"),
        ("[[allow]]\nuplink = \"br0\"\nvlans = [0]", "VLAN"),
        ("[[allow]]\nuplink = \"br0\"\nvlans = [\"9-3\"]", "the first is above the last"),
        ("[[allow]]\nuplink = \"br0\"\nvlans = [\"all\"]", "untagged"),
        ("[[allow]]\nuplink = \"br0\"\nhost_reach = true", "host_reach"),
        ("alow = []", "alow"),
    ] {
        let why = toml::from_str::<Settings>(table).unwrap_err().to_string();

        assert!(why.contains(said), "{table}: {why}");
    }
}

proptest! {
    /// Whatever a label says, what it gets is on an uplink that a rule names, and in a VLAN of it.
    #[test]
    fn nothing_is_allowed_beside_the_rules(
        uplink in "(br[01]|ovs0|eth1|host|dummy|guest:db|mac:02:00:5e:10:00:01)",
        kind in "(auto|direct|ptp|macvlan|ipvlan|ovs|linux-bridge|vlan|dummy|ipoib)",
        vlan in 1u32..300, more in "( --host-reach| --once| --trunk all| --mac U:x| --host-ifname x| --mode passthru)?",
    ) {
        let rule = policy("[[allow]]\nuplink = \"br0\"\nvlans = [\"100-199\"]");
        let line = format!("{uplink} --no-ip --kind {kind} --vlan {vlan}{more}");
        if let Ok(spec) = container(&[], &[]).by_label(&line) {
            let is_allowed = uplink == "br0" && (100..200).contains(&vlan) && more.is_empty()
                && matches!(kind.as_str(), "auto" | "linux-bridge" | "ovs" | "macvlan" | "dummy");
            prop_assert_eq!(rule.permit(&label(&line), &spec, None).is_ok(), is_allowed, "{}", line);
        }
    }

    #[test]
    fn any_variable_is_answered(line in "(br0|eth1|@CONTAINER_NAME@|@|192.0.2.1/24|dhcp:|-i|-l|'|\\PC| ){0,10}") {
        let container = container(&[], &[]);
        if let Ok(spec) = container.by_pipework(&line, &host()) {
            prop_assert_eq!(spec.guest.to_string(), format!("docker:{ID}"));
        }
    }
}

#[test]
fn macros_are_put_in_once() {
    let mut container = container(&[], &[]);
    container.hostname = "@CONTAINER_NAME@".to_owned();
    let expand = |line: &str| macros::expand(line, &container);

    assert_eq!(expand("@HOSTNAME@ @HOSTNAME @@INSTANCE@@5"), "@CONTAINER_NAME@ @HOSTNAME @3@5");
    assert_eq!(expand("a@b @COMPOSE_PROJECT_NAME@|@OTHER@"), "a@b |@OTHER@");
    let labels: BTreeMap<String, String> = [("a".to_owned(), "b".to_owned())].into();
    container.labels = labels;
    container.identity.name = "web".to_owned();
    assert_eq!(macros::expand("192.0.2.@INSTANCE@/24", &container), "192.0.2./24");
}
