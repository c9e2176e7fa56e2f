//! IPv6 addresses from real routers and DHCPv6 servers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pipewright_tests::netns::Inside;
use pipewright_tests::process::output;
use pipewright_tests::{DhcpServer, Guest, Reach, Snapshot, needs, reach};
use serde_json::Value;

use crate::scene::{Scene, until, with_default_routes};

const ROUTER: &str = "2001:db8::1";
const STATEFUL: &str = "2001:db8::100,2001:db8::1ff,64,10m";
const BOTH: &str = "2001:db8::100,2001:db8::1ff,slaac,64,10m";
const SOON: Duration = Duration::from_secs(60);

/// A host with a guest that will be router and server, and one that will be the client.
struct Net {
    scene: Scene,
    router: Arc<Guest>,
    guest: Arc<Guest>,
    server: Option<DhcpServer>,
    before: Snapshot,
}

impl Net {
    fn new(range: &str, words: &str) -> Result<Self> {
        let scene = Scene::linux()?;
        let (router, guest) = (scene.host.guest("router")?, scene.host.guest("web")?);
        deafen(&router.inside()?)?;
        scene.ctl(&format!("attach br0 {} --ip 192.0.2.1/24 --ip {ROUTER}/64", router.reference()))?;
        with_default_routes(&guest)?;
        scene.settled()?;
        let server = DhcpServer::dnsmasq(
            &router.inside()?,
            &scene.host.dir().join("dnsmasq"),
            range,
            &format!("--enable-ra {words}"),
        )?;
        let before = scene.settled()?;
        Ok(Self { scene, router, guest, server: Some(server), before })
    }

    /// `pwctl attach br0 GUEST …`
    fn attach(&self, words: &str) -> Result<Value> {
        let line = format!("-o json attach br0 {} {words}", self.guest.reference());
        Ok(self.scene.agent.ctl(&line)?.json()?["attachment"].clone())
    }

    /// The usable IPv6 addresses of the guest's link that others can reach, with their prefix lengths.
    fn addresses(&self) -> Result<Vec<String>> {
        let links = self.guest.inside()?.ip_json("-6 address show dev eth1 scope global -tentative")?;
        let infos = links.iter().filter_map(|link| link["addr_info"].as_array()).flatten();
        Ok(infos
            .filter_map(|info| Some(format!("{}/{}", info["local"].as_str()?, info["prefixlen"])))
            .collect())
    }

    fn server(&self) -> Result<&DhcpServer> {
        self.server.as_ref().context("the server ended")
    }

    fn reaches_the_router(&self) -> Result<()> {
        // The route to the subnet comes with the next advertisement.
        until("there is a route to the subnet", || {
            Ok(self.guest.ip("-6 route show dev eth1")?.contains("2001:db8::/64"))
        })?;
        let reached = reach(&self.guest.inside()?, &self.router.inside()?, ROUTER.parse()?)?;
        assert_eq!(reached, Reach::BOTH);
        Ok(())
    }

    /// The end of a story: the guest is as it was.
    fn finish(mut self) -> Result<()> {
        self.scene.ctl(&format!("detach {}", self.guest.reference()))?;
        self.before.assert_same(&self.scene.settled()?);
        self.server = None;
        self.scene.ctl(&format!("detach {}", self.router.reference()))?;
        self.scene.lab.finish()
    }
}

/// Has links to come not listen to routers: where the router itself is, nothing shall change with what it advertises.
pub(crate) fn deafen(inside: &Inside) -> Result<()> {
    let line = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_ra";
    output(inside.command("sh")?.args(["-c", line])).map(drop)
}

#[test]
fn an_address_of_the_routers_prefix_can_be_used_when_the_attach_is_answered() -> Result<()> {
    needs!(Root, Dhcp);
    let net = Net::new(BOTH, "")?;

    net.attach("--slaac --ip 192.0.2.10/24")?;

    let there = net.addresses()?;
    ensure!(there.len() == 1 && there[0].starts_with("2001:db8:"), "{there:?}");
    let shown = net.scene.ctl("list")?.stdout;
    ensure!(shown.contains("192.0.2.10/24 (slaac)"), "{shown}");
    net.reaches_the_router()?;
    let default = net.guest.ip("-6 route show default dev eth1")?;
    ensure!(default.contains("proto ra"), "no default route from the router: {default}");
    net.finish()
}

