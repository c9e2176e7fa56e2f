//! A whole NIC in a guest, and back: with its name, MAC address, MTU, flags, settings, addresses and routes as they were. Here
//! the NIC is a veth; what only hardware does is told in `direct_hardware.rs`.

use std::net::TcpListener;

use anyhow::{Result, ensure};
use pipewright_tests::netns::Inside;
use pipewright_tests::{Guest, Host, Reach, needs, reach};
use serde_json::{Value, json};

use crate::macvlan::{address, link};
use crate::refused_step::unchanged;
use crate::scene::{FOREIGN, Scene, until, with_default_routes};

/// Gives a NIC all that has to come back.
pub(crate) fn furnish(inside: &Inside, nic: &str) -> Result<()> {
    for words in [
        "link set NIC txqueuelen 500",
        "link set NIC mtu 1400",
        "link set NIC alias uplink-of-the-office",
        "link property add dev NIC altname a-name-that-is-longer-than-a-link-name altname lan0",
        "link set NIC promisc on",
        "link set NIC up",
        "address add 192.0.2.1/24 brd + dev NIC label NIC:lan",
        "address add 192.0.2.3/24 dev NIC",
        "address add 198.51.100.1/32 dev NIC noprefixroute",
        "address add 203.0.113.1 peer 203.0.113.2 dev NIC valid_lft 100000 preferred_lft 50000",
        "address add 2001:db8::1/64 dev NIC nodad",
        "address add 2001:db8:7::1/64 dev NIC nodad metric 77",
        "route add 10.1.0.0/16 via 192.0.2.254 dev NIC metric 50 proto static src 192.0.2.3 mtu 1300",
        "route add 10.2.0.0/16 nexthop via 192.0.2.253 dev NIC weight 2 nexthop via 192.0.2.252 dev NIC",
        "route add 10.3.0.0/16 dev NIC table 77 scope link",
        "route add default via 192.0.2.254 dev NIC table 77",
        "-6 route add 2001:db8:1::/48 via 2001:db8::254 dev NIC metric 5 proto 99 src 2001:db8::1",
        "-6 route add 2001:db8:2::/48 nexthop via 2001:db8::253 dev NIC nexthop via 2001:db8::252 dev NIC",
        "neighbour add 192.0.2.77 lladdr 02:00:5e:10:00:77 dev NIC nud permanent",
        "neighbour add 2001:db8::77 lladdr 02:00:5e:10:00:77 dev NIC nud permanent",
    ] {
        inside.ip(&words.replace("NIC", nic))?;
    }
    Ok(())
}

const SETTINGS: [(&str, &str); 4] = [
    ("net.ipv4.conf.NIC.arp_ignore", "1"),
    ("net.ipv6.conf.NIC.accept_ra", "0"),
    ("net.ipv6.conf.NIC.hop_limit", "61"),
    ("net.ipv4.neigh.NIC.ucast_solicit", "5"),
];

