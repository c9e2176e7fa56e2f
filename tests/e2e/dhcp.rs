//! Addresses from real DHCP servers, from the first to the last day of a lease.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pipewright_tests::agent::program;
use pipewright_tests::process::{self, Process};
use pipewright_tests::{DhcpServer, Guest, Reach, Snapshot, needs, reach};
use serde_json::Value;

use crate::scene::{Scene, until, with_default_routes};

const SERVER: &str = "192.0.2.1";
/// Longer than the leases of these stories last, and than the rests between two tries.
const SOON: Duration = Duration::from_secs(60);

/// A host with a guest that will be the server, and one that will be the client.
struct Net {
    scene: Scene,
    router: Arc<Guest>,
    guest: Arc<Guest>,
}

impl Net {
    fn new() -> Result<Self> {
        let scene = Scene::linux()?;
        let (router, guest) = (scene.host.guest("router")?, scene.host.guest("web")?);
        scene.ctl(&format!("attach br0 {} --ip {SERVER}/24", router.reference()))?;
        // The kernel's own addresses show only when they are checked for duplicates.
        for inside in [scene.host.inside().clone(), router.inside()?] {
            until("no address is tentative", || Ok(inside.ip("-6 -o address show tentative")?.is_empty()))?;
        }
        Ok(Self { scene, router, guest })
    }

    /// `pwctl watch`, whose lines end with the cause.
    fn watch(&self) -> Result<Process> {
        let revision = self.scene.agent.ctl("-o json list")?.json()?["revision"].clone();
        let mut watch = process::command(program("pwctl")?)?;
        watch.args(["--endpoint", &self.scene.agent.endpoint(), "watch", "--resume", text(&revision)]);
        Process::spawn("pwctl watch", &mut watch)
    }

    fn dnsmasq(&self, range: &str, words: &str) -> Result<DhcpServer> {
        DhcpServer::dnsmasq(&self.router.inside()?, &self.scene.host.dir().join("dnsmasq"), range, words)
    }

    fn udhcpd(&self, lines: &str) -> Result<DhcpServer> {
        DhcpServer::udhcpd(&self.router.inside()?, &self.scene.host.dir().join("udhcpd"), lines)
    }

    /// `pwctl attach br0 GUEST --dhcp …`, and the lease that it shows.
    fn attach(&self, words: &str) -> Result<Value> {
        let line = format!("-o json attach br0 {} --dhcp {words}", self.guest.reference());
        Ok(self.scene.agent.ctl(&line)?.json()?["attachment"]["lease"].clone())
    }

    fn detach(&self) -> Result<()> {
        self.scene.ctl(&format!("detach {}", self.guest.reference())).map(drop)
    }

    /// The lease that `pwctl list` shows.
    fn lease(&self) -> Result<Value> {
        let list = self.scene.agent.list()?;
        let own = list.iter().find(|one| one["spec"]["guest"] == self.guest.reference());
        Ok(own.context("the attachment is not listed")?["lease"].clone())
    }

    /// The IPv4 addresses of the guest's link with their lifetimes in seconds.
    fn addresses(&self) -> Result<Vec<(String, u64)>> {
        let links = self.guest.inside()?.ip_json("-4 address show dev eth1")?;
        let infos = links.iter().filter_map(|link| link["addr_info"].as_array()).flatten();
        let text = |info: &Value| {
            let address = format!("{}/{}", info["local"].as_str().unwrap_or("?"), info["prefixlen"]);
            (address, info["valid_life_time"].as_u64().unwrap_or(0))
        };
        Ok(infos.map(text).collect())
    }

