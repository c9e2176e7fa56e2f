//! Attachments to Open vSwitch, as `ovs-vsctl` shows them.

use anyhow::{Context as _, Result};
use pipewright_tests::{AgentOptions, Datapath, Host, Snapshot, needs, process, reach};

use crate::ask;
use crate::scene::{FOREIGN, Scene};

/// The one port of a bridge, and one of its columns as `ovs-vsctl` prints it.
fn column(host: &Host, port: &str, column: &str) -> Result<String> {
    Ok(host.ovs()?.vsctl(&format!("get Port {port} {column}"))?.trim().to_owned())
}

/// The ports of a bridge.
fn ports(host: &Host, bridge: &str) -> Result<Vec<String>> {
    Ok(host.ovs()?.vsctl(&format!("list-ports {bridge}"))?.lines().map(str::to_owned).collect())
}

#[test]
fn access_trunk_and_every_vlan_are_what_ovs_vsctl_shows() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let guest = scene.host.guest("web")?;
    let before = Snapshot::take(&scene.host)?;
    let cases = [
        ("--vlan 100", "100", "[]"),
        ("--vlan 4094", "4094", "[]"),
        ("--trunk 200,100,4094", "[]", "[100, 200, 4094]"),
        ("--trunk all", "[]", "[]"),
    ];

    for (asked, tag, trunks) in cases {
        scene.ctl(&format!("attach {FOREIGN} {} --no-ip {asked}", guest.reference()))?;

        let listed = scene.agent.list()?;
        let attachment = listed.first().context("an attachment is listed")?;
        let port = attachment["host_ifname"].as_str().context("a host end")?;
        assert_eq!(ports(&scene.host, FOREIGN)?, [port], "{asked}");
        assert_eq!(column(&scene.host, port, "tag")?, tag, "{asked}");
        assert_eq!(column(&scene.host, port, "trunks")?, trunks, "{asked}");
        // No mode means: access with a tag, trunk without.
        let mode = if tag == "[]" { ["trunk", "[]"] } else { ["access", "[]"] };
        assert!(mode.contains(&column(&scene.host, port, "vlan_mode")?.as_str()), "{asked}");
        let id = attachment["id"].as_str().context("an id")?;
        for table in ["Port", "Interface"] {
            let marks = scene.host.ovs()?.vsctl(&format!("get {table} {port} external_ids:pipewright-id"))?;
            assert_eq!(marks.trim().trim_matches('"'), id, "{table} of {asked}");
        }

        scene.ctl(&format!("detach {id}"))?;
        before.wait_same(&scene.host)?;
    }
    scene.lab.finish()
}

#[test]
fn a_port_without_a_vlan_is_refused_and_nothing_is_changed() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let guest = scene.host.guest("web")?;
    let before = Snapshot::take(&scene.host)?;

    for bridge in [FOREIGN, "ovs0"] {
        let answer = scene.agent.ctl(&format!("attach {bridge} {} --no-ip", guest.reference()))?;
        ask::refused(answer, "INVALID_FIELD", &[bridge, "trunk of every VLAN", "--vlan VID", "--trunk all"]);
    }

    before.wait_same(&scene.host)?;
    assert_eq!(scene.agent.list()?.len(), 0);
    scene.lab.finish()
}

#[test]
fn a_missing_bridge_is_made_with_the_hosts_datapath_and_goes_with_its_last_port() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (web, db) = (scene.host.guest("web")?, scene.host.guest("db")?);
    let before = Snapshot::take(&scene.host)?;

    scene.ctl(&format!("attach ovs7 {} --ip 192.0.2.1/24 --vlan 100", web.reference()))?;
    scene.ctl(&format!("attach ovs7 {} --ip 192.0.2.2/24 --vlan 100", db.reference()))?;
    let ovs = scene.host.ovs()?;
    let asked = match Datapath::of_labs() {
        Datapath::Userspace => "netdev",
        Datapath::Kernel => "\"\"",
    };
    assert_eq!(ovs.vsctl("get Bridge ovs7 datapath_type")?.trim(), asked);
    assert_eq!(ports(&scene.host, "ovs7")?.len(), 2);

    scene.ctl(&format!("detach {}", web.reference()))?;
    assert_eq!(ports(&scene.host, "ovs7")?.len(), 1);
    scene.ctl(&format!("detach {}", db.reference()))?;
    assert_eq!(ovs.vsctl("list-br")?.trim(), FOREIGN);
    before.wait_same(&scene.host)?;
    scene.lab.finish()
}

