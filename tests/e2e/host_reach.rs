//! The host reaches its macvlan guests, and nobody else notices.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::{DhcpServer, Guest, Lab, Reach, Snapshot, needs, reach};
use serde_json::Value;

use crate::ipv6_auto::deafen;
use crate::macvlan::address;
use crate::refused_step::{each_refused_step_leaves_nothing, unchanged};
use crate::scene::{Scene, until};
use crate::sudden_death::dies_in_an_attach;

fn with_address(scene: &Scene) -> Result<()> {
    scene.host.inside().ip("address add 192.0.2.1/24 dev eth1").map(drop)
}

fn attach(guest: &Guest, last: u8) -> String {
    format!("attach eth1 {} --ip 192.0.2.{last}/24 --ip 2001:db8::{last}/64 --host-reach", guest.reference())
}

/// The host's own macvlans.
fn shims(scene: &Scene) -> Result<usize> {
    let links = scene.host.inside().ip_json("-d link show")?;
    Ok(links.iter().filter(|link| link["linkinfo"]["info_kind"] == "macvlan").count())
}

#[test]
fn host_and_macvlan_guests_reach_each_other_over_one_link_that_goes_with_the_last() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    with_address(&scene)?;
    let one = scene.host.guest("one")?;
    let before = scene.settled()?;
    let two = scene.host.process_guest("two")?;

    scene.ctl(&attach(&one, 10))?;
    scene.ctl(&attach(&two, 11))?;
    let host = scene.host.inside();
    for (guest, last) in [(&one, 10), (&two, 11)] {
        assert_eq!(reach(host, &guest.inside()?, address(&format!("192.0.2.{last}")))?, Reach::BOTH);
        assert_eq!(reach(host, &guest.inside()?, address(&format!("2001:db8::{last}")))?, Reach::BOTH);
        assert_eq!(reach(&guest.inside()?, host, address("192.0.2.1"))?, Reach::BOTH);
    }
    assert_eq!(reach(&one.inside()?, &two.inside()?, address("192.0.2.11"))?, Reach::BOTH);
    assert_eq!(shims(&scene)?, 1);

    two.kill()?;
    until("the dead guest is forgotten", || Ok(scene.agent.list()?.len() == 1))?;
    assert_eq!(shims(&scene)?, 1);
    assert!(host.ip("route show 192.0.2.11")?.is_empty() && host.ip("neighbour show 192.0.2.11")?.is_empty());
    assert_eq!(reach(host, &one.inside()?, address("192.0.2.10"))?, Reach::BOTH);
    scene.ctl(&format!("detach {}", one.reference()))?;

    before.assert_same(&scene.settled()?);
    scene.lab.finish()
}

#[test]
fn other_hosts_find_the_hosts_address_at_its_nic_as_before() -> Result<()> {
    needs!(Root, Macvlan);
    let lab = Lab::new()?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let agent = a.agent(Default::default())?;
    let guest = a.guest("web")?;
    a.inside().ip("address add 192.0.2.1/24 dev eth1")?;
    b.inside().ip("address add 192.0.2.2/24 dev eth1")?;
    let nic = a.inside().ip_json("link show eth1")?.remove(0);
    let before = Snapshot::take(&a)?;

    agent.ctl(&format!("attach eth1 {} --ip 192.0.2.10/24 --host-reach", guest.reference()))?.ok()?;
    for _ in 0..3 {
        b.inside().ip("neighbour flush dev eth1")?;
        assert_eq!(reach(b.inside(), a.inside(), address("192.0.2.1"))?, Reach::BOTH);
        // A question of the host's for the guest would be heard here, too, and tell another MAC address.
        assert_eq!(reach(a.inside(), &guest.inside()?, address("192.0.2.10"))?, Reach::BOTH);
        let known = b.inside().ip_json("neighbour show 192.0.2.1")?;
        assert_eq!(known.first().context("a neighbour")?["lladdr"], nic["address"]);
    }
    assert_eq!(reach(b.inside(), &guest.inside()?, address("192.0.2.10"))?, Reach::BOTH);

    agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
    before.assert_same(&Snapshot::take(&a)?);
    lab.finish()
}

#[test]
fn an_address_that_the_host_reaches_elsewhere_is_refused_and_stays_where_it_is() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    with_address(&scene)?;
    let (one, two) = (scene.host.guest("one")?, scene.host.guest("two")?);
    scene.ctl(&attach(&one, 10))?;
    let before = scene.snapshot()?;

    let answer = scene.agent.ctl(&attach(&two, 10))?;

    assert!(
        answer.code == 1 && answer.stderr.contains("the host reaches another guest at 192.0.2.10"),
        "{}",
        answer.stderr
    );
    unchanged("refused", &before, &scene.snapshot()?);
    assert_eq!(reach(scene.host.inside(), &one.inside()?, address("192.0.2.10"))?, Reach::BOTH);
    scene.ctl(&format!("detach {}", one.reference()))?;
    scene.lab.finish()
}

