//! NICs and radios that are no other end of anything: when their guest dies, the kernel gives them back to the machine's first
//! namespace, under whatever name is free. So the host of these stories is the machine itself, in the VM's lane.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use pipewright_tests::{AgentOptions, Guest, Lab, Reach, needs, reach};
use serde_json::Value;

use crate::direct::{are_set, furnish, in_order, set};
use crate::macvlan::{address, link};
use crate::refused_step::unchanged;
use crate::scene::{Scene, until};

/// The VM's two NICs, which are joined to each other; see `tests/vm/boot`.
const NICS: [&str; 2] = ["52:54:00:5e:10:01", "52:54:00:5e:10:02"];

/// The machine is one, and stories run side by side.
fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn machine() -> Result<Scene> {
    let lab = Lab::new()?;
    let host = lab.machine()?;
    let agent = host.agent(AgentOptions::default())?;
    Ok(Scene { lab, host, agent })
}

/// The name of the NIC with that address.
fn nic(scene: &Scene, mac: &str) -> Result<String> {
    let links = scene.host.inside().ip_json("link show")?;
    let found = links.iter().find(|link| link["address"] == mac).with_context(|| format!("no {mac}"))?;
    Ok(found["ifname"].as_str().unwrap_or_default().to_owned())
}

/// What a NIC of the machine is after a story, for the next one.
fn strip(scene: &Scene, nic: &str) -> Result<()> {
    let host = scene.host.inside();
    for words in [
        "link set NIC down",
        "address flush dev NIC",
        "link property del dev NIC altname a-name-that-is-longer-than-a-link-name altname lan0",
        "link set NIC promisc off",
        "link set NIC mtu 1500",
    ] {
        host.ip(&words.replace("NIC", nic))?;
    }
    Ok(())
}

fn attach(scene: &Scene, nic: &str, guest: &Guest, more: &str) -> Result<()> {
    scene.ctl(&format!("attach {nic} {} --kind direct {more}", guest.reference())).map(drop)
}

#[test]
fn hardware_comes_back_as_it_was_on_detach_and_when_its_guest_dies_whoever_is_there_to_see_it() -> Result<()>
{
    needs!(Root, SpareNic);
    let _alone = alone();
    let scene = machine()?;
    let host = scene.host.inside();
    for (mine, other) in [(NICS[0], NICS[1]), (NICS[1], NICS[0])] {
        let (nic, other) = (nic(&scene, mine)?, nic(&scene, other)?);
        furnish(host, &nic)?;
        set(host, &nic)?;
        for words in
            ["link set OTHER addrgenmode none", "link set OTHER up", "address add 192.0.2.20/24 dev OTHER"]
        {
            host.ip(&words.replace("OTHER", &other))?;
        }
        until("the NIC is up", || Ok(link_of(&scene, &nic)?["operstate"] == "UP"))?;
        let (before, order) = (scene.settled()?, in_order(host, &nic)?);
        let is_back = |when: &str| -> Result<()> {
            until(when, || Ok(scene.agent.list()?.is_empty() && link_of(&scene, &nic).is_ok()))?;
            // Its carrier comes and goes for some seconds after it is set up.
            before.wait_same(&scene.host).context(when.to_owned())?;
            assert_eq!(in_order(host, &nic)?, order, "{when}");
            assert!(are_set(host, &nic)?, "{when}");
            Ok(())
        };

        // Under the name of the other NIC, which the kernel cannot give it in the host: it comes back as `dev7`.
        for name in [&other, "uplink9"] {
            let more = format!("--ip 192.0.2.10/24 --ifname {name} --mac 02:00:5e:10:00:99");
            let guest = scene.host.process_guest("web")?;
            attach(&scene, &nic, &guest, &more)?;
            assert_eq!(link(&guest, name)?["address"], "02:00:5e:10:00:99");
            assert_eq!(reach(&guest.inside()?, host, address("192.0.2.20"))?, Reach::BOTH);
            scene.ctl(&format!("detach {}", guest.reference()))?;
            guest.kill()?;
            is_back("after a detach")?;

            let guest = scene.host.process_guest("api")?;
            attach(&scene, &nic, &guest, &more)?;
            guest.kill()?;
            is_back("after its guest died")?;

            let guest = scene.host.process_guest("db")?;
            attach(&scene, &nic, &guest, &more)?;
            scene.agent.kill9()?;
            guest.kill()?;
            scene.agent.start()?;
            is_back("after its guest died while no agent ran")?;
        }
        strip(&scene, &nic)?;
        strip_other(&scene, &other)?;
    }
    scene.lab.finish()
}

