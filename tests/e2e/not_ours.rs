//! What is not ours is neither changed nor deleted, however much it looks like ours.

use anyhow::{Context as _, Result};
use pipewright_tests::needs;

use crate::scene::{FOREIGN, Scene, until};

#[test]
fn a_bridge_of_somebody_else_is_used_and_left_alone() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let guest = scene.host.guest("web")?;
    // With a port, so that its carrier stays.
    for words in [
        "link add br0 address 02:00:5e:10:00:07 type bridge forward_delay 0",
        "link set br0 addrgenmode none",
        "link set br0 up",
        "link add theirs master br0 type veth peer name other",
        "link set theirs addrgenmode none",
        "link set theirs up",
        "link set other addrgenmode none",
        "link set other up",
    ] {
        scene.host.inside().ip(words)?;
    }
    until("the bridge is up", || Ok(scene.host.inside().ip("link show br0")?.contains("state UP")))?;
    let before = scene.snapshot()?;

    for (bridge, vlan) in [("br0", ""), (FOREIGN, "--vlan 100")] {
        scene.ctl(&format!("attach {bridge} {} --ip 192.0.2.10/24 {vlan}", guest.reference()))?;
        scene.ctl(&format!("detach {}", guest.reference()))?;
        before.assert_same(&scene.snapshot()?);
    }
    scene.lab.finish()
}

#[test]
fn a_bridge_of_ours_stays_while_somebody_elses_link_is_in_it() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;
    scene.host.inside().ip("link add theirs type veth peer name other")?;

    for (bridge, vlan) in [("br0", ""), ("ovs0", "--vlan 100")] {
        let attach = format!("attach {bridge} {} --no-ip {vlan}", guest.reference());
        let detach = format!("detach {}", guest.reference());
        scene.ctl(&attach)?;
        match bridge {
            "br0" => scene.host.inside().ip("link set theirs master br0")?,
            _ => scene.host.ovs()?.vsctl("add-port ovs0 theirs tag=7")?,
        };
        scene.ctl(&detach)?;
        assert!(scene.host.inside().has_link(bridge)?, "{bridge} was taken from under its port");

        match bridge {
            "br0" => scene.host.inside().ip("link set theirs nomaster")?,
            _ => scene.host.ovs()?.vsctl("del-port ovs0 theirs")?,
        };
        // The next one that goes takes it along.
        scene.ctl(&attach)?;
        scene.ctl(&detach)?;
    }
    scene.host.inside().ip("link del theirs")?;
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_name_that_somebody_else_has_is_refused_and_theirs_stays_as_it_is() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let guest = scene.host.guest("web")?;
    guest.ip("link add eth1 address 02:00:5e:10:00:09 type veth peer name own")?;
    guest.ip("address add 203.0.113.10/24 dev eth1")?;
    scene.host.inside().ip("link add web0 type veth peer name web1")?;
    // A row for a link that is yet to come.
    scene.host.ovs()?.vsctl(&format!("--no-wait add-port {FOREIGN} web2 tag=7"))?;
    let before = scene.snapshot()?;

    let guest = guest.reference();
    for (what, words) in [
        ("eth1", format!("attach br0 {guest} --no-ip")),
        ("eth1", format!("attach ovs0 {guest} --no-ip --vlan 100")),
        ("web0", format!("attach br0 {guest} --no-ip --ifname eth2 --host-ifname web0")),
        ("web0", format!("attach {FOREIGN} {guest} --no-ip --vlan 100 --ifname eth2 --host-ifname web0")),
        ("web2", format!("attach {FOREIGN} {guest} --no-ip --vlan 100 --ifname eth2 --host-ifname web2")),
    ] {
        let answer = scene.agent.ctl(&words)?;
        assert_eq!(answer.code, 1, "{words}: {}", answer.stdout);
        let said = answer.stderr;
        assert!(said.contains("[IFNAME_TAKEN]") && said.contains(what), "{words}: {said}");
        before.assert_same(&scene.snapshot()?);
        assert_eq!(scene.agent.list()?.len(), 0);
    }
    scene.ctl(&format!("detach {guest}"))?;
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_link_and_a_port_that_only_bear_our_names_are_left_alone() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (one, two) = (scene.host.guest("one")?, scene.host.guest("two")?);
    scene.ctl(&format!("attach br0 {} --no-ip", one.reference()))?;
    scene.ctl(&format!("attach {FOREIGN} {} --no-ip --vlan 100", two.reference()))?;
    let listed = scene.agent.list()?;
    let host_end = |bridge: &str| -> Result<String> {
        let one = listed.iter().find(|one| one["spec"]["uplink"] == bridge).context("it is listed")?;
        one["host_ifname"].as_str().map(str::to_owned).context("it has a host end")
    };
    let (link, port) = (host_end("br0")?, host_end(FOREIGN)?);

    // While nobody looks, somebody else puts theirs in the place of ours.
    scene.agent.kill9()?;
    let (host, ovs) = (scene.host.inside(), scene.host.ovs()?);
    for name in [&link, &port] {
        host.ip(&format!("link del {name}"))?;
        host.ip(&format!("link add {name} group 77 type veth peer name x{}", &name[..10]))?;
    }
    ovs.vsctl(&format!("del-port {port} -- add-port {FOREIGN} {port} tag=7"))?;
    host.ip("link del br0")?;
    let theirs = scene.snapshot()?;

    scene.agent.start()?;
    for guest in [&one, &two] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }

    assert_eq!(scene.agent.list()?.len(), 0);
    theirs.assert_same(&scene.snapshot()?);
    ovs.vsctl(&format!("del-port {port}"))?;
    for name in [&link, &port] {
        host.ip(&format!("link del {name}"))?;
    }
    scene.lab.finish()
}