#[test]
fn where_it_cannot_work_it_is_refused_with_why() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;

    for (words, why) in [
        (
            "eth1 GUEST --ip 192.0.2.10/24 --host-reach",
            "has no address in 192.0.2.0/24 that the guest could answer to",
        ),
        ("br0 GUEST --ip 192.0.2.10/24 --host-reach", "only a macvlan keeps the host away"),
        ("eth1 GUEST --ip 192.0.2.10/24 --host-reach --mode private", "use bridge"),
        ("eth1 GUEST --ip 192.0.2.10/24 --host-reach --kind ipvlan", "use macvlan"),
        ("eth1 GUEST --dhcp --host-reach", "has no IPv4 address that the guest could answer to"),
        ("eth1 GUEST --slaac --host-reach", "give one with --ip, --dhcp or --dhcp6"),
    ] {
        let answer = scene.agent.ctl(&format!("attach {}", words.replace("GUEST", guest.reference())))?;
        assert!(answer.code != 0 && answer.stderr.contains(why), "{words}: {}", answer.stderr);
        before.assert_same(&scene.snapshot()?);
    }
    scene.lab.finish()
}

#[test]
fn whichever_step_is_refused_or_deadly_nothing_is_left() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    with_address(&scene)?;
    let guest = scene.host.guest("web")?;
    let before = scene.settled()?;
    let attach = attach(&guest, 10);
    let planned = scene.agent.ctl(&format!("-o json {attach} --dry-run"))?.json()?;
    let steps = planned["attachment"]["plan"].as_array().map_or(0, Vec::len);
    assert!(steps > 7, "{planned}");

    for n in 0..steps {
        scene.restart_with_fault(&format!("refuse:{n}"))?;
        let answer = scene.agent.ctl(&attach)?;
        assert!(
            answer.code == 1 && answer.stderr.contains("nothing is left of it"),
            "{n}: {}",
            answer.stderr
        );
        unchanged(&format!("step {n}"), &before, &scene.snapshot()?);

        scene.restart_with_fault(&format!("kill-after:{n}"))?;
        scene.agent.ctl_once(&attach)?;
        scene.restart()?;
        assert_eq!(scene.agent.list()?, Vec::<Value>::new(), "killed after step {n}");
        unchanged(&format!("killed after step {n}"), &before, &scene.snapshot()?);
    }
    scene.lab.finish()
}

/// A station on the NIC that will be the server; no attachment of the agent's.
fn router(scene: &Scene) -> Result<Arc<Guest>> {
    with_address(scene)?;
    let router = scene.host.guest("router")?;
    deafen(&router.inside()?)?;
    let netns = router.reference().trim_start_matches("netns:");
    scene
        .host
        .inside()
        .ip(&format!("link add link eth1 name made0 netns {netns} type macvlan mode bridge"))?;
    for words in [
        "link set made0 name eth1 up",
        "address add 192.0.2.2/24 dev eth1",
        "address add 2001:db8::2/64 dev eth1 nodad",
    ] {
        router.ip(words)?;
    }
    scene.settled()?;
    Ok(router)
}

/// Gives addresses from this to nine further ones, and those of DHCPv6 as well.
fn serve(scene: &Scene, router: &Guest, first: u8) -> Result<DhcpServer> {
    let range = format!("192.0.2.{first},192.0.2.{},255.255.255.0,10m", first + 9);
    let words = format!(
        "--dhcp-authoritative --enable-ra --dhcp-range=2001:db8::{first}00,2001:db8::{first}ff,64,10m"
    );
    DhcpServer::dnsmasq(&router.inside()?, &scene.host.dir().join("dnsmasq"), &range, &words)
}

fn attach_leased(guest: &Guest) -> String {
    format!("attach eth1 {} --dhcp --dhcp6 --host-reach", guest.reference())
}

/// Addresses of guests that the host has routes to, and those that it knows the MAC addresses of.
fn reached(scene: &Scene) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (list, key) in [("route show table main", "dst"), ("neighbour show nud permanent", "dst")] {
        for family in ["-4", "-6"] {
            let rows = scene.host.inside().ip_json(&format!("{family} {list}"))?;
            let of_shims =
                rows.iter().filter(|row| row["dev"].as_str().is_some_and(|dev| dev.starts_with("pw")));
            let addresses = of_shims.filter_map(|row| row[key].as_str()).filter(|dst| !dst.contains('/'));
            found.extend(addresses.map(str::to_owned));
        }
    }
    found.sort();
    Ok(found)
}

/// The addresses that servers gave, in the order in which [`reached`] has them: each has a route and a neighbour.
fn leased(scene: &Scene, guest: &Guest) -> Result<Vec<String>> {
    let list = scene.agent.list()?;
    let own = list.iter().find(|one| one["spec"]["guest"] == guest.reference()).context("it is listed")?;
    let address = |key: &str| own[key]["address"].as_str()?.split('/').next().map(str::to_owned);
    let mut leases: Vec<String> = ["lease", "lease6"].into_iter().filter_map(address).collect();
    leases = leases.iter().chain(&leases).cloned().collect();
    leases.sort();
    Ok(leases)
}

