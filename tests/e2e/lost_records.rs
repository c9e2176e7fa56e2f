//! An agent whose records are lost: what the kernel and Open vSwitch show of its attachments becomes records again, and
//! traffic goes on meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::process::run;
use pipewright_tests::{Reach, needs, reach};
use serde_json::Value;

use crate::scene::{FOREIGN, Scene, until};

/// What an operator recognises an attachment by.
fn essence(attachment: &Value) -> Value {
    let part = |key: &str| attachment[key].clone();
    let asked = |key: &str| attachment["spec"][key].clone();
    serde_json::json!({
        "id": part("id"), "state": part("state"), "host_ifname": part("host_ifname"), "mac": part("mac"), "mtu": part("mtu"),
        "netns": part("guest")["netns_cookie"], "ifname": asked("ifname"), "uplink": asked("uplink"), "kind": asked("kind"),
        "addresses": asked("static_addresses"), "gateways": asked("gateways"), "routes": asked("routes"),
        "vlan": asked("access_vlan"), "trunk": asked("trunk_vlans"), "present": part("observed")["present"],
        "bridge": part("observed")["bridge"],
    })
}

fn essences(scene: &Scene) -> Result<Vec<Value>> {
    Ok(scene.agent.list()?.iter().map(essence).collect())
}

const ON_LINUX: &str = "--ip 192.0.2.10/24 --ip 2001:db8::10/64 --gateway 192.0.2.1 --gateway fe80::1 \
                        --route 198.51.100.0/24 --route 203.0.113.0/24@192.0.2.7 --mtu 1400";
const ON_OVS: &str = "--ip 192.0.2.20/24 --vlan 100 --ifname eth2 --mac 02:00:5e:00:53:07 --host-ifname web7";
const TRUNK: &str = "--no-ip --trunk 100,200 --ifname eth3";

#[test]
fn records_that_are_lost_are_made_anew_of_what_is_there() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (web, peer) = (scene.host.guest("web")?, scene.host.guest("peer")?);
    let before = scene.snapshot()?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.1/24", peer.reference()))?;
    scene.ctl(&format!("attach br0 {} {ON_LINUX}", web.reference()))?;
    scene.ctl(&format!("attach {FOREIGN} {} {ON_OVS}", web.reference()))?;
    scene.ctl(&format!("attach ovs1 {} {TRUNK}", web.reference()))?;
    let (attached, shown) = (essences(&scene)?, scene.settled()?);

    scene.agent.kill9()?;
    fs::remove_dir_all(scene.agent.state_dir())?;
    scene.agent.start()?;

    until("all have records again", || Ok(scene.agent.list()?.len() == 4))?;
    assert_eq!(essences(&scene)?, attached);
    shown.assert_same(&scene.settled()?);
    assert_eq!(reach(&web.inside()?, &peer.inside()?, "192.0.2.1".parse()?)?, Reach::BOTH);

    // They are as good as any: asking again is answered, asking otherwise refused, and they last.
    let again = scene.ctl(&format!("-o json attach br0 {} {ON_LINUX}", web.reference()))?.json()?;
    ensure!(again["created"] != true, "{again}");
    let again = scene.ctl(&format!("-o json attach {FOREIGN} {} {ON_OVS}", web.reference()))?.json()?;
    ensure!(again["created"] != true, "{again}");
    let other = scene.agent.ctl(&format!("attach br0 {} --ip 192.0.2.99/24", web.reference()))?;
    assert!(other.stderr.contains("attached already in another way"), "{}", other.stderr);
    scene.agent.crash_and_restart()?;
    assert_eq!(essences(&scene)?, attached);

    for guest in [&web, &peer] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    assert_eq!(scene.agent.list()?, Vec::<Value>::new());
    before.wait_same(&scene.host)?;
    scene.lab.finish()
}