#[test]
fn a_bridge_of_ours_with_a_port_of_somebody_else_is_kept() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let guest = scene.host.guest("web")?;
    scene.ctl(&format!("attach ovs7 {} --no-ip --vlan 100", guest.reference()))?;
    let ovs = scene.host.ovs()?;
    ovs.vsctl("add-port ovs7 theirs -- set Interface theirs type=internal")?;

    scene.ctl(&format!("detach {}", guest.reference()))?;

    assert_eq!(ports(&scene.host, "ovs7")?, ["theirs"]);
    ovs.vsctl("del-br ovs7")?;
    scene.lab.finish()
}

#[test]
fn checksums_are_made_by_the_guest_where_the_userspace_datapath_does_not() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let guest = scene.host.guest("web")?;
    let tx_checksums = || -> Result<String> {
        let shown = process::output(guest.inside()?.command("ethtool")?.args(["-k", "eth1"]))?;
        let line = shown.lines().find(|line| line.starts_with("tx-checksumming:"));
        Ok(line.context("ethtool shows tx-checksumming")?.to_owned())
    };

    scene.ctl(&format!("attach {FOREIGN} {} --ip 192.0.2.1/24 --vlan 100", guest.reference()))?;
    let expected = match Datapath::of_labs() {
        Datapath::Userspace => "tx-checksumming: off",
        Datapath::Kernel => "tx-checksumming: on",
    };
    assert_eq!(tx_checksums()?, expected);
    scene.ctl(&format!("detach {}", guest.reference()))?;

    // A linux bridge leaves them to the card, which is faster.
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.1/24", guest.reference()))?;
    assert_eq!(tx_checksums()?, "tx-checksumming: on");
    scene.ctl(&format!("detach {}", guest.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_port_of_somebody_else_in_the_way_is_left_alone() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let guest = scene.host.guest("web")?;
    // A row whose link does not exist yet: only Open vSwitch knows of it.
    scene.host.ovs()?.vsctl(&format!("--no-wait add-port {FOREIGN} theirs0 tag=7"))?;
    let before = Snapshot::take(&scene.host)?;

    let attach = format!("attach {FOREIGN} {} --no-ip --vlan 100 --host-ifname theirs0", guest.reference());
    let answer = scene.agent.ctl(&attach)?;

    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("theirs0"), "{answer:?}");
    before.wait_same(&scene.host)?;
    assert_eq!(column(&scene.host, "theirs0", "tag")?, "7");
    assert_eq!(scene.agent.list()?.len(), 0);
    scene.lab.finish()
}

#[test]
fn an_attach_of_what_somebody_unplugged_plugs_it_again() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs_with(AgentOptions::reporting())?;
    let (web, db) = (scene.host.guest("web")?, scene.host.guest("db")?);
    let before = Snapshot::take(&scene.host)?;
    let to = web.reference();
    let host_end = || -> Result<String> {
        let listed = scene.agent.list()?;
        let first = listed.iter().find(|one| one["spec"]["guest"] == to).context("it is listed")?;
        Ok(first["host_ifname"].as_str().context("a host end")?.to_owned())
    };
    let unplug_ovs = |port: &str| scene.host.ovs()?.vsctl(&format!("del-port {port}"));
    let retag_ovs = |port: &str| scene.host.ovs()?.vsctl(&format!("set Port {port} tag=999"));
    let unplug_linux = |port: &str| scene.host.inside().ip(&format!("link set {port} nomaster"));
    type ByHand<'a> = &'a dyn Fn(&str) -> Result<String>;
    let cases: [(&str, ByHand); 3] =
        [("ovs0 --vlan 100", &unplug_ovs), ("ovs0 --vlan 100", &retag_ovs), ("br0", &unplug_linux)];

    for (uplink, by_hand) in cases {
        let attach = format!("attach {uplink} {to} --ip 192.0.2.1/24");
        scene.ctl(&attach)?;
        scene.ctl(&format!("attach {uplink} {} --ip 192.0.2.2/24", db.reference()))?;
        by_hand(&host_end()?)?;
        let reached = reach::ping(&web.inside()?, "192.0.2.2".parse()?)?;
        assert!(!reached, "{uplink}: still plugged");

        let dry = scene.agent.ctl(&format!("{attach} --dry-run"))?;
        ask::refused(dry, "ROLLBACK_INCOMPLETE", &["eth1", to, "unplugged"]);
        let again = scene.ctl(&format!("-o json {attach}"))?.json()?;

        assert_eq!(again["created"], true, "{uplink}");
        assert!(reach::ping(&web.inside()?, "192.0.2.2".parse()?)?, "{uplink}");
        assert_eq!(scene.agent.list()?.len(), 2);
        for guest in [&web, &db] {
            scene.ctl(&format!("detach {}", guest.reference()))?;
        }
        before.wait_same(&scene.host)?;
    }
    scene.lab.finish()
}