    /// The end of a story: the server's link goes, too.
    fn finish(self, server: Option<DhcpServer>) -> Result<()> {
        drop(server);
        self.scene.ctl(&format!("detach {}", self.router.reference()))?;
        self.scene.lab.finish()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn default_routes(guest: &Guest) -> Result<Vec<Value>> {
    guest.inside()?.ip_json("-4 route show default")
}

#[test]
fn a_lease_is_got_by_name_and_given_back_and_the_hosts_files_stay() -> Result<()> {
    needs!(Root, Dhcp);
    let net = Net::new()?;
    let server = net.dnsmasq(
        "192.0.2.50,192.0.2.99,255.255.255.0,10m",
        "--dhcp-option=option:router,192.0.2.1 --dhcp-option=option:dns-server,192.0.2.53 --domain=example.org",
    )?;
    with_default_routes(&net.guest)?;
    let before = net.scene.snapshot()?;
    let resolv = std::fs::read("/etc/resolv.conf").ok();

    let lease = net.attach("--hostname db --client-id 01:02:03")?;

    let address = text(&lease["address"]);
    ensure!(address.starts_with("192.0.2.") && address.ends_with("/24"), "{lease}");
    assert_eq!((text(&lease["server"]), text(&lease["domain"])), (SERVER, "example.org"));
    assert_eq!((text(&lease["routers"][0]), text(&lease["dns_servers"][0])), (SERVER, "192.0.2.53"));
    ensure!(lease["expires_at"].is_string(), "{lease}");
    let there = net.addresses()?;
    ensure!(there.len() == 1 && there[0].0 == address && (1..=600).contains(&there[0].1), "{there:?}");
    let default = default_routes(&net.guest)?;
    ensure!(
        default.len() == 1 && default[0]["dev"] == "eth1" && default[0]["gateway"] == SERVER,
        "{default:?}"
    );
    let ip: IpAddr = SERVER.parse()?;
    assert_eq!(reach(&net.guest.inside()?, &net.router.inside()?, ip)?, Reach::BOTH);
    // EXPIRY MAC ADDRESS NAME CLIENT-ID
    let leases = server.leases()?;
    ensure!(leases.contains(" db 01:02:03"), "{leases}");
    let shown = net.scene.ctl("list")?.stdout;
    ensure!(shown.contains(&format!("{address} (dhcp)")), "{shown}");

    net.detach()?;

    server.wait_line("DHCPRELEASE", SOON)?;
    assert_eq!(server.leases()?, "");
    before.assert_same(&net.scene.snapshot()?);
    assert_eq!(std::fs::read("/etc/resolv.conf").ok(), resolv);
    net.finish(Some(server))
}

#[test]
fn a_container_is_known_by_its_id_every_time() -> Result<()> {
    needs!(Root, Dhcp, Docker);
    let mut net = Net::new()?;
    net.scene.agent.kill9()?;
    net.scene.agent.set_options(pipewright_tests::AgentOptions::with_docker()?);
    net.scene.agent.start()?;
    net.guest = net.scene.host.container("web")?;
    let server = net.dnsmasq("192.0.2.50,192.0.2.99,255.255.255.0,10m", "")?;

    net.attach("")?;
    let leases = server.leases()?;
    net.detach()?;
    net.attach("")?;

    // EXPIRY MAC ADDRESS NAME CLIENT-ID. The client id is a byte 0 and the id's text, in hexadecimal: 64 digits, a slash, eth1.
    let id = leases.split_whitespace().nth(4).unwrap_or_default();
    ensure!(
        id.starts_with("00:") && id.ends_with(":2f:65:74:68:31") && id.split(':').count() == 70,
        "{leases}"
    );
    ensure!(server.leases()?.contains(id), "{leases}{}", server.leases()?);
    net.detach()?;
    net.finish(Some(server))
}

#[test]
fn routes_of_the_server_come_and_go_with_the_lease() -> Result<()> {
    needs!(Root, Dhcp);
    let net = Net::new()?;
    let server = net.dnsmasq(
        "192.0.2.50,192.0.2.99,255.255.255.0,10m",
        "--dhcp-option=121,198.51.100.0/24,192.0.2.9,203.0.113.7/32,0.0.0.0 --dhcp-option=option:mtu,1400",
    )?;
    with_default_routes(&net.guest)?;
    let before = Snapshot::take_guest(&net.guest)?;

    net.attach("")?;

    let routes = net.guest.ip("-4 route show dev eth1")?;
    for wanted in ["198.51.100.0/24 via 192.0.2.9 proto dhcp", "203.0.113.7 proto dhcp scope link"] {
        ensure!(routes.contains(wanted), "{wanted} is not among {routes}");
    }
    // Option 121 without a default route takes the place of the router that dnsmasq names by itself (RFC 3442).
    let default = default_routes(&net.guest)?;
    ensure!(default.len() == 1 && default[0]["dev"] == "eth0", "{default:?}");
    assert_eq!(net.guest.inside()?.ip_json("link show dev eth1")?[0]["mtu"], 1400);
    net.detach()?;
    before.assert_same(&Snapshot::take_guest(&net.guest)?);
    net.finish(Some(server))
}

#[test]
fn a_short_lease_is_renewed_while_nothing_of_the_guest_is_held() -> Result<()> {
    needs!(Root, Dhcp);
    let net = Net::new()?;
    let server = net.udhcpd(
        "start 192.0.2.50\nend 192.0.2.99\noption subnet 255.255.255.0\noption lease 12\noption router 192.0.2.1",
    )?;
    let first = net.attach("")?;

    net.watch()?.wait_line(|line| line.contains("(its lease was renewed)"), SOON)?;

    let renewed = net.lease()?;
    assert_eq!(renewed["address"], first["address"]);
    assert_ne!(renewed["expires_at"], first["expires_at"]);
    ensure!(server.log().contains("sending ACK"), "{}", server.log());
    assert_eq!(net.addresses()?.first().map(|(address, _)| address.as_str()), first["address"].as_str());
    // A guest that dies takes its links along at once, which a held namespace would prevent.
    net.guest.kill()?;
    until("the attachment is gone", || Ok(net.scene.agent.list()?.len() == 1))?;
    net.finish(Some(server))
}

#[test]
fn a_lease_outlives_the_agent_and_is_confirmed_by_the_next() -> Result<()> {
    needs!(Root, Dhcp);
    let net = Net::new()?;
    let server = net.dnsmasq("192.0.2.50,192.0.2.99,255.255.255.0,10m", "--dhcp-authoritative")?;
    let lease = net.attach("")?;
    let before = server.log().matches("DHCPACK").count();

    net.scene.agent.crash_and_restart()?;

    until("the lease is confirmed", || Ok(server.log().matches("DHCPACK").count() > before))?;
    assert_eq!(net.lease()?["address"], lease["address"]);
    assert_eq!(net.addresses()?.len(), 1);
    net.detach()?;
    server.wait_line("DHCPRELEASE", SOON)?;
    net.finish(Some(server))
}

#[test]
fn an_address_that_the_server_takes_back_is_replaced_in_the_guest() -> Result<()> {
    needs!(Root, Dhcp);
    let net = Net::new()?;
    let old = net.dnsmasq("192.0.2.50,192.0.2.59,255.255.255.0,10m", "--dhcp-authoritative")?;
    net.attach("")?;
    drop(old);
    std::fs::remove_dir_all(net.scene.host.dir().join("dnsmasq"))?;
    let new = net.dnsmasq("192.0.2.80,192.0.2.89,255.255.255.0,10m", "--dhcp-authoritative")?;

    net.scene.agent.crash_and_restart()?;

    new.wait_line("DHCPNAK", SOON)?;
    new.wait_line("DHCPACK", SOON)?;
    let is_new = |address: &str| address.starts_with("192.0.2.8");
    until("the new address is there, alone", || {
        let there = net.addresses()?;
        Ok(there.len() == 1 && is_new(&there[0].0) && is_new(text(&net.lease()?["address"])))
    })?;
    let default = default_routes(&net.guest)?;
    ensure!(default.len() == 1 && default[0]["gateway"] == SERVER, "{default:?}");
    net.detach()?;
    new.wait_line("DHCPRELEASE", SOON)?;
    net.finish(Some(new))
}

#[test]
fn a_lease_that_nobody_renews_ends_and_another_is_looked_for() -> Result<()> {
    needs!(Root, Dhcp);
    let net = Net::new()?;
    let lines = "start 192.0.2.50\nend 192.0.2.99\noption subnet 255.255.255.0\noption lease 6\noption router 192.0.2.1";
    let server = net.udhcpd(lines)?;
    with_default_routes(&net.guest)?;
    let before = Snapshot::take_guest(&net.guest)?;
    net.attach("")?;
    let watch = net.watch()?;
    drop(server);

    watch.wait_line(|line| line.contains("(its lease ran out"), SOON)?;

    ensure!(net.addresses()?.is_empty() && net.lease()?.is_null(), "{:?}", net.addresses());
    let default = default_routes(&net.guest)?;
    ensure!(default.len() == 1 && default[0]["dev"] == "eth0", "{default:?}");
    let server = net.udhcpd(lines)?;
    watch.wait_line(|line| line.contains("(a DHCP server gave it an address again)"), SOON)?;
    ensure!(net.addresses()?.len() == 1 && !net.lease()?.is_null(), "{:?}", net.addresses());
    net.detach()?;
    before.assert_same(&Snapshot::take_guest(&net.guest)?);
    net.finish(Some(server))
}

#[test]
fn without_a_server_it_says_so_and_leaves_nothing() -> Result<()> {
    needs!(Root, Dhcp);
    let net = Net::new()?;
    with_default_routes(&net.guest)?;
    let before = net.scene.snapshot()?;

    let answer = net.scene.agent.ctl(&format!("attach br0 {} --dhcp", net.guest.reference()))?;

    assert_eq!(answer.code, 1, "{answer:?}");
    ensure!(answer.stderr.contains("no DHCP server answered"), "{}", answer.stderr);
    ensure!(answer.stderr.contains("nothing is left of it"), "{}", answer.stderr);
    before.assert_same(&net.scene.snapshot()?);
    net.finish(None)
}

#[test]
fn an_address_that_somebody_has_is_declined_and_another_one_taken() -> Result<()> {
    needs!(Root, Dhcp);
    let net = Net::new()?;
    let mac = "02:00:5e:10:00:77";
    let squatter = net.scene.host.guest("squatter")?;
    net.scene.ctl(&format!("attach br0 {} --ip 192.0.2.50/24", squatter.reference()))?;
    let server =
        net.dnsmasq("192.0.2.60,192.0.2.69,255.255.255.0,10m", &format!("--dhcp-host={mac},192.0.2.50"))?;

    let lease = net.attach(&format!("--mac {mac} --check-duplicates=quick"))?;

    server.wait_line("DHCPDECLINE", SOON)?;
    ensure!(text(&lease["address"]).starts_with("192.0.2.6"), "{lease}");
    let there = net.addresses()?;
    ensure!(there.len() == 1 && there[0].0 == text(&lease["address"]), "{there:?}");
    net.detach()?;
    net.scene.ctl(&format!("detach {}", squatter.reference()))?;
    net.finish(Some(server))
}
