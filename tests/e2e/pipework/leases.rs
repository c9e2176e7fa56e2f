//! The forms that ask a DHCP server. pipework runs a client for them; here the agent keeps the lease.

use std::sync::Arc;

use anyhow::Result;
use pipewright_tests::{DhcpServer, Guest, Snapshot, needs};

use super::{Stage, addresses, link};

const LEASE: &str = "192.0.2.100/24";

/// A server that gives out one address, on whatever its link leads to.
fn serve(stage: &Stage, router: &Arc<Guest>) -> Result<DhcpServer> {
    let dir = stage.host.dir().join("dnsmasq");
    DhcpServer::dnsmasq(&router.inside()?, &dir, "192.0.2.100,192.0.2.100,255.255.255.0,2m", "")
}

#[test]
fn each_clients_name_gets_an_address_and_options_are_heard() -> Result<()> {
    needs!(Root, Docker, Dhcp, Macvlan);
    let stage = Stage::plain()?;
    let (web, router) = (stage.host.container("web")?, stage.host.guest("router")?);
    stage.agent.ctl(&format!("attach eth1 {} --ip 192.0.2.1/24", router.reference()))?.ok()?;
    let server = serve(&stage, &router)?;
    let resolver = std::fs::read("/etc/resolv.conf")?;

    // README, "DHCP" and "DHCP Options". The server has one address, so each lease was given back before the next.
    for form in [
        "dhclient",
        "udhcpc",
        "udhcpc-f",
        "dhcpcd",
        "dhcp",
        "dhcp:-f",
        "dhcp:-x hostname:db",
        "dhclient-f:-v",
    ] {
        stage.pipework_words(&["eth1", "$web", form])?;
        assert_eq!(addresses(&web, "eth1")?, [LEASE], "{form}");
        stage.agent.ctl(&format!("detach {}", web.reference()))?.ok()?;
    }

    assert!(server.log().contains(" db"), "{}", server.log());
    // pipework's clients write it.
    assert_eq!(std::fs::read("/etc/resolv.conf")?, resolver);
    drop(server);
    stage.agent.ctl(&format!("detach {}", router.reference()))?.ok()?;
    stage.end()
}

#[test]
fn a_mac_address_and_a_vlan_go_with_a_lease() -> Result<()> {
    needs!(Root, Ovs, Docker, Dhcp);
    let stage = Stage::with_ovs()?;
    let (worker, router) = (stage.host.container("zerorpcworker")?, stage.host.guest("router")?);
    let before = Snapshot::take(&stage.host)?;

    // README, "Specify a custom MAC address" and "Virtual LAN".
    for (bridge, vlan, line, mac) in [
        ("br0", "", "br0 $zerorpcworker dhcp fa:de:b0:99:52:1c", Some("fa:de:b0:99:52:1c")),
        ("ovsbr0", "--vlan 10", "ovsbr0 $zerorpcworker dhcp @10", None),
    ] {
        stage.agent.ctl(&format!("attach {bridge} {} {vlan} --ip 192.0.2.1/24", router.reference()))?.ok()?;
        let server = serve(&stage, &router)?;
        stage.pipework(line)?;
        assert_eq!(addresses(&worker, "eth1")?, [LEASE], "{line}");
        if let Some(mac) = mac {
            assert_eq!(link(&worker, "eth1")?["address"], mac);
        }
        for guest in [&worker, &router] {
            stage.agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
        }
        drop(server);
    }

    before.wait_same(&stage.host)?;
    stage.end()
}