#[test]
fn a_gateway_that_was_asked_for_takes_the_place_of_the_routers() -> Result<()> {
    needs!(Root, Dhcp);
    let net = Net::new(BOTH, "")?;

    net.attach(&format!("--slaac --gateway {ROUTER}"))?;

    let default = net.guest.inside()?.ip_json("-6 route show default")?;
    ensure!(
        default.len() == 1 && default[0]["gateway"] == ROUTER && default[0]["dev"] == "eth1",
        "{default:?}"
    );
    net.finish()
}

#[test]
fn an_address_of_a_dhcpv6_server_is_got_shown_confirmed_and_given_back() -> Result<()> {
    needs!(Root, Dhcp);
    let net = Net::new(STATEFUL, "--dhcp-option=option6:dns-server,[2001:db8::53] --domain=example.org")?;

    let lease = net.attach("--dhcp6 --hostname db")?["lease6"].clone();

    let address = lease["address"].as_str().unwrap_or_default().to_owned();
    ensure!(address.starts_with("2001:db8::1") && address.ends_with("/128"), "{lease}");
    assert_eq!(lease["dns_servers"][0], "2001:db8::53");
    ensure!(
        lease["expires_at"].is_string() && lease["server"].as_str().is_some_and(|s| s.starts_with("fe80:")),
        "{lease}"
    );
    assert_eq!(net.addresses()?, [address.as_str()], "nothing is made of the router's prefix");
    net.reaches_the_router()?;
    // EXPIRY IAID ADDRESS NAME DUID
    let leases = net.server()?.leases()?;
    ensure!(leases.contains(&format!(" {} db 00:04:", address.trim_end_matches("/128"))), "{leases}");
    let shown = net.scene.ctl("list")?.stdout;
    ensure!(shown.contains(&format!("{address} (dhcp6)")), "{shown}");

    net.scene.agent.crash_and_restart()?;

    net.server()?.wait_line("DHCPCONFIRM", SOON)?;
    assert_eq!(net.addresses()?, [address.as_str()]);
    net.scene.ctl(&format!("detach {}", net.guest.reference()))?;
    net.server()?.wait_line("DHCPRELEASE", SOON)?;
    net.finish()
}

#[test]
fn a_guest_has_all_that_its_network_offers_at_once() -> Result<()> {
    needs!(Root, Dhcp);
    let net = Net::new(BOTH, "--dhcp-range=192.0.2.50,192.0.2.99,10m")?;

    let attachment = net.attach("--dhcp --slaac --dhcp6")?;

    let there = net.addresses()?;
    let leased = attachment["lease6"]["address"].as_str().unwrap_or_default();
    ensure!(there.len() == 2 && there.iter().any(|address| address == leased), "{there:?}");
    ensure!(
        attachment["lease"]["address"].as_str().is_some_and(|a| a.starts_with("192.0.2.")),
        "{attachment}"
    );
    net.finish()
}

#[test]
fn an_address_of_a_dhcpv6_server_that_somebody_has_is_declined_and_another_one_taken() -> Result<()> {
    needs!(Root, Dhcp);
    let mac = "02:00:5e:10:00:77";
    let net = Net::new(STATEFUL, &format!("--dhcp-host={mac},[2001:db8::150]"))?;
    net.router.ip("address add 2001:db8::150/64 dev eth1 nodad")?;

    let lease = net.attach(&format!("--dhcp6 --mac {mac} --check-duplicates=quick"))?["lease6"].clone();

    net.server()?.wait_line("DHCPDECLINE", SOON)?;
    let address = lease["address"].as_str().unwrap_or_default();
    assert_ne!(address, "2001:db8::150/128");
    assert_eq!(net.addresses()?, [address]);
    net.router.ip("address del 2001:db8::150/64 dev eth1")?;
    net.finish()
}

#[test]
fn without_a_router_or_a_server_it_says_so_and_leaves_nothing() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guests = [scene.host.guest("one")?, scene.host.guest("two")?];
    let before = scene.snapshot()?;

    let answers = std::thread::scope(|scope| {
        let attaches = [(&guests[0], "--slaac"), (&guests[1], "--dhcp6")].map(|(guest, words)| {
            let line = format!("attach br0 {} {words}", guest.reference());
            let agent = &scene.agent;
            scope.spawn(move || agent.ctl(&line))
        });
        attaches.into_iter().map(|attach| attach.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?;

    for (answer, words) in answers.iter().zip(["no router advertised a prefix", "no DHCPv6 server answered"])
    {
        assert_eq!(answer.code, 1, "{answer:?}");
        ensure!(answer.stderr.contains(words), "{}", answer.stderr);
        ensure!(answer.stderr.contains("nothing is left of it"), "{}", answer.stderr);
    }
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}
