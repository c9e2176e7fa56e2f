//! Addresses that somebody on the network has already.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use pipewright_api::reason::Reason;
use pipewright_api::spec::DuplicateCheck;
use pipewright_tests::{Reach, needs, reach};

use crate::refused_step::unchanged;
use crate::scene::{Scene, asking, refused, spec, with_default_routes};

const TAKEN: [&str; 2] = ["192.0.2.10", "2001:db8::10"];

/// Somebody has an address, and a guest that asks for it gets nothing.
fn is_refused(scene: &Scene, uplink: &str) -> Result<()> {
    let (first, second) = (scene.host.guest("first")?, scene.host.guest("second")?);
    with_default_routes(&second)?;
    scene.ctl(&format!("attach {uplink} {} --ip {}/24 --ip {}/64", first.reference(), TAKEN[0], TAKEN[1]))?;
    let mac = scene.agent.list()?[0]["mac"].clone();
    let before = scene.settled()?;
    let name = uplink.split(' ').next().unwrap_or(uplink);

    for address in TAKEN {
        let length = if address.contains(':') { 64 } else { 24 };
        let mut asked = spec(&second, name, &format!("{address}/{length}"));
        asked.duplicate_check = DuplicateCheck::Quick;
        asked.vlan = asked.vlan.filter(|_| uplink.contains("--vlan"));
        let answer = asking(async {
            let client = scene.agent.client()?;
            Ok(client.attach(uuid::Uuid::new_v4(), &asked, false).await)
        })?;

        let failure = refused(answer, Reason::AddressInUse);
        assert_eq!(failure.fact("address"), Some(address));
        assert_eq!(failure.fact("holder"), mac.as_str(), "{failure}");
        assert!(failure.message().contains("nothing is left of it"), "{failure}");
        unchanged(address, &before, &scene.settled()?);
    }
    let free = format!(
        "attach {uplink} {} --ip 192.0.2.11/24 --ip 2001:db8::11/64 --gateway 192.0.2.10 --check-duplicates=quick",
        second.reference()
    );
    scene.ctl(&free)?;
    for address in TAKEN {
        let ip: IpAddr = address.parse()?;
        assert_eq!(reach(&second.inside()?, &first.inside()?, ip)?, Reach::BOTH, "{address}");
    }
    let gateway = second.inside()?.ip_json("-4 route show default")?;
    ensure!(gateway.len() == 1 && gateway[0]["dev"] == "eth1", "{gateway:?}");
    scene.ctl(&format!("detach {}", second.reference()))?;
    unchanged("in the end", &before, &scene.settled()?);
    scene.ctl(&format!("detach {}", first.reference()))?;
    Ok(())
}

#[test]
fn an_address_that_is_in_use_behind_a_linux_bridge_is_refused_and_its_holder_named() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    is_refused(&scene, "br0")?;
    scene.lab.finish()
}

#[test]
fn an_address_that_is_in_use_in_a_vlan_of_open_vswitch_is_refused_and_its_holder_named() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    is_refused(&scene, "ovs0 --vlan 100")?;
    scene.lab.finish()
}

#[test]
fn an_address_that_is_in_use_beside_a_macvlan_is_refused_and_its_holder_named() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    is_refused(&scene, "eth1")?;
    scene.lab.finish()
}

#[test]
fn of_two_guests_that_ask_for_one_address_at_once_at_most_one_gets_it() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guests = [scene.host.guest("one")?, scene.host.guest("two")?];
    let idle = scene.host.guest("idle")?;
    scene.ctl(&format!("attach br0 {} --no-ip", idle.reference()))?;

    let got = std::thread::scope(|scope| {
        let attaches = guests.each_ref().map(|guest| {
            let line = format!("attach br0 {} --ip 192.0.2.10/24 --check-duplicates", guest.reference());
            let agent = &scene.agent;
            scope.spawn(move || agent.ctl(&line))
        });
        attaches.into_iter().map(|attach| attach.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?;

    let (taken, refused): (Vec<_>, Vec<_>) = got.iter().partition(|answer| answer.code == 0);
    assert!(taken.len() <= 1, "{got:?}");
    assert!(refused.iter().all(|answer| answer.stderr.contains("[ADDRESS_IN_USE]")), "{got:?}");
    scene.ctl(&format!("detach {}", idle.reference()))?;
    for guest in &guests {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    scene.lab.finish()
}
