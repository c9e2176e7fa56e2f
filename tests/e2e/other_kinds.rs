//! Links of a single end that not every kernel has: ipvlan, 802.1Q sub-interfaces, dummies. Where the kernel lacks one, its
//! refusal is the story.

use anyhow::Result;
use pipewright_tests::{Guest, Need, Reach, needs, reach, skip};
use serde_json::json;

use crate::macvlan::{address, link};
use crate::refused_step::unchanged;
use crate::scene::{Scene, until};

/// Each kind that a kernel may lack, as it is asked for, and the module that makes it.
const KINDS: [(Need, &str, &str); 4] = [
    (Need::Ipvlan, "eth1 --kind ipvlan", "ipvlan"),
    (Need::Vlan, "eth1 --vlan 100", "8021q"),
    (Need::Vlan, "eth1 --kind vlan --vlan 100", "8021q"),
    (Need::Dummy, "dummy", "dummy"),
];

#[test]
fn a_kernel_without_a_kind_is_named_with_its_module_and_nothing_is_left() -> Result<()> {
    needs!(Root, Macvlan);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    scene.host.inside().ip("link set eth1 down")?;
    let before = scene.snapshot()?;

    let lacking = KINDS.iter().filter(|(need, ..)| need.unmet().is_some());
    let mut lacked = 0;
    for (_, uplink, module) in lacking {
        let line = uplink.split_once(' ').map_or_else(
            || format!("attach {uplink} {} --ip 192.0.2.10/24", guest.reference()),
            |(uplink, more)| format!("attach {uplink} {} --ip 192.0.2.10/24 {more}", guest.reference()),
        );
        let answer = scene.agent.ctl(&line)?;

        assert_eq!(answer.code, 1, "{line}: {}", answer.stdout);
        let said = &answer.stderr;
        assert!(
            said.contains("[NOT_SUPPORTED_HERE]") && said.contains(&format!("modprobe {module}")),
            "{said}"
        );
        assert!(said.contains("nothing is left of it"), "{said}");
        unchanged(uplink, &before, &scene.snapshot()?);
        lacked += 1;
    }
    scene.lab.finish()?;
    if lacked == 0 {
        skip!("kernel-has-all", "this kernel lacks no kind of link");
    }
    Ok(())
}

fn attach(scene: &Scene, guest: &Guest, words: &str) -> Result<()> {
    let (uplink, more) = words.split_once(' ').unwrap_or((words, ""));
    scene.ctl(&format!("attach {uplink} {} {more}", guest.reference())).map(drop)
}

