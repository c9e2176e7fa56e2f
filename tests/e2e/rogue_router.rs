//! Guests that play the router: the host takes no address and no route from them.

use std::net::{Ipv6Addr, SocketAddrV6};

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::netns::Inside;
use pipewright_tests::process::output;
use pipewright_tests::{Lab, needs};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket, sockopt};

use crate::fleet_scene::{FleetScene, fleet};
use crate::scene::{FOREIGN, Scene, until};

const PREFIX: &str = "2001:db8:bad:";
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// A router for half an hour (RFC 4861 §4.2), and a prefix for addresses and on the link (§4.6.2).
const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
const PREFIX_INFORMATION: [u8; 32] = [
    3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0, 0x20, 0x01, 0x0d, 0xb8, 0x0b, 0xad, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0,
];

/// Two router advertisements from a link: when the second one is heard, the first one has been heeded.
fn advertise(rogue: &Inside, link: &str) -> Result<()> {
    rogue.ip(&format!("address replace fe80::bad/64 dev {link} nodad"))?;
    rogue.act(|| {
        let socket = socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6))?;
        // Receivers drop what came through a router.
        sockopt::set_ipv6_multicast_hops(&socket, 255)?;
        let index = rustix::net::netdevice::name_to_index(&socket, link)?;
        let message = [&ADVERTISEMENT[..], &PREFIX_INFORMATION].concat();
        for _ in 0..2 {
            sendto(&socket, &message, SendFlags::empty(), &SocketAddrV6::new(ALL_NODES, 0, 0, index))?;
        }
        Ok(())
    })
}

/// How many router advertisements have come to a link's owner.
fn heard(host: &Inside, link: &str) -> Result<u64> {
    let text = output(host.command("cat")?.arg(format!("/proc/net/dev_snmp6/{link}")))?;
    let line = text.lines().find(|line| line.starts_with("Icmp6InRouterAdvertisements"));
    Ok(line.and_then(|line| line.split_whitespace().nth(1)).map_or(0, |count| count.parse().unwrap_or(0)))
}

/// Has the rogue advertise itself until the host's link has got it.
fn comes_to(host: &Inside, link: &str, (rogue, from): (&Inside, &str)) -> Result<()> {
    let before = heard(host, link)?;
    until(&format!("advertisements come to {link}"), || {
        advertise(rogue, from)?;
        Ok(heard(host, link)? >= before + 2)
    })
}

fn routes_of_routers(host: &Inside) -> Result<String> {
    host.ip("-6 route show proto ra")
}

/// Advertisements come to a link of the host and change nothing. Were the link to heed them, they would.
fn changes_nothing(host: &Inside, link: &str, rogue: (&Inside, &str)) -> Result<()> {
    comes_to(host, link, rogue)?;

    let addresses = host.ip("-6 address show")?;
    ensure!(!addresses.contains(PREFIX), "{link} has an address of the rogue's: {addresses}");
    let routes = host.ip("-6 route show table all")?;
    ensure!(!routes.contains(PREFIX) && !routes.contains("proto ra"), "{link} has a route: {routes}");
    for setting in ["accept_ra", "autoconf", "accept_redirects"] {
        assert_eq!(read(host, link, setting)?, "0", "{setting} of {link}");
    }

    heed(host, link)?;
    comes_to(host, link, rogue)?;
    ensure!(routes_of_routers(host)?.contains(link), "the story proves nothing: {link} heeds no router");
    Ok(())
}

fn read(host: &Inside, link: &str, setting: &str) -> Result<String> {
    let path = format!("/proc/sys/net/ipv6/conf/{link}/{setting}");
    Ok(output(host.command("cat")?.arg(path))?.trim().to_owned())
}

/// A default route tells as much as an address, which would keep a bridge from being released.
fn heed(host: &Inside, link: &str) -> Result<()> {
    output(host.command("sysctl")?.args(["-q", "-w", &format!("net/ipv6/conf/{link}/accept_ra=1")])).map(drop)
}

#[test]
fn a_link_that_nobody_deafened_gives_the_host_the_rogues_address() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (host, guest) = (scene.host.inside(), scene.host.guest("web")?);
    let name = guest.reference().trim_start_matches("netns:").to_owned();
    host.ip(&format!("link add by-hand type veth peer name eth1 netns {name}"))?;
    host.ip("link set by-hand up")?;
    guest.ip("link set eth1 up")?;

    comes_to(host, "by-hand", (&guest.inside()?, "eth1"))?;

    ensure!(host.ip("-6 address show dev by-hand")?.contains(PREFIX));
    ensure!(routes_of_routers(host)?.contains("by-hand"));
    host.ip("link del by-hand")?;
    scene.lab.finish()
}