fn link_of(scene: &Scene, nic: &str) -> Result<Value> {
    let links = scene.host.inside().ip_json("link show")?;
    links.into_iter().find(|link| link["ifname"] == nic).with_context(|| format!("no {nic} in the host"))
}

fn strip_other(scene: &Scene, nic: &str) -> Result<()> {
    for words in ["address flush dev NIC", "link set NIC down"] {
        scene.host.inside().ip(&words.replace("NIC", nic))?;
    }
    Ok(())
}

#[test]
fn a_guest_that_wipes_off_every_mark_and_dies_gives_its_hardware_back_all_the_same() -> Result<()> {
    needs!(Root, SpareNic);
    let _alone = alone();
    let scene = machine()?;
    let nic = nic(&scene, NICS[0])?;
    let before = scene.snapshot()?;
    let guest = scene.host.process_guest("web")?;
    attach(&scene, &nic, &guest, "--no-ip --ifname mine0")?;

    // In one request, and the guest is gone before the agent looks; or the agent was quicker, and has it back.
    scene.agent.kill9()?;
    guest.ip("link set dev mine0 down group 0 alias mine mtu 1280 address 02:00:5e:10:00:66")?;
    guest.kill()?;
    scene.agent.start()?;

    until("the NIC is as it was", || Ok(before.diff(&scene.snapshot()?).is_empty()))?;
    scene.lab.finish()
}

#[test]
fn a_radio_moves_whole_and_comes_back_on_detach_and_when_its_guest_dies() -> Result<()> {
    needs!(Root, SpareNic, Iw);
    let _alone = alone();
    let scene = machine()?;
    let host = scene.host.inside();
    let before = scene.snapshot()?;

    for name in ["wlan0", "radio7"] {
        let guest = scene.host.process_guest("web")?;
        attach(&scene, "wlan0", &guest, &format!("--no-ip --ifname {name}"))?;
        assert!(!host.has_link("wlan0")?);
        assert_eq!(link(&guest, name)?["link_type"], "ether");
        let iw = guest.inside()?.command("iw")?.arg("dev").output()?;
        let said = String::from_utf8_lossy(&iw.stdout).into_owned();
        ensure!(said.contains(&format!("Interface {name}")), "iw in the guest: {said}");
        scene.ctl(&format!("detach {}", guest.reference()))?;
        guest.kill()?;
        unchanged("after a detach", &before, &scene.snapshot()?);

        let guest = scene.host.process_guest("api")?;
        attach(&scene, "wlan0", &guest, &format!("--no-ip --ifname {name}"))?;
        guest.kill()?;
        until("the radio is back", || Ok(before.diff(&scene.snapshot()?).is_empty()))?;
        until("its record is gone", || Ok(scene.agent.list()?.is_empty()))?;
    }
    scene.lab.finish()
}

#[test]
fn a_radio_with_more_links_is_refused_with_their_names() -> Result<()> {
    needs!(Root, SpareNic, Iw);
    let _alone = alone();
    let scene = machine()?;
    let guest = scene.host.guest("web")?;
    let iw = |words: &str| -> Result<()> {
        let output = scene.host.inside().command("iw")?.args(words.split(' ')).output()?;
        ensure!(output.status.success(), "iw {words}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    iw("dev wlan1 interface add mon7 type monitor")?;
    let before = scene.snapshot()?;

    let answer = scene.agent.ctl(&format!("attach wlan1 {} --kind direct --no-ip", guest.reference()))?;

    assert_eq!(answer.code, 1, "{}", answer.stdout);
    assert!(answer.stderr.contains("[UPLINK_BUSY]") && answer.stderr.contains("mon7"), "{}", answer.stderr);
    before.assert_same(&scene.snapshot()?);
    iw("dev mon7 del")?;
    scene.lab.finish()
}