#[test]
fn a_dummy_has_its_address_and_goes_without_a_trace() -> Result<()> {
    needs!(Root, Dummy);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let before = scene.snapshot()?;

    attach(&scene, &guest, "dummy --ip 192.0.2.10/32 --ip 2001:db8::10/128 --mtu 1300 --ifname dummy7")?;
    let made = link(&guest, "dummy7")?;
    assert_eq!((&made["linkinfo"]["info_kind"], &made["mtu"]), (&json!("dummy"), &json!(1300)));
    assert!(reach(&guest.inside()?, &guest.inside()?, address("192.0.2.10"))? == Reach::BOTH);
    scene.ctl(&format!("detach {}", guest.reference()))?;

    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn ipvlans_of_each_mode_have_their_parents_mac_address_and_reach_each_other() -> Result<()> {
    needs!(Root, Ipvlan);
    let scene = Scene::linux()?;
    let guests = [scene.host.guest("one")?, scene.host.guest("two")?];
    let nic = scene.host.inside().ip_json("link show eth1")?.remove(0);
    let before = scene.snapshot()?;

    for mode in ["l2", "l3", "l3s"] {
        for (place, guest) in guests.iter().enumerate() {
            attach(&scene, guest, &format!("eth1 --kind ipvlan --mode {mode} --ip 192.0.2.1{place}/24"))?;
            let made = link(guest, "eth1")?;
            assert_eq!(made["linkinfo"]["info_data"]["mode"], mode);
            assert_eq!(made["address"], nic["address"]);
        }
        let (one, two) = (guests[0].inside()?, guests[1].inside()?);
        assert_eq!(reach(&one, &two, address("192.0.2.11"))?, Reach::BOTH, "{mode}");
        for guest in &guests {
            scene.ctl(&format!("detach {}", guest.reference()))?;
        }
        unchanged(mode, &before, &scene.snapshot()?);
    }
    scene.lab.finish()
}

#[test]
fn macvlan_and_ipvlan_on_one_nic_exclude_each_other() -> Result<()> {
    needs!(Root, Macvlan, Ipvlan);
    let scene = Scene::linux()?;
    let guests = [scene.host.guest("one")?, scene.host.guest("two")?];

    for kinds in [["macvlan", "ipvlan"], ["ipvlan", "macvlan"]] {
        attach(&scene, &guests[0], &format!("eth1 --kind {} --no-ip", kinds[0]))?;
        // Also until the guest's link has the address that its kernel makes, and the routes to it.
        let before = scene.settled()?;
        let line = format!("attach eth1 {} --kind {} --no-ip", guests[1].reference(), kinds[1]);
        let answer = scene.agent.ctl(&line)?;
        assert!(answer.stderr.contains("[UPLINK_BUSY]"), "{}", answer.stderr);
        before.assert_same(&scene.snapshot()?);
        scene.ctl(&format!("detach {}", guests[0].reference()))?;
    }
    scene.lab.finish()
}

#[test]
fn the_sub_interface_of_a_vlan_comes_with_its_first_guest_and_goes_with_its_last() -> Result<()> {
    needs!(Root, Macvlan, Vlan);
    let scene = Scene::linux()?;
    let guests = [scene.host.guest("one")?, scene.host.guest("two")?];
    scene.host.inside().ip("link set eth1 down")?;

    for (place, guest) in guests.iter().enumerate() {
        attach(&scene, guest, &format!("eth1 --vlan 100 --ip 192.0.2.1{place}/24"))?;
    }
    assert!(scene.host.inside().has_link("eth1.100")?);
    assert_eq!(reach(&guests[0].inside()?, &guests[1].inside()?, address("192.0.2.11"))?, Reach::BOTH);
    scene.ctl(&format!("detach {}", guests[0].reference()))?;
    assert!(scene.host.inside().has_link("eth1.100")?);
    guests[1].kill()?;

    until("the sub-interface goes with its last guest", || Ok(!scene.host.inside().has_link("eth1.100")?))?;
    until("and the NIC is down again", || {
        Ok(scene.host.inside().ip_json("link show up")?.iter().all(|link| link["ifname"] != "eth1"))
    })?;
    scene.lab.finish()
}

#[test]
fn a_sub_interface_of_somebody_else_is_used_and_left() -> Result<()> {
    needs!(Root, Macvlan, Vlan);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    for words in
        ["add link eth1 name office type vlan id 100", "set office addrgenmode none", "set office up"]
    {
        scene.host.inside().ip(&format!("link {words}"))?;
    }
    // The kernel tells a little later that a sub-interface is up.
    until("it is up", || Ok(scene.host.inside().ip("link show office")?.contains("state UP")))?;
    let before = scene.snapshot()?;

    attach(&scene, &guest, "eth1 --vlan 100 --no-ip")?;
    assert!(!scene.host.inside().has_link("eth1.100")?);
    scene.ctl(&format!("detach {}", guest.reference()))?;
    before.assert_same(&scene.snapshot()?);

    let line = format!("attach eth1 {} --kind vlan --vlan 100 --no-ip", guest.reference());
    let answer = scene.agent.ctl(&line)?;
    assert!(answer.stderr.contains("[UPLINK_BUSY]") && answer.stderr.contains("office"), "{}", answer.stderr);
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_sub_interface_in_the_guest_itself_hears_its_vlan() -> Result<()> {
    needs!(Root, Macvlan, Vlan);
    let scene = Scene::linux()?;
    let guests = [scene.host.guest("one")?, scene.host.guest("two")?];
    let before = scene.snapshot()?;

    attach(&scene, &guests[0], "eth1 --kind vlan --vlan 100 --ip 192.0.2.10/24")?;
    let made = link(&guests[0], "eth1")?;
    assert_eq!(made["linkinfo"]["info_data"]["id"], 100);
    let line = format!("attach eth1 {} --kind vlan --vlan 100 --no-ip", guests[1].reference());
    let answer = scene.agent.ctl(&line)?;
    assert!(answer.stderr.contains("[UPLINK_BUSY]"), "{}", answer.stderr);
    scene.ctl(&format!("detach {}", guests[0].reference()))?;

    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}