#[test]
fn the_host_reaches_a_leased_address_and_whichever_takes_its_place() -> Result<()> {
    needs!(Root, Macvlan, Dhcp);
    let scene = Scene::linux()?;
    let router = router(&scene)?;
    let old = serve(&scene, &router, 50)?;
    let guest = scene.host.guest("web")?;
    let before = scene.settled()?;

    scene.ctl(&attach_leased(&guest))?;

    let first = leased(&scene, &guest)?;
    ensure!(first.len() == 4 && reached(&scene)? == first, "{first:?}: {:?}", reached(&scene)?);
    let both = || -> Result<()> {
        for ip in leased(&scene, &guest)? {
            assert_eq!(reach(scene.host.inside(), &guest.inside()?, ip.parse()?)?, Reach::BOTH);
        }
        assert_eq!(reach(&guest.inside()?, scene.host.inside(), address("192.0.2.1"))?, Reach::BOTH);
        Ok(())
    };
    both()?;

    drop(old);
    std::fs::remove_dir_all(scene.host.dir().join("dnsmasq"))?;
    let new = serve(&scene, &router, 80)?;
    scene.agent.crash_and_restart()?;
    until("the host reaches the new address, alone", || {
        let (now, routes) = (leased(&scene, &guest)?, reached(&scene)?);
        Ok(now.iter().any(|ip| ip.starts_with("192.0.2.8")) && now == routes)
    })?;
    both()?;
    assert_eq!(shims(&scene)?, 1);

    scene.ctl(&format!("detach {}", guest.reference()))?;
    before.assert_same(&scene.settled()?);
    drop(new);
    scene.lab.finish()
}

#[test]
fn with_a_lease_that_ends_the_hosts_route_goes_and_with_a_new_one_it_comes_back() -> Result<()> {
    const SOON: Duration = Duration::from_secs(60);
    needs!(Root, Macvlan, Dhcp);
    let scene = Scene::linux()?;
    let router = router(&scene)?;
    let lines = "start 192.0.2.50\nend 192.0.2.99\noption subnet 255.255.255.0\noption lease 6";
    let serve = || DhcpServer::udhcpd(&router.inside()?, &scene.host.dir().join("udhcpd"), lines);
    let server = serve()?;
    let guest = scene.host.process_guest("web")?;
    scene.ctl(&format!("attach eth1 {} --dhcp --host-reach", guest.reference()))?;
    ensure!(reached(&scene)?.len() == 2, "{:?}", reached(&scene)?);

    drop(server);
    scene.agent.wait_line("its lease ran out", SOON)?;
    until("the route is gone", || Ok(reached(&scene)?.is_empty()))?;
    let server = serve()?;
    scene.agent.wait_line("a DHCP server gave it an address again", SOON)?;
    until("the route is back", || Ok(reached(&scene)? == leased(&scene, &guest)?))?;

    // It goes with the guest, too, and the link with the last guest.
    guest.kill()?;
    until("the dead guest is forgotten", || Ok(scene.agent.list()?.is_empty()))?;
    until("nothing is reached", || Ok(reached(&scene)?.is_empty() && shims(&scene)? == 0))?;
    drop(server);
    scene.lab.finish()
}

#[test]
fn a_lease_in_a_subnet_that_the_host_has_no_address_in_is_refused_and_nothing_is_left() -> Result<()> {
    needs!(Root, Macvlan, Dhcp);
    let scene = Scene::linux()?;
    let router = router(&scene)?;
    let server = serve(&scene, &router, 50)?;
    let host = scene.host.inside();
    host.ip("address add 198.51.100.1/24 dev eth1")?;
    host.ip("address del 192.0.2.1/24 dev eth1")?;
    let guest = scene.host.guest("web")?;
    let before = scene.settled()?;

    let answer = scene.agent.ctl(&format!("attach eth1 {} --dhcp --host-reach", guest.reference()))?;

    let said = &answer.stderr;
    ensure!(answer.code == 1 && said.contains("eth1 has no address in 192.0.2.0/24"), "{said}");
    ensure!(said.contains("nothing is left of it"), "{said}");
    before.assert_same(&scene.settled()?);
    drop(server);
    scene.lab.finish()
}

#[test]
fn whichever_step_towards_a_reached_lease_is_refused_nothing_is_left() -> Result<()> {
    needs!(Root, Macvlan, Dhcp);
    let scene = Scene::linux()?;
    let router = router(&scene)?;
    let server = serve(&scene, &router, 50)?;
    each_refused_step_leaves_nothing(&scene, attach_leased)?;
    drop(server);
    scene.lab.finish()
}

#[test]
fn an_agent_killed_at_any_step_towards_a_reached_lease_leaves_nothing_half_done() -> Result<()> {
    needs!(Root, Macvlan, Dhcp);
    let scene = Scene::linux()?;
    let router = router(&scene)?;
    let server = serve(&scene, &router, 50)?;
    dies_in_an_attach(&scene, attach_leased)?;
    drop(server);
    scene.lab.finish()
}