#[test]
fn the_links_of_another_agent_in_the_host_are_its_own() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let web = scene.host.guest("web")?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", web.reference()))?;

    let second = scene.host.agent(pipewright_tests::AgentOptions::default())?;

    assert_eq!(second.list()?, Vec::<Value>::new());
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn an_alias_that_somebody_else_wrote_makes_no_record() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let web = scene.host.guest("web")?;
    let alias = format!("pipewright 00000000-0000-4000-8000-000000000001 eth1 - {}", web.reference());
    scene.host.inside().ip("link add theirs type veth peer name theirs1")?;
    scene.host.inside().ip("link set theirs group 77")?;
    let theirs = ["link", "set", "dev", "theirs", "alias", &alias];
    run(scene.host.inside().command("ip")?.args(theirs))?;

    scene.agent.crash_and_restart()?;

    assert_eq!(scene.agent.list()?, Vec::<Value>::new());
    scene.host.inside().ip("link del theirs")?;
    scene.lab.finish()
}

/// Every file below a folder that has something in it.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false if fs::metadata(&path)?.len() > 0 => found.push(path),
            false => {}
        }
    }
    found.sort();
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &to)?,
            false => drop(fs::copy(&path, &to)?),
        }
    }
    Ok(())
}

type Damage = fn(&mut Vec<u8>);

/// What can happen to a file.
fn damages() -> [(&'static str, Damage); 3] {
    [
        ("a flipped bit in its middle", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        }),
        ("a flipped bit at its beginning", |bytes| bytes[0] ^= 0x01),
        ("nothing of it", Vec::clear),
    ]
}

#[test]
fn whatever_file_of_the_state_directory_is_damaged_the_agent_starts_and_knows_its_attachments() -> Result<()>
{
    needs!(Root);
    let scene = Scene::linux()?;
    let (web, db) = (scene.host.guest("web")?, scene.host.guest("db")?);
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24 --gateway 192.0.2.1", web.reference()))?;
    // The journal's first part goes to a table of its own when it is started anew.
    scene.agent.crash_and_restart()?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.11/24", db.reference()))?;
    let attached = essences(&scene)?;
    scene.agent.kill9()?;
    let (state, good) = (scene.agent.state_dir(), scene.host.dir().join("good"));
    copy(&state, &good)?;

    let mut damaged = 0;
    for file in files(&good)? {
        let name = file.strip_prefix(&good)?;
        for (what, damage) in damages() {
            fs::remove_dir_all(&state)?;
            copy(&good, &state)?;
            let mut bytes = fs::read(&file)?;
            damage(&mut bytes);
            fs::write(state.join(name), bytes)?;

            scene.agent.start().with_context(|| format!("{what} of {}", name.display()))?;
            assert_eq!(essences(&scene)?, attached, "{what} of {}", name.display());
            scene.agent.kill9()?;
            damaged += 1;
        }
    }
    println!("{damaged} damages");
    ensure!(damaged >= 12, "the state directory has too few files to damage");

    scene.agent.start()?;
    for guest in [&web, &db] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    scene.lab.finish()
}

#[test]
fn a_journal_that_was_cut_anywhere_leaves_an_attachment_whole_or_nothing_of_it() -> Result<()> {
    needs!(Root);
    const CUTS: u64 = 12;
    let scene = Scene::linux()?;
    let web = scene.host.guest("web")?;
    let before = scene.snapshot()?;
    let (mut kept, mut taken_back) = (0, 0);

    for cut in 0..CUTS {
        scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", web.reference()))?;
        let attached = essences(&scene)?;
        scene.agent.kill9()?;
        let is_journal = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "jnl");
        let mut journals = files(&scene.agent.state_dir())?.into_iter().filter(is_journal);
        let journal = journals.next_back().context("a state directory has a journal")?;
        let length = fs::metadata(&journal)?.len();
        fs::File::options().write(true).open(&journal)?.set_len(length * cut / CUTS)?;

        scene.agent.start()?;

        let listed = essences(&scene)?;
        if listed.is_empty() {
            // The disk kept that it was begun, and not that it was done.
            before.assert_same(&scene.snapshot()?);
            taken_back += 1;
        } else {
            assert_eq!(listed, attached, "cut at {cut} of {CUTS}");
            scene.ctl(&format!("detach {}", web.reference()))?;
            before.assert_same(&scene.snapshot()?);
            kept += 1;
        }
    }
    println!("kept {kept}, taken back {taken_back}");
    ensure!(kept > 0, "no attachment outlived a cut");
    scene.lab.finish()
}
