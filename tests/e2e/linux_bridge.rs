//! A guest on a linux bridge: what was asked for is there, passes frames at once, and goes without a trace.

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::netns::Inside;
use pipewright_tests::process::{command, output, run};
use pipewright_tests::{Guest, Reach, needs, reach};
use serde_json::Value;

use crate::scene::{Scene, until, with_default_routes};

#[test]
fn attach_and_detach_of_either_kind_leave_nothing() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let guest = scene.host.guest("web")?;
    with_default_routes(&guest)?;
    let before = scene.snapshot()?;

    for uplink in ["br0", "ovs0 --vlan 100", "ovs0 --trunk 100,200", "ovs0 --trunk all"] {
        scene.ctl(&format!(
            "attach {uplink} {} --ip 192.0.2.10/24 --ip 2001:db8::10/64 --gateway 192.0.2.1 --gateway fe80::1",
            guest.reference()
        ))?;
        assert_eq!(scene.agent.list()?.len(), 1);
        scene.ctl(&format!("detach {}", guest.reference()))?;
        assert_eq!(scene.agent.list()?.len(), 0);
        before.assert_same(&scene.snapshot()?);
    }
    scene.lab.finish()
}

/// The addresses of a link in use, without those that the kernel makes by itself.
fn addresses(inside: &Inside, link: &str) -> Result<Vec<String>> {
    let shown = inside.ip_json(&format!("address show dev {link}"))?;
    let all = shown[0]["addr_info"].as_array().context("a link shows its addresses")?;
    let text = |one: &Value| format!("{}/{}", one["local"].as_str().unwrap_or("?"), one["prefixlen"]);
    let asked = all.iter().filter(|one| one["scope"] == "global" && one["tentative"] != true);
    let mut asked: Vec<String> = asked.map(text).collect();
    asked.sort();
    Ok(asked)
}

#[test]
fn several_addresses_of_both_families_are_in_use_when_attach_answers() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (web, peer) = (scene.host.guest("web")?, scene.host.guest("peer")?);
    let before = scene.snapshot()?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.1/24 --ip 2001:db8::1/64", peer.reference()))?;

    let all = ["192.0.2.10/24", "192.0.2.11/24", "198.51.100.7/32", "2001:db8:1::10/128", "2001:db8::10/64"];
    scene.ctl(&format!("attach br0 {} --ip {}", web.reference(), all.join(" --ip ")))?;

    assert_eq!(addresses(&web.inside()?, "eth1")?, all);
    for address in ["192.0.2.1", "2001:db8::1"] {
        assert_eq!(reach(&web.inside()?, &peer.inside()?, address.parse()?)?, Reach::BOTH);
    }
    for guest in [&web, &peer] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }

    scene.ctl(&format!("attach br0 {} --no-ip", web.reference()))?;
    assert_eq!(addresses(&web.inside()?, "eth1")?, Vec::<String>::new());
    assert!(web.ip("link show eth1 up")?.contains("LOWER_UP"));
    scene.ctl(&format!("detach {}", web.reference()))?;
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_gateway_is_used_also_from_an_address_without_a_subnet() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (web, router) = (scene.host.guest("web")?, scene.host.guest("router")?);
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.1/24 --ip 2001:db8::1/64", router.reference()))?;
    // Behind the router, and the way back from there.
    for words in [
        "address add 203.0.113.99/32 dev lo",
        "address add 2001:db8:99::1/128 dev lo nodad",
        "route add 198.51.100.7 dev eth1",
        "-6 route add 2001:db8:7::7 dev eth1",
    ] {
        router.ip(words)?;
    }

    for ips in ["--ip 192.0.2.10/24 --ip 2001:db8::10/64", "--ip 198.51.100.7/32 --ip 2001:db8:7::7/128"] {
        scene.ctl(&format!(
            "attach br0 {} {ips} --gateway 192.0.2.1 --gateway 2001:db8::1",
            web.reference()
        ))?;
        for far in ["203.0.113.99", "2001:db8:99::1"] {
            assert_eq!(reach(&web.inside()?, &router.inside()?, far.parse()?)?, Reach::BOTH, "{ips} {far}");
        }
        scene.ctl(&format!("detach {}", web.reference()))?;
    }
    scene.ctl(&format!("detach {}", router.reference()))?;
    scene.lab.finish()
}

/// What `ip route` shows of the default routes, to the letter.
fn defaults(guest: &Guest) -> Result<String> {
    Ok(guest.ip("-4 -d route show default")? + &guest.ip("-6 -d route show default")?)
}

