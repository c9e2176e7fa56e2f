//! Hosts, switches and containers work before any agent touches them.

use std::net::IpAddr;

use anyhow::Result;
use pipewright_tests::{Guest, Host, Lab, Reach, needs, reach};

const FIRST: &str = "192.0.2.1";
const SECOND: &str = "192.0.2.2";

/// Plugs a guest into an Open vSwitch bridge by hand, as the tutorials do.
fn plug(host: &Host, guest: &Guest, vlan: u16, address: &str) -> Result<()> {
    let port = format!("t-{}", guest.name());
    let netns = guest.inside()?.path().display().to_string();
    let netns = netns.trim_start_matches("/run/netns/");
    host.inside().ip(&format!("link add {port} up type veth peer name eth1 netns {netns}"))?;
    guest.ip(&format!("address add {address}/24 dev eth1"))?;
    guest.ip("link set eth1 up")?;
    pipewright_tests::process::output(guest.inside()?.command("ethtool")?.args(["-K", "eth1", "tx", "off"]))?;
    host.ovs()?.vsctl(&format!("add-port ovs0 {port} tag={vlan}")).map(drop)
}

fn host_with_switch(lab: &Lab, name: &str) -> Result<std::sync::Arc<Host>> {
    let host = lab.host(name)?;
    host.ovs()?.add_bridge("ovs0")?;
    host.ovs()?.vsctl("add-port ovs0 eth1")?;
    Ok(host)
}

#[test]
fn two_hosts_reach_each_other_over_the_fabric_until_it_is_cut() -> Result<()> {
    needs!(Root);
    let lab = Lab::new()?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    a.inside().ip("address add 192.0.2.1/24 dev eth1")?;
    b.inside().ip("address add 192.0.2.2/24 dev eth1")?;

    let second: IpAddr = SECOND.parse()?;
    assert_eq!(reach(a.inside(), b.inside(), second)?, Reach::BOTH);

    lab.fabric().cut(&b)?;
    assert_eq!(reach(a.inside(), b.inside(), second)?, Reach::NEITHER);
    lab.fabric().mend(&b)?;
    assert_eq!(reach(a.inside(), b.inside(), second)?, Reach::BOTH);
    lab.finish()
}

#[test]
fn one_vlan_spans_two_switches_and_two_vlans_stay_apart() -> Result<()> {
    needs!(Root, Ovs);
    let lab = Lab::new()?;
    let (a, b) = (host_with_switch(&lab, "a")?, host_with_switch(&lab, "b")?);
    let (red_a, red_b, blue_b) = (a.guest("red")?, b.guest("red")?, b.guest("blue")?);
    plug(&a, &red_a, 100, FIRST)?;
    plug(&b, &red_b, 100, SECOND)?;
    plug(&b, &blue_b, 200, "192.0.2.3")?;

    let (from, second) = (red_a.inside()?, SECOND.parse()?);
    assert_eq!(reach(&from, &red_b.inside()?, second)?, Reach::BOTH);
    assert_eq!(reach(&from, &blue_b.inside()?, "192.0.2.3".parse()?)?, Reach::NEITHER);
    lab.finish()
}

#[test]
fn an_address_of_the_wrong_guest_counts_as_not_reached_by_tcp() -> Result<()> {
    needs!(Root);
    let lab = Lab::new()?;
    let (a, b, c) = (lab.host("a")?, lab.host("b")?, lab.host("c")?);
    a.inside().ip("address add 192.0.2.1/24 dev eth1")?;
    c.inside().ip("address add 192.0.2.2/24 dev eth1")?;

    let reached = reach(a.inside(), b.inside(), SECOND.parse()?)?;

    assert_eq!(reached, Reach { ping: true, tcp: false });
    lab.finish()
}

#[test]
fn a_container_runs_with_no_network_and_restarts_as_another_process() -> Result<()> {
    needs!(Root, Docker);
    let lab = Lab::new()?;
    let host = lab.host("a")?;
    let web = host.container("web")?;

    let links = web.inside()?.ip_json("link show")?;
    assert_eq!(links.iter().map(|link| link["ifname"].clone()).collect::<Vec<_>>(), ["lo"]);

    let before = web.inside()?.path().to_owned();
    web.restart()?;
    assert_ne!(before, web.inside()?.path());
    assert!(web.ip("link show lo")?.contains("UP"));
    lab.finish()
}

#[test]
fn a_process_is_a_guest_until_it_is_killed() -> Result<()> {
    needs!(Root);
    let lab = Lab::new()?;
    let guest = lab.host("a")?.process_guest("job")?;
    assert!(guest.reference().starts_with("pid:"));
    assert!(guest.inside()?.has_link("lo")?);

    guest.kill()?;

    assert!(guest.inside().is_err());
    lab.finish()
}

#[test]
fn a_killed_switch_comes_back_with_its_ports() -> Result<()> {
    use pipewright_tests::ovs::Daemon;
    needs!(Root, Ovs);
    let lab = Lab::new()?;
    let host = host_with_switch(&lab, "a")?;
    let ovs = host.ovs()?;

    for daemon in [Daemon::Switch, Daemon::Database] {
        ovs.kill9(daemon)?;
        assert!(ovs.vsctl("--timeout=1 add-br ovs9").is_err());
        ovs.start_daemon(daemon)?;
        assert_eq!(ovs.vsctl("list-ports ovs0")?.trim(), "eth1");
        ovs.vsctl("--if-exists del-br ovs9")?;
    }
    lab.finish()
}
