//! Addresses from servers over links of other kinds, and by attaches that end half way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pipewright_tests::{DhcpServer, Guest, Reach, needs, reach};

use crate::ipv6_auto::deafen;
use crate::refused_step::{each_refused_step_leaves_nothing, each_refused_undo_is_named_and_made_good};
use crate::scene::Scene;
use crate::sudden_death::{dies_in_a_detach, dies_in_an_attach};

const SOON: Duration = Duration::from_secs(60);
const SERVER: &str = "192.0.2.1";
const RANGE: &str = "192.0.2.50,192.0.2.99,255.255.255.0,10m";
const RANGES: &str = "--enable-ra --dhcp-range=2001:db8::100,2001:db8::1ff,slaac,64,10m";

fn a_lease_comes_and_goes(scene: Scene, uplink: &str) -> Result<()> {
    let (router, guest) = (scene.host.guest("router")?, scene.host.guest("web")?);
    deafen(&router.inside()?)?;
    scene.ctl(&format!("attach {uplink} {} --ip {SERVER}/24 --ip 2001:db8::1/64", router.reference()))?;
    scene.settled()?;
    let dir = scene.host.dir().join("dnsmasq");
    let server = DhcpServer::dnsmasq(&router.inside()?, &dir, RANGE, RANGES)?;
    let before = scene.settled()?;

    scene.ctl(&format!("attach {uplink} {} --dhcp --slaac --dhcp6", guest.reference()))?;

    let list = scene.agent.list()?;
    let own = list.iter().find(|one| one["spec"]["guest"] == guest.reference()).context("it is listed")?;
    for (lease, start) in [("lease", "192.0.2."), ("lease6", "2001:db8::1")] {
        ensure!(own[lease]["address"].as_str().is_some_and(|address| address.starts_with(start)), "{own}");
    }
    assert_eq!(reach(&guest.inside()?, &router.inside()?, SERVER.parse()?)?, Reach::BOTH);
    scene.ctl(&format!("detach {}", guest.reference()))?;
    server.wait_line("DHCPRELEASE", SOON)?;
    before.assert_same(&scene.settled()?);
    drop(server);
    scene.ctl(&format!("detach {}", router.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_macvlan_gets_its_addresses_from_servers_on_the_nics_network() -> Result<()> {
    needs!(Root, Dhcp, Macvlan);
    a_lease_comes_and_goes(Scene::linux()?, "eth1")
}

#[test]
fn a_port_of_open_vswitch_gets_its_addresses_from_servers_in_its_vlan() -> Result<()> {
    needs!(Root, Dhcp, Ovs);
    a_lease_comes_and_goes(Scene::ovs()?, "ovs0 --vlan 100")
}

/// A server on a bridge of somebody else's.
fn served(scene: &Scene) -> Result<DhcpServer> {
    let inside = scene.host.inside();
    deafen(inside)?;
    for words in [
        "link add br7 type bridge",
        "link set br7 up",
        "address add 192.0.2.1/24 dev br7",
        "address add 2001:db8::1/64 dev br7 nodad",
    ] {
        inside.ip(words)?;
    }
    // Without a port a bridge has no carrier, and the server none to serve.
    for words in
        ["link add port7 type veth peer name other7", "link set port7 master br7 up", "link set other7 up"]
    {
        inside.ip(words)?;
    }
    scene.settled()?;
    DhcpServer::dnsmasq_on("br7", inside, &scene.host.dir().join("dnsmasq"), RANGE, RANGES)
}

/// An attach of a plan with all that waits for others on the network.
fn attach(guest: &Guest) -> String {
    let words = "--dhcp --slaac --dhcp6 --check-duplicates=quick --route 198.51.100.0/24@192.0.2.1";
    format!("attach br7 {} {words}", guest.reference())
}

#[test]
fn whichever_step_towards_a_lease_is_refused_nothing_is_left() -> Result<()> {
    needs!(Root, Dhcp);
    let scene = Scene::linux()?;
    let server = served(&scene)?;
    each_refused_step_leaves_nothing(&scene, attach)?;
    drop(server);
    scene.lab.finish()
}

#[test]
fn an_agent_killed_at_any_step_towards_a_lease_leaves_nothing_half_done() -> Result<()> {
    needs!(Root, Dhcp);
    let scene = Scene::linux()?;
    let server = served(&scene)?;
    dies_in_an_attach(&scene, attach)?;
    drop(server);
    scene.lab.finish()
}

#[test]
fn a_refused_undo_of_a_lease_is_named_and_the_next_detach_makes_it_good() -> Result<()> {
    needs!(Root, Dhcp);
    let scene = Scene::linux()?;
    let server = served(&scene)?;
    each_refused_undo_is_named_and_made_good(&scene, attach, 4)?;
    drop(server);
    scene.lab.finish()
}

#[test]
fn an_agent_killed_at_any_step_of_giving_back_a_lease_finishes_it_when_it_starts() -> Result<()> {
    needs!(Root, Dhcp);
    let scene = Scene::linux()?;
    let server = served(&scene)?;
    dies_in_a_detach(&scene, attach, 8)?;
    drop(server);
    scene.lab.finish()
}
