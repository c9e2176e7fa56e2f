//! A host that is not as the fleet left it, or not as the fleet needs it.

use anyhow::{Context as _, Result};
use pipewright_tests::{AgentOptions, Reach, needs};

use crate::fleet_scene::{FleetScene, Link, fleet};

const SWITCH: &str = "ovs0: { kind: ovs, hosts: [a, b], uplink: eth1 }";
const RED: &str = "red: { switch: ovs0, vlan: 100, subnet: 192.0.2.0/24 }";
const LINKS: [Link; 3] = [("a", "one", "red", 1), ("b", "two", "red", 2), ("a", "three", "red", 3)];

fn two_hosts() -> Result<FleetScene> {
    FleetScene::with_agents(&["a", "b"], &AgentOptions::reporting())?
        .with_guests(&["a/one", "b/two", "a/three"])
}

#[test]
fn what_somebody_took_out_by_hand_is_put_back_by_the_next_apply() -> Result<()> {
    needs!(Root, Ovs);
    let scene = two_hosts()?;
    let before = scene.snapshots()?;
    let file = scene.file("lab", SWITCH, RED, &LINKS)?;
    fleet("apply --yes", &file)?.ok()?;
    let applied = fleet("status -o json", &file)?.json()?;
    let (a, agent) = (scene.host("a")?, scene.agent("a")?);
    let one = scene.guest("one")?.reference().to_owned();
    let by_hand: [(&str, &dyn Fn() -> Result<()>); 6] = [
        ("the uplink's port", &|| a.ovs()?.vsctl("del-port ovs0 eth1").map(drop)),
        ("the uplink's VLANs", &|| a.ovs()?.vsctl("set Port eth1 trunks=100,4000").map(drop)),
        ("the uplink's limit", &|| a.ovs()?.vsctl("clear Port eth1 trunks").map(drop)),
        ("an attachment", &|| agent.ctl(&format!("detach {one}"))?.ok().map(drop)),
        ("an attachment's port", &|| {
            let listed = agent.list()?;
            let host_end = listed[0]["host_ifname"].as_str().context("a host end")?;
            a.ovs()?.vsctl(&format!("del-port ovs0 {host_end}")).map(drop)
        }),
        ("the bridge", &|| a.ovs()?.vsctl("del-br ovs0").map(drop)),
    ];

    for (what, take_out) in by_hand {
        take_out().context(what)?;
        let plan = fleet("plan --exit-code", &file)?;
        assert_eq!(plan.code, 2, "{what} is gone and the plan says: {plan:?}");
        // The status is of links; the switch is the plan's.
        if what.starts_with("an attachment") {
            let status = fleet("status", &file)?;
            assert!(status.stdout.contains("2 of 3 links as wanted"), "{what}: {status:?}");
        }

        fleet("apply --yes", &file)?.ok().context(what)?;

        assert_eq!(scene.trunks("a")?, Some(vec![100]), "{what}");
        for (from, to, last) in [("one", "two", 2), ("two", "three", 3)] {
            assert_eq!(scene.reach(from, to, last)?, Reach::BOTH, "{what}");
        }
        let plan = fleet("plan --exit-code", &file)?;
        assert_eq!(plan.code, 0, "{what}: {plan:?}");
    }

    let status = fleet("status -o json", &file)?.json()?;
    let standings = |status: &serde_json::Value| -> Vec<String> {
        let hosts = status["hosts"].as_array().cloned().unwrap_or_default();
        let links = hosts.iter().flat_map(|host| host["links"].as_array().cloned().unwrap_or_default());
        links.map(|link| link["standing"].to_string()).collect()
    };
    assert_eq!(standings(&status), standings(&applied));
    fleet("destroy --yes", &file)?.ok()?;
    scene.wait_same(&before)?;
    scene.lab.finish()
}

#[test]
fn an_uplink_that_is_in_use_is_refused_and_the_user_of_it_named() -> Result<()> {
    needs!(Root, Ovs);
    let scene = two_hosts()?;
    let a = scene.host("a")?;
    let file = scene.file("lab", SWITCH, RED, &LINKS)?;
    a.ovs()?.add_bridge("theirs0")?;
    let before = scene.snapshots()?;
    let cases: [(&str, &[&str], &[&str]); 3] = [
        ("192.0.2.77/24", &["address add 192.0.2.77/24 dev eth1"], &["address del 192.0.2.77/24 dev eth1"]),
        ("2001:db8::77/64", &["address add 2001:db8::77/64 dev eth1 nodad"], &["address flush dev eth1"]),
        ("br9", &["link add dev br9 type bridge", "link set eth1 master br9"], &["link del br9"]),
    ];

    for (holder, take, give_back) in cases {
        take.iter().try_for_each(|words| a.inside().ip(words).map(drop))?;
        let taken = scene.snapshots()?;
        let answer = fleet("apply --yes", &file)?;
        assert_eq!(answer.code, 1, "{answer:?}");
        for part in ["[UPLINK_BUSY]", "eth1", holder] {
            assert!(answer.stdout.contains(part), "{part}: {answer:?}");
        }
        // The other host is done, and on this one nothing of the switch is left.
        assert_eq!(scene.trunks("b")?, Some(vec![100]));
        assert_eq!(scene.trunks("a")?, None, "{holder}");

        fleet("destroy --yes", &file)?.ok()?;
        scene.wait_same(&taken)?;
        give_back.iter().try_for_each(|words| a.inside().ip(words).map(drop))?;
        scene.wait_same(&before).context(holder)?;
    }

    a.ovs()?.vsctl("add-port theirs0 eth1")?;
    let answer = fleet("apply --yes", &file)?;
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stdout.contains("[UPLINK_BUSY]") && answer.stdout.contains("theirs0"), "{answer:?}");
    fleet("destroy --yes", &file)?.ok()?;
    assert_eq!(a.ovs()?.vsctl("list-ports theirs0")?.trim(), "eth1");
    scene.lab.finish()
}