#[test]
fn the_default_route_that_was_there_is_back_to_the_letter_after_detach() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    with_default_routes(&guest)?;
    guest.ip("-4 route del default")?;
    guest.ip("-6 route del default")?;
    let variants = [
        ("-4", "via 203.0.113.1"),
        ("-4", "via 203.0.113.1 proto static src 203.0.113.10"),
        ("-4", "via 203.0.113.1 proto dhcp metric 100"),
        ("-4", "via 192.0.2.77 dev eth0 onlink mtu 1400 advmss 1300 initcwnd 20"),
        ("-4", "dev eth0 scope link"),
        ("-4", "nexthop via 203.0.113.1 weight 1 nexthop via 203.0.113.2 weight 3"),
        ("-6", "via 2001:db8:ffff::1"),
        ("-6", "via fe80::1 dev eth0 proto ra metric 1024 pref high"),
        ("-6", "via 2001:db8:ffff::1 proto static src 2001:db8:ffff::10 mtu 1400"),
        ("-6", "via 2001:db8:ffff::1 metric 2048"),
        ("-6", "via 2001:db8:ffff::1 proto static metric 100"),
        ("-6", "nexthop via 2001:db8:ffff::1 weight 1 nexthop via 2001:db8:ffff::2 weight 3"),
    ];

    for (family, route) in variants {
        guest.ip(&format!("{family} route add default {route}"))?;
        let before = (scene.snapshot()?, defaults(&guest)?);
        scene.ctl(&format!(
            "attach br0 {} --ip 192.0.2.10/24 --ip 2001:db8::10/64 --gateway 192.0.2.1 --gateway 2001:db8::1",
            guest.reference()
        ))?;
        for (family, far) in [("-4", "198.51.100.1"), ("-6", "2001:db8:99::1")] {
            let way = guest.ip(&format!("{family} route get {far}"))?;
            assert!(way.contains("dev eth1"), "instead of {route}: {way}");
        }
        scene.ctl(&format!("detach {}", guest.reference()))?;
        assert_eq!(defaults(&guest)?, before.1, "{family} {route}");
        before.0.assert_same(&scene.snapshot()?);
        guest.ip(&format!("{family} route flush default"))?;
    }
    scene.lab.finish()
}

#[test]
fn names_addresses_of_the_link_and_its_mtu_are_as_asked() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    scene.host.inside().ip("link add br7 mtu 1400 up type bridge")?;
    let seeded = output(command("sh")?.args(["-c", "echo web | md5sum"]))?;
    let seeded: Vec<&str> = (0..5).map(|n| &seeded[2 * n..2 * n + 2]).collect();
    let seeded = format!("02:{}", seeded.join(":"));
    // Words, name in the guest, MAC there, MTU.
    let cases = [
        ("br0 --mac 00:1b:21:3c:4d:5e", "eth1", Some("00:1b:21:3c:4d:5e"), 1500),
        ("br0 --mac U:web", "eth1", Some(seeded.as_str()), 1500),
        ("br0 --ifname net0 --mtu 1300", "net0", None, 1300),
        ("br7", "eth1", None, 1400),
        ("br7 --mtu 1280", "eth1", None, 1280),
    ];

    for (words, ifname, mac, mtu) in cases {
        let (uplink, options) = words.split_once(' ').unwrap_or((words, ""));
        let line =
            format!("-o json attach {uplink} {} --no-ip --host-ifname web0 {options}", guest.reference());
        let answer = scene.agent.ctl(&line)?.json()?;
        let link = &guest.inside()?.ip_json(&format!("link show {ifname}"))?[0];
        assert_eq!(link["mtu"], mtu, "{words}: {link}");
        assert_eq!(link["address"], answer["attachment"]["mac"], "{words}");
        assert!(mac.is_none_or(|mac| link["address"] == mac), "{words}: {link}");
        let host_end = &scene.host.inside().ip_json("link show web0")?[0];
        assert_eq!((&host_end["mtu"], &host_end["master"]), (&Value::from(mtu), &Value::from(uplink)));
        scene.ctl(&format!("detach {} --ifname {ifname}", guest.reference()))?;
    }
    scene.lab.finish()
}