#[test]
fn a_guest_on_a_linux_bridge_of_ours_is_no_router_of_the_hosts() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", guest.reference()))?;

    changes_nothing(scene.host.inside(), "br0", (&guest.inside()?, "eth1"))?;

    scene.ctl(&format!("detach {}", guest.reference()))?;
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_bridge_of_somebody_else_hears_whom_it_heard() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (host, guest) = (scene.host.inside(), scene.host.guest("web")?);
    host.ip("link add br7 up type bridge")?;
    scene.ctl(&format!("attach br7 {} --ip 192.0.2.10/24", guest.reference()))?;

    comes_to(host, "br7", (&guest.inside()?, "eth1"))?;

    ensure!(host.ip("-6 address show dev br7")?.contains(PREFIX));
    scene.ctl(&format!("detach {}", guest.reference()))?;
    host.ip("link del br7")?;
    scene.lab.finish()
}

#[test]
fn a_guest_on_open_vswitch_is_no_router_of_the_hosts() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (host, guest) = (scene.host.inside(), scene.host.guest("web")?);
    // Frames without a tag, which the bridge's own link hears.
    let attach =
        |bridge: &str| format!("attach {bridge} {} --trunk all --host-ifname web0", guest.reference());
    scene.ctl(&format!("{} --ip 192.0.2.10/24", attach("ovs0")))?;
    host.ip("link set ovs0 up")?;
    let rogue = guest.inside()?;

    changes_nothing(host, "ovs0", (&rogue, "eth1"))?;
    host.ip("link set ovs0 down")?;
    // The kernel's datapath takes what comes to a port; the userspace one looks on while the host hears it, too.
    if host.ip_json("link show web0")?.iter().all(|link| link["master"].is_null()) {
        changes_nothing(host, "web0", (&rogue, "eth1"))?;
    }
    scene.ctl(&format!("detach {}", guest.reference()))?;

    // Of a bridge of somebody else only the port is ours.
    host.ip(&format!("link set {FOREIGN} up"))?;
    scene.ctl(&format!("{} --ip 192.0.2.10/24", attach(FOREIGN)))?;
    comes_to(host, FOREIGN, (&rogue, "eth1"))?;
    ensure!(host.ip(&format!("-6 address show dev {FOREIGN}"))?.contains(PREFIX));
    scene.ctl(&format!("detach {}", guest.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_guest_that_is_plugged_into_the_host_is_no_router_of_the_hosts() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;
    scene.ctl(&format!(
        "attach host {} --ip 192.0.2.2/31 --host-ip 192.0.2.3/31 --host-ifname web0",
        guest.reference()
    ))?;

    changes_nothing(scene.host.inside(), "web0", (&guest.inside()?, "eth1"))?;

    scene.ctl(&format!("detach {}", guest.reference()))?;
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_guest_on_a_fleets_switch_is_no_router_of_the_hosts() -> Result<()> {
    needs!(Root, Ovs);
    let scene = FleetScene::of(&["a"])?.with_guests(&["a/one"])?;
    let switches = "br0: { kind: linux, hosts: [a] }";
    let file = scene.file("lab", switches, "flat: { switch: br0, subnet: 192.0.2.0/24 }", &[])?;
    fleet("apply --yes", &file)?.ok()?;
    let (host, guest) = (scene.host("a")?.inside(), scene.guest("one")?);
    // Not by an attach, which would deafen the bridge itself.
    let name = guest.reference().trim_start_matches("netns:").to_owned();
    host.ip(&format!("link add by-hand type veth peer name eth1 netns {name}"))?;
    host.ip("link set by-hand master br0 up")?;
    guest.ip("link set eth1 up")?;

    changes_nothing(host, "br0", (&guest.inside()?, "eth1"))?;

    host.ip("link del by-hand")?;
    fleet("destroy --yes", &file)?.ok()?;
    scene.lab.finish()
}

#[test]
fn a_guest_that_the_host_reaches_on_its_nic_is_no_router_of_the_hosts() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    let (host, guest) = (scene.host.inside(), scene.host.guest("web")?);
    host.ip("address add 192.0.2.1/24 dev eth1")?;
    scene.ctl(&format!("attach eth1 {} --ip 192.0.2.10/24 --host-reach", guest.reference()))?;
    let links = host.ip_json("-d link show")?;
    let shim = links.iter().find(|link| link["linkinfo"]["info_kind"] == "macvlan");
    let shim = shim.and_then(|link| link["ifname"].as_str()).context("the host has a macvlan")?;

    changes_nothing(host, shim, (&guest.inside()?, "eth1"))?;

    scene.ctl(&format!("detach {}", guest.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_guest_of_another_host_is_no_router_on_a_sub_interface_of_ours() -> Result<()> {
    needs!(Root, Macvlan, Vlan);
    let lab = Lab::new()?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let agents = [a.agent(Default::default())?, b.agent(Default::default())?];
    let guests = [a.guest("web")?, b.guest("db")?];
    for (agent, guest) in agents.iter().zip(&guests) {
        agent.ctl(&format!("attach eth1 {} --vlan 100 --no-ip", guest.reference()))?.ok()?;
    }

    changes_nothing(a.inside(), "eth1.100", (&guests[1].inside()?, "eth1"))?;

    for (agent, guest) in agents.iter().zip(&guests) {
        agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
    }
    lab.finish()
}