#[test]
fn an_uplink_that_is_missing_is_named_and_nothing_of_the_switch_is_left() -> Result<()> {
    needs!(Root, Ovs);
    let scene = two_hosts()?;
    let before = scene.snapshots()?;
    let file =
        scene.file("lab", &SWITCH.replace("uplink: eth1", "uplink: { a: eth7, b: eth1 }"), RED, &[])?;

    let answer = fleet("apply --yes", &file)?;

    assert_eq!(answer.code, 1, "{answer:?}");
    for part in ["[NO_UPLINK]", "eth7", "ovs0"] {
        assert!(answer.stdout.contains(part), "{part}: {answer:?}");
    }
    before[0].wait_same(scene.host("a")?)?;
    fleet("destroy --yes", &file)?.ok()?;
    scene.wait_same(&before)?;
    scene.lab.finish()
}

#[test]
fn status_and_graph_show_who_is_where_and_who_is_not() -> Result<()> {
    needs!(Root, Ovs);
    let scene = two_hosts()?;
    let file = scene.file("lab", SWITCH, RED, &LINKS)?;
    let lines = |text: &str, word: &str| text.lines().filter(|line| line.contains(word)).count();

    let empty = fleet("status", &file)?;
    assert_eq!(lines(&empty.stdout, " missing "), 3, "{empty:?}");
    fleet("apply --yes", &file)?.ok()?;
    let all = fleet("status", &file)?.ok()?;
    assert_eq!(lines(&all.stdout, " ok"), 3, "{all:?}");
    assert!(all.stdout.contains("3 of 3 links as wanted"), "{all:?}");

    let one = scene.guest("one")?.reference();
    scene.agent("a")?.ctl(&format!("detach {one}"))?.ok()?;
    let less = fleet("status", &file)?;
    assert!(less.stdout.contains("2 of 3 links as wanted"), "{less:?}");
    assert!(less.stdout.lines().any(|line| line.contains(one) && line.contains("missing")), "{less:?}");

    let graph = fleet("graph", &file)?.ok()?.stdout;
    for part in ["fleet lab", "host a", "host b", "switch ovs0", "uplink eth1", "VLAN 100", one] {
        assert!(graph.contains(part), "{part}: {graph}");
    }
    let dot = fleet("graph --format dot", &file)?.ok()?.stdout;
    assert!(dot.starts_with("graph ") && dot.trim_end().ends_with('}'), "{dot}");
    fleet("destroy --yes", &file)?.ok()?;
    scene.lab.finish()
}

#[test]
fn a_file_that_is_wrong_is_refused_with_the_place_of_each_mistake_and_no_host_is_asked() -> Result<()> {
    needs!(Root);
    let lab = pipewright_tests::Lab::new()?;
    let file = lab.dir().join("wrong.yaml");
    let said = |text: &str| -> Result<String> {
        std::fs::write(&file, text)?;
        let answer = fleet("validate", &file)?;
        assert_eq!(answer.code, 1, "{answer:?}");
        // The same for a command that would change hosts.
        assert_eq!(fleet("apply --yes", &file)?.stderr, answer.stderr);
        Ok(answer.stderr)
    };
    let head = "fleet: lab\nhosts:\n  a: { endpoint: \"unix:/nowhere/agent.sock\" }\n";
    let name = file.display().to_string();

    let several = said(&format!(
        "{head}switches:\n  ovs0: {{ kind: ovs, hosts: [a, z] }}\nsegments:\n  \
         red: {{ switch: ovs0, vlan: 4095, subnet: 192.0.2.0/24 }}\nattachments:\n  \
         - {{ host: a, guest: \"docker:web\", segment: red, ip: 198.51.100.1/24 }}\n"
    ))?;
    for place in ["5:", "7:", "9:"] {
        assert!(several.contains(&format!("{name}:{place}")), "{place}: {several}");
    }
    for part in ["switches.ovs0.hosts[1]", "segments.red.vlan", "attachments[0].ip", "4095"] {
        assert!(several.contains(part), "{part}: {several}");
    }
    let unknown = said(&format!("{head}switchs: {{}}\n"))?;
    assert!(unknown.contains(&format!("{name}:4:1")) && unknown.contains("switchs"), "{unknown}");
    let untagged = said(&format!(
        "{head}switches:\n  ovs0: {{ kind: ovs, hosts: [a] }}\nsegments:\n  red: {{ switch: ovs0, subnet: 192.0.2.0/24 }}\n"
    ))?;
    assert!(untagged.contains("trunk of every VLAN"), "{untagged}");
    let torn = said("fleet: lab\nhosts: {\n")?;
    assert!(torn.contains(&name), "{torn}");

    let missing = fleet("validate", &lab.dir().join("nobody.yaml"))?;
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.stderr.contains("nobody.yaml"), "{missing:?}");
    // Nobody can be asked here, so nothing is changed without --yes.
    std::fs::write(&file, format!("{head}switches: {{}}\nsegments: {{}}\nattachments: []\n"))?;
    fleet("validate", &file)?.ok()?;
    crate::ask::misused(fleet("apply", &file)?, &["--yes"]);
    crate::ask::misused(fleet("destroy", &file)?, &["--yes"]);
    lab.finish()
}
