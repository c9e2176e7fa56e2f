//! Who reaches whom over Open vSwitch: VLANs join and keep apart.

use std::time::Duration;

use anyhow::Result;
use pipewright_tests::{Guest, Reach, needs, process, reach};

use crate::scene::{FOREIGN, Scene};

const FIRST: &str = "192.0.2.1";
const SECOND: &str = "192.0.2.2";
const THIRD: &str = "192.0.2.3";

fn both_families(from: &Guest, to: &Guest, host: u8) -> Result<[Reach; 2]> {
    let (from, to) = (from.inside()?, to.inside()?);
    Ok([
        reach(&from, &to, format!("192.0.2.{host}").parse()?)?,
        reach(&from, &to, format!("2001:db8::{host}").parse()?)?,
    ])
}

#[test]
fn guests_of_one_vlan_reach_each_other_by_ping_and_tcp_and_no_other() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let names = ["red1", "red2", "blue"];
    let guests: Vec<_> = names.iter().map(|name| scene.host.guest(name)).collect::<Result<_>>()?;
    for (number, guest) in (1..).zip(&guests) {
        let vlan = if guest.name() == "blue" { 200 } else { 100 };
        scene.ctl(&format!(
            "attach ovs0 {} --ip 192.0.2.{number}/24 --ip 2001:db8::{number}/64 --vlan {vlan}",
            guest.reference()
        ))?;
        scene.ctl(&format!("wait {} --for address", guest.reference()))?;
    }
    let [red1, red2, blue] = &guests[..] else { unreachable!("three names") };

    assert_eq!(both_families(red1, red2, 2)?, [Reach::BOTH; 2]);
    assert_eq!(both_families(red2, red1, 1)?, [Reach::BOTH; 2]);
    assert_eq!(both_families(red1, blue, 3)?, [Reach::NEITHER; 2]);

    for guest in &guests {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    scene.lab.finish()
}

/// Watches a guest's link and gives the first ARP request that it sees, as tcpdump prints it.
struct Sniffer {
    tcpdump: process::Process,
}

impl Sniffer {
    fn start(guest: &Guest) -> Result<Self> {
        let mut command = guest.inside()?.command("tcpdump")?;
        command.args(["-l", "-n", "-e", "-i", "eth1"]);
        let tcpdump = process::Process::spawn("tcpdump", &mut command)?;
        tcpdump.wait_line(|line| line.contains("listening on"), Duration::from_secs(10))?;
        Ok(Self { tcpdump })
    }

    fn request(&self, target: &str) -> Result<String> {
        let asked = format!("who-has {target}");
        self.tcpdump.wait_line(|line| line.contains(&asked), Duration::from_secs(10))
    }
}

/// Asks the segment for an address that nobody has.
fn ask_for(guest: &Guest, address: &str) -> Result<()> {
    assert!(!reach::ping(&guest.inside()?, address.parse()?)?, "somebody has {address}");
    Ok(())
}

#[test]
fn a_trunk_guest_sees_the_frames_of_its_vlans_tagged_and_of_no_other() -> Result<()> {
    needs!(Root, Ovs, Tcpdump);
    let scene = Scene::ovs()?;
    let attach = |name: &str, words: &str| -> Result<_> {
        let guest = scene.host.guest(name)?;
        scene.ctl(&format!("attach {FOREIGN} {} {words}", guest.reference()))?;
        Ok(guest)
    };
    let red = attach("red", &format!("--ip {FIRST}/24 --vlan 100"))?;
    let blue = attach("blue", &format!("--ip {SECOND}/24 --vlan 200"))?;
    let router = attach("router", "--no-ip --trunk 200,300")?;
    let monitor = attach("monitor", "--no-ip --trunk all")?;
    let sniffers = [Sniffer::start(&router)?, Sniffer::start(&monitor)?, Sniffer::start(&red)?];

    ask_for(&red, "192.0.2.98")?;
    ask_for(&blue, "192.0.2.99")?;

    let [at_router, at_monitor, at_red] = &sniffers;
    assert!(at_monitor.request("192.0.2.98")?.contains("vlan 100,"));
    assert!(at_monitor.request("192.0.2.99")?.contains("vlan 200,"));
    assert!(at_router.request("192.0.2.99")?.contains("vlan 200,"));
    // What the router saw last was sent after what it must not see.
    assert!(!at_router.tcpdump.log().contains("192.0.2.98"), "{}", at_router.tcpdump.log());
    assert!(!at_red.request("192.0.2.98")?.contains("vlan"), "an access port is untagged");

    drop(sniffers);
    for guest in [red, blue, router, monitor] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    scene.lab.finish()
}

#[test]
fn a_guest_with_another_vlan_after_a_detach_is_in_that_one() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (web, db) = (scene.host.guest("web")?, scene.host.guest("db")?);
    let plug = |guest: &Guest, address: &str, vlan: u16| {
        scene.ctl(&format!("attach {FOREIGN} {} --ip {address}/24 --vlan {vlan}", guest.reference()))
    };
    plug(&db, THIRD, 200)?;
    plug(&web, FIRST, 100)?;
    assert_eq!(reach(&web.inside()?, &db.inside()?, THIRD.parse()?)?, Reach::NEITHER);

    scene.ctl(&format!("detach {}", web.reference()))?;
    plug(&web, FIRST, 200)?;

    assert_eq!(reach(&web.inside()?, &db.inside()?, THIRD.parse()?)?, Reach::BOTH);
    for guest in [web, db] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    scene.lab.finish()
}