#[test]
fn routes_lead_over_the_link_and_go_with_it() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;
    scene.ctl(&format!(
        "attach br0 {} --ip 192.0.2.10/24 --ip 2001:db8::10/64 --route 198.51.100.0/24 \
         --route 203.0.113.0/24@192.0.2.254 --route 2001:db8:1::/48@fe80::1 --route 2001:db8:2::/48@2001:db8::fe",
        guest.reference()
    ))?;

    let shown = guest.ip("-4 route show")? + &guest.ip("-6 route show")?;
    for route in [
        "198.51.100.0/24 dev eth1 scope link",
        "203.0.113.0/24 via 192.0.2.254 dev eth1",
        "2001:db8:1::/48 via fe80::1 dev eth1",
        "2001:db8:2::/48 via 2001:db8::fe dev eth1",
    ] {
        assert!(shown.contains(route), "{route} is not in\n{shown}");
    }
    scene.ctl(&format!("detach {}", guest.reference()))?;
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn ipv6_is_switched_on_for_the_link_alone_where_the_guest_has_it_off() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (web, peer) = (scene.host.guest("web")?, scene.host.guest("peer")?);
    let sysctl = |name: &str, value: &str| -> Result<String> {
        let file = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
        output(web.inside()?.command("sh")?.args(["-c", &format!("{value} {file}")]))
    };
    for name in ["all", "default"] {
        sysctl(name, "echo 1 >")?;
    }
    let before = scene.snapshot()?;

    scene.ctl(&format!("attach br0 {} --ip 2001:db8::1/64", peer.reference()))?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24 --ip 2001:db8::10/64", web.reference()))?;

    assert_eq!(reach(&web.inside()?, &peer.inside()?, "2001:db8::1".parse()?)?, Reach::BOTH);
    let others = [sysctl("all", "cat")?, sysctl("default", "cat")?, sysctl("lo", "cat")?];
    assert_eq!(others.map(|value| value.trim().to_owned()), ["1", "1", "1"]);
    for guest in [&web, &peer] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn neighbours_that_knew_the_address_by_another_mac_learn_the_new_one() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (web, peer) = (scene.host.guest("web")?, scene.host.guest("peer")?);
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.1/24 --ip 2001:db8::1/64", peer.reference()))?;
    for address in ["192.0.2.10", "2001:db8::10"] {
        peer.ip(&format!("neighbour add {address} lladdr 02:00:5e:10:00:99 dev eth1 nud stale"))?;
    }

    scene.ctl(&format!(
        "attach br0 {} --ip 192.0.2.10/24 --ip 2001:db8::10/64 --mac 02:00:5e:10:00:01",
        web.reference()
    ))?;

    until("the neighbour knows the new MAC", || {
        let known = peer.inside()?.ip_json("neighbour show dev eth1")?;
        let is_new = |address: &str| {
            known.iter().any(|one| one["dst"] == address && one["lladdr"] == "02:00:5e:10:00:01")
        };
        Ok(is_new("192.0.2.10") && is_new("2001:db8::10"))
    })?;
    for guest in [&web, &peer] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    scene.lab.finish()
}

#[test]
fn the_first_packet_after_attach_is_not_lost() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (web, peer) = (scene.host.guest("web")?, scene.host.guest("peer")?);
    // The bridge comes and goes with the first round, too.
    for round in 0..20 {
        let address = if round % 2 == 0 { "192.0.2.1" } else { "2001:db8::1" };
        if round % 5 == 0 {
            scene.ctl(&format!("detach {}", peer.reference()))?;
            scene.ctl(&format!("attach br0 {} --ip 192.0.2.1/24 --ip 2001:db8::1/64", peer.reference()))?;
        }
        scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24 --ip 2001:db8::10/64", web.reference()))?;
        let ended = run(web.inside()?.command("ping")?.args(["-n", "-q", "-c", "1", "-W", "2", address]))?;
        ensure!(ended.status.success(), "round {round}: {}{}", ended.stdout, ended.stderr);
        scene.ctl(&format!("detach {}", web.reference()))?;
    }
    scene.ctl(&format!("detach {}", peer.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_missing_bridge_is_made_and_released_with_its_last_port_and_not_before() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (one, two) = (scene.host.guest("one")?, scene.host.guest("two")?);
    let before = scene.snapshot()?;

    for (bridge, vlan) in [("br0", ""), ("ovs0", "--vlan 100")] {
        for guest in [&one, &two] {
            scene.ctl(&format!("attach {bridge} {} --no-ip {vlan}", guest.reference()))?;
        }
        scene.ctl(&format!("detach {}", one.reference()))?;
        assert!(scene.host.inside().has_link(bridge)?);
        scene.ctl(&format!("detach {}", two.reference()))?;
        before.assert_same(&scene.snapshot()?);
    }
    scene.lab.finish()
}

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;
    let rest = format!("{} --ip 192.0.2.10/24 --gateway 192.0.2.1", guest.reference());
    let attach = format!("attach br0 {rest}");

    let shown = scene.ctl(&format!("attach ovs0 {rest} --vlan 100 --dry-run"))?.stdout;
    for line in ["ovs-vsctl --may-exist add-br ovs0", "ovs-vsctl add-port ovs0 pw", "tag=100"] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    let shown = scene.ctl(&format!("{attach} --dry-run"))?.stdout;
    for line in
        ["ip link add br0", "netns GUEST", "guest: ip addr add 192.0.2.10/24 dev eth1", "via 192.0.2.1"]
    {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    before.assert_same(&scene.snapshot()?);
    assert_eq!(scene.agent.list()?.len(), 0);

    scene.ctl(&attach)?;
    let made = scene.settled()?;
    let shown = scene.agent.ctl(&format!("-o json detach {} --dry-run", guest.reference()))?.json()?;
    let undo = shown["attachments"][0]["plan"].as_array().context("a plan")?.clone();
    assert!(undo.iter().any(|step| step.as_str().is_some_and(|step| step.starts_with("ip link del pw"))));
    made.assert_same(&scene.snapshot()?);
    scene.ctl(&format!("detach {}", guest.reference()))?;
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}