fn sysctl(inside: &Inside, words: &[String]) -> Result<String> {
    let output = inside.command("sysctl")?.args(words).output()?;
    ensure!(output.status.success(), "sysctl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

pub(crate) fn set(inside: &Inside, nic: &str) -> Result<()> {
    let set = SETTINGS.map(|(name, value)| format!("{}={value}", name.replace("NIC", nic)));
    sysctl(inside, &[vec!["-q".to_owned(), "-w".to_owned()], set.to_vec()].concat()).map(drop)
}

pub(crate) fn are_set(inside: &Inside, nic: &str) -> Result<bool> {
    for (name, value) in SETTINGS {
        if sysctl(inside, &["-n".to_owned(), name.replace("NIC", nic)])? != value {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The order of addresses tells which are secondary, and a snapshot does not tell the order.
pub(crate) fn in_order(inside: &Inside, nic: &str) -> Result<Vec<Value>> {
    let shown = inside.ip_json(&format!("address show dev {nic}"))?;
    let addresses = shown.first().and_then(|link| link["addr_info"].as_array().cloned()).unwrap_or_default();
    Ok(addresses.iter().map(|address| address["local"].clone()).collect())
}

fn line(guest: &Guest, more: &str) -> String {
    format!("attach eth1 {} --kind direct {more}", guest.reference())
}

fn peer(scene: &Scene) -> Result<std::sync::Arc<Host>> {
    let peer = scene.lab.host("peer")?;
    peer.inside().ip("address add 192.0.2.20/24 dev eth1")?;
    peer.inside().ip("address add 2001:db8::20/64 dev eth1 nodad")?;
    Ok(peer)
}

#[test]
fn a_nic_serves_its_guest_and_comes_back_as_it_was() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (guest, peer) = (scene.host.guest("web")?, peer(&scene)?);
    let host = scene.host.inside();
    furnish(host, "eth1")?;
    set(host, "eth1")?;
    with_default_routes(&guest)?;
    let (before, order) = (scene.settled()?, in_order(host, "eth1")?);
    let mac = host.ip_json("link show dev eth1")?[0]["address"].clone();

    for more in ["--ifname eth1", "--ifname nic7 --mac 02:00:5e:10:00:99 --mtu 1450"] {
        let words = "--ip 192.0.2.10/24 --ip 2001:db8::10/64 --gateway 192.0.2.20 --gateway 2001:db8::20";
        scene.ctl(&line(&guest, &format!("{words} {more}")))?;
        let name = more.split(' ').nth(1).unwrap_or_default();

        assert!(!host.has_link("eth1")?);
        let inside = guest.inside()?;
        assert_eq!(reach(&inside, peer.inside(), address("192.0.2.20"))?, Reach::BOTH);
        assert_eq!(reach(&inside, peer.inside(), address("2001:db8::20"))?, Reach::BOTH);
        let made = link(&guest, name)?;
        let is_plain = !more.contains("--mac");
        assert_eq!(made["address"], if is_plain { mac.clone() } else { json!("02:00:5e:10:00:99") });
        assert_eq!(made["mtu"], if is_plain { 1400 } else { 1450 });
        let listed = &scene.agent.list()?[0];
        assert_eq!((&listed["spec"]["kind"], &listed["host_ifname"]), (&json!("KIND_DIRECT"), &json!("")));
        assert_eq!(listed["observed"]["present"], true);
        assert_eq!(listed["mac"], made["address"]);
        // A second time it is there already.
        scene.ctl(&line(&guest, &format!("{words} {more}")))?;

        scene.ctl(&format!("detach {}", guest.reference()))?;
        unchanged(more, &before, &scene.settled()?);
        assert_eq!(in_order(host, "eth1")?, order, "{more}");
        assert!(are_set(host, "eth1")?, "{more}");
    }
    scene.lab.finish()
}

#[test]
fn a_nic_that_was_down_and_bare_is_down_and_bare_again() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let host = scene.host.inside();
    let peer = scene.lab.host("peer")?;
    host.ip(&format!("link add nic1 type veth peer name peer1 netns {}", peer.netns().name()))?;
    peer.inside().ip("link set peer1 up")?;
    host.ip("address add 192.0.2.1/24 dev nic1")?;
    let before = scene.snapshot()?;

    scene.ctl(&format!("attach nic1 {} --kind direct --no-ip", guest.reference()))?;
    scene.ctl(&format!("detach {}", guest.reference()))?;

    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_nic_that_its_guest_renamed_and_stripped_of_half_its_marks_comes_back() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    furnish(scene.host.inside(), "eth1")?;
    let before = scene.settled()?;

    // What is not found under its name and with its mark any more is not in the guest any more.
    for strip in ["group 0", "alias mine name mine0"] {
        scene.ctl(&line(&guest, "--no-ip"))?;
        guest.ip("link set eth1 down")?;
        guest.ip(&format!("link set dev eth1 address 02:00:5e:10:00:66 mtu 1280 promisc off {strip}"))?;
        until("the NIC is as it was", || Ok(before.diff(&scene.settled()?).is_empty()))?;
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    scene.lab.finish()
}

#[test]
fn a_nic_that_is_in_use_is_refused_with_who_uses_it() -> Result<()> {
    needs!(Root, Ovs, Macvlan);
    let scene = Scene::ovs()?;
    let (guest, other) = (scene.host.guest("web")?, scene.host.guest("db")?);
    let host = scene.host.inside();
    host.ip("link add peer1 type veth peer name nic1")?;
    host.ip("link add br7 type bridge")?;
    for link in ["peer1", "nic1", "br7"] {
        host.ip(&format!("link set {link} addrgenmode none"))?;
        host.ip(&format!("link set {link} up"))?;
    }
    let attach = |nic: &str| format!("attach {nic} {} --kind direct --no-ip", guest.reference());
    let refused = |nic: &str, reason: &str, said: &str| -> Result<()> {
        let before = scene.snapshot()?;
        for more in ["", " --dry-run"] {
            let answer = scene.agent.ctl(&format!("{}{more}", attach(nic)))?;
            ensure!(answer.code == 1, "{nic} was taken although {said}");
            ensure!(answer.stderr.contains(reason) && answer.stderr.contains(said), "{}", answer.stderr);
        }
        unchanged(said, &before, &scene.snapshot()?);
        Ok(())
    };

    refused("nosuch0", "[NO_UPLINK]", "nosuch0")?;
    refused("br7", "[NOT_SUPPORTED_HERE]", "netns-local")?;
    refused(FOREIGN, "[NOT_SUPPORTED_HERE]", "Open vSwitch")?;

    host.ip("link set nic1 master br7")?;
    until("the bridge is up", || Ok(host.ip_json("link show dev br7")?[0]["operstate"] == "UP"))?;
    refused("nic1", "[UPLINK_BUSY]", "bridge br7")?;
    host.ip("link del br7")?;

    host.ip("link add link nic1 name mv0 type macvlan")?;
    refused("nic1", "[UPLINK_BUSY]", "macvlan mv0")?;
    host.ip("link del mv0")?;

    scene.ctl(&format!("attach nic1 {} --no-ip", other.reference()))?;
    refused("nic1", "[UPLINK_BUSY]", "macvlan of attachment")?;
    scene.ctl(&format!("detach {}", other.reference()))?;

    host.ip("address add 192.0.2.1/24 dev nic1")?;
    host.ip("route add default via 192.0.2.254 dev nic1 metric 900")?;
    refused("nic1", "[UPLINK_BUSY]", "the host's default route")?;
    host.ip("route del default")?;

    host.ip("address add 203.0.113.1/24 dev eth1")?;
    host.ip("route add 10.2.0.0/16 nexthop via 192.0.2.253 dev nic1 nexthop via 203.0.113.2 dev eth1")?;
    refused("nic1", "[UPLINK_BUSY]", "route \"10.2.0.0/16")?;
    host.ip("route del 10.2.0.0/16")?;
    host.ip("nexthop add id 7 via 192.0.2.253 dev nic1")?;
    host.ip("route add 10.2.0.0/16 nhid 7")?;
    refused("nic1", "[UPLINK_BUSY]", "next hop object")?;
    host.ip("nexthop del id 7")?;

    let service = host.act(|| Ok(TcpListener::bind("192.0.2.1:7443")?))?;
    refused("nic1", "[UPLINK_BUSY]", "a service on 192.0.2.1 port 7443")?;
    drop(service);

    ensure!(
        host.command("tc")?.args("qdisc add dev nic1 root handle 1: pfifo".split(' ')).status()?.success()
    );
    refused("nic1", "[UPLINK_BUSY]", "qdisc pfifo")?;
    ensure!(host.command("tc")?.args("qdisc del dev nic1 root".split(' ')).status()?.success());

    // Now nobody uses it; and while a guest has it, nobody else gets it.
    scene.ctl(&attach("nic1"))?;
    for kind in ["direct", "macvlan"] {
        let line = format!("attach nic1 {} --kind {kind} --no-ip", other.reference());
        let answer = scene.agent.ctl(&line)?;
        ensure!(
            answer.stderr.contains("[UPLINK_BUSY]") && answer.stderr.contains("is lent to guest"),
            "{}",
            answer.stderr
        );
    }
    scene.ctl(&format!("detach {}", guest.reference()))?;
    scene.lab.finish()
}

#[test]
fn two_guests_that_want_one_nic_at_the_same_time_get_it_once() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guests = [scene.host.guest("one")?, scene.host.guest("two")?, scene.host.guest("three")?];
    let before = scene.snapshot()?;

    let done = std::thread::scope(|scope| {
        let attach = |guest: &Guest| scene.agent.ctl(&line(guest, "--no-ip"));
        let asked: Vec<_> = guests.iter().map(|guest| scope.spawn(move || attach(guest))).collect();
        asked.into_iter().map(|asked| asked.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?;

    let made = done.iter().filter(|answer| answer.code == 0).count();
    assert_eq!(made, 1, "{done:?}");
    for answer in done.iter().filter(|answer| answer.code != 0) {
        assert!(answer.stderr.contains("[UPLINK_BUSY]"), "{}", answer.stderr);
    }
    for guest in &guests {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_nic_is_found_by_its_mac_address_whatever_its_name() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;
    let mac = scene.host.inside().ip_json("link show dev eth1")?[0]["address"].clone();
    let mac = mac.as_str().unwrap_or_default().to_uppercase();

    for _ in 0..2 {
        scene.ctl(&format!("attach mac:{mac} {} --kind direct --no-ip", guest.reference()))?;
        assert!(!scene.host.inside().has_link("eth1")?);
        let other = scene.agent.ctl(&format!("attach mac:{mac} netns:nosuch --kind direct --no-ip"))?;
        assert_eq!(other.code, 1, "{}", other.stdout);
        scene.ctl(&format!("detach {}", guest.reference()))?;
        before.assert_same(&scene.snapshot()?);
    }
    scene.lab.finish()
}

#[test]
fn a_virtual_nic_dies_with_its_guest_and_nothing_of_ours_is_left() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.process_guest("web")?;
    scene.ctl(&line(&guest, "--ip 192.0.2.10/24"))?;

    guest.kill()?;

    until("the record is gone", || Ok(scene.agent.list()?.is_empty()))?;
    scene.ctl(&format!("detach {}", guest.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_name_that_was_taken_meanwhile_is_said_and_the_nic_comes_back_once_it_is_free() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    furnish(scene.host.inside(), "eth1")?;
    let before = scene.settled()?;
    scene.ctl(&line(&guest, "--no-ip --ifname nic7"))?;
    scene.host.inside().ip("link add eth1 type veth peer name other1")?;

    let answer = scene.agent.ctl(&format!("detach {}", guest.reference()))?;
    assert!(answer.stderr.contains("[ROLLBACK_INCOMPLETE]"), "{}", answer.stderr);
    assert!(answer.stderr.contains("the host has another link eth1"), "{}", answer.stderr);
    scene.host.inside().ip("link del eth1")?;
    scene.ctl(&format!("detach {}", guest.reference()))?;

    unchanged("once it is free", &before, &scene.settled()?);
    scene.lab.finish()
}

#[test]
fn the_sub_interface_of_a_nic_is_lent_when_it_is_there_and_born_when_it_is_not() -> Result<()> {
    needs!(Root, Vlan);
    let scene = Scene::linux()?;
    let (guest, peer) = (scene.host.guest("web")?, peer(&scene)?);
    for words in ["add link eth1 name eth1.10 type vlan id 10", "set eth1.10 up"] {
        peer.inside().ip(&format!("link {words}"))?;
    }
    peer.inside().ip("address add 198.51.100.20/24 dev eth1.10")?;
    let host = scene.host.inside();

    for is_there in [false, true] {
        if is_there {
            host.ip("link add link eth1 name office type vlan id 10")?;
            host.ip("link set office addrgenmode none")?;
            host.ip("link set office up")?;
            host.ip("address add 198.51.100.1/24 dev office")?;
        }
        let before = scene.snapshot()?;
        scene.ctl(&line(&guest, "--vlan 10 --ip 198.51.100.10/24"))?;
        let seen = reach(&guest.inside()?, peer.inside(), address("198.51.100.20"))?;
        assert_eq!(seen, Reach::BOTH, "there: {is_there}");
        assert!(host.has_link("eth1")? && !host.has_link("office")?);
        scene.ctl(&format!("detach {}", guest.reference()))?;
        unchanged(&format!("there: {is_there}"), &before, &scene.snapshot()?);
    }
    scene.lab.finish()
}

#[test]
fn a_lent_nic_outlives_the_agent_and_comes_back_after_its_next_start() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (guest, peer) = (scene.host.guest("web")?, peer(&scene)?);
    furnish(scene.host.inside(), "eth1")?;
    let before = scene.settled()?;
    scene.ctl(&line(&guest, "--ip 192.0.2.10/24"))?;

    scene.restart()?;
    assert_eq!(reach(&guest.inside()?, peer.inside(), address("192.0.2.20"))?, Reach::BOTH);
    assert_eq!(scene.agent.list()?.len(), 1);
    scene.ctl(&format!("detach {}", guest.reference()))?;

    unchanged("after the restart", &before, &scene.settled()?);
    scene.lab.finish()
}
