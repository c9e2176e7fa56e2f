//! The database of Open vSwitch is another one than it was: of an older schema, empty, or put back from a copy.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use pipewright_tests::ovs::{Daemon, Ovs};
use pipewright_tests::process::{command, output};
use pipewright_tests::{AgentOptions, Reach, Snapshot, needs, reach};

use crate::ask;
use crate::drift::{drifts, host_end, revision, told};
use crate::scene::{FOREIGN, Scene, until};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

fn database(ovs: &Ovs) -> PathBuf {
    ovs.dir().join("conf.db")
}

/// Puts a database in the place of the one that is, under a running agent and a running ovs-vswitchd.
fn replace(ovs: &Ovs, put: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    ovs.kill9(Daemon::Database)?;
    std::fs::remove_file(database(ovs))?;
    put(&database(ovs))?;
    ovs.start_daemon(Daemon::Database)
}

fn empty(schema: &Path) -> impl FnOnce(&Path) -> Result<()> {
    move |file| output(command("ovsdb-tool")?.arg("create").arg(file).arg(schema)).map(drop)
}

#[test]
fn a_schema_that_lacks_a_column_is_named_and_nothing_is_changed_until_it_is_converted() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (web, db) = (scene.host.guest("web")?, scene.host.guest("db")?);
    let ovs = scene.host.ovs()?;
    let mut schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(SCHEMA)?)?;
    let columns = &mut schema["tables"]["Open_vSwitch"]["columns"];
    columns.as_object_mut().context("columns")?.remove("ovs_version").context("a column that is read")?;
    schema["version"] = "7.0.0".into();
    let older = scene.host.dir().join("older.ovsschema");
    std::fs::write(&older, schema.to_string())?;
    replace(ovs, empty(&older))?;
    ovs.vsctl("--no-wait init")?;
    until("the bridge of before is gone", || Ok(!scene.host.inside().has_link(FOREIGN)?))?;
    ovs.add_bridge(FOREIGN)?;
    let before = scene.settled()?;

    let attach = format!("attach {FOREIGN} {} --ip 192.0.2.10/24 --vlan 100", web.reference());
    let answer = scene.agent.ctl(&attach)?;
    ask::refused(answer, "STEP_FAILED", &["ovs_version", "ovsdb-client convert"]);
    before.assert_same(&scene.snapshot()?);
    // What needs no Open vSwitch goes on, and so does looking.
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.20/24", db.reference()))?;
    assert_eq!(scene.agent.list()?.len(), 1);
    scene.ctl(&format!("detach {}", db.reference()))?;
    before.wait_same(&scene.host)?;

    output(command("ovsdb-client")?.args(["--timeout=10", "convert", &ovs.endpoint(), SCHEMA]))?;
    until("it is used", || Ok(scene.agent.ctl(&attach)?.code == 0))?;
    assert_eq!(ovs.vsctl(&format!("list-ports {FOREIGN}"))?.trim(), host_end(&scene, &web)?);
    scene.ctl(&format!("detach {}", web.reference()))?;
    before.wait_same(&scene.host)?;
    scene.lab.finish()
}

#[test]
fn a_database_that_is_begun_anew_under_the_agent_gets_its_ports_back() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (web, db) = (scene.host.guest("web")?, scene.host.guest("db")?);
    scene.ctl(&format!("attach ovs0 {} --ip 192.0.2.10/24 --vlan 100", web.reference()))?;
    scene.ctl(&format!("attach {FOREIGN} {} --ip 192.0.2.20/24 --vlan 100", db.reference()))?;
    let (ours, other) = (host_end(&scene, &web)?, host_end(&scene, &db)?);
    let ovs = scene.host.ovs()?;
    let since = revision(&scene)?;

    replace(ovs, empty(Path::new(SCHEMA)))?;
    ovs.vsctl("--no-wait init")?;

    // The bridge of ours is made again, and that of others is theirs to make.
    told(&scene, since, &format!("repaired: port of {ours}"))?;
    assert_eq!(ovs.vsctl("list-ports ovs0")?.trim(), ours);
    until("it is said what is missing", || {
        Ok(drifts(&scene, &db)?.iter().any(|(_, why)| why.contains(FOREIGN)))
    })?;
    assert_eq!(ovs.vsctl("list-br")?.trim(), "ovs0");
    ovs.add_bridge(FOREIGN)?;
    told(&scene, since, &format!("repaired: port of {other}"))?;
    assert_eq!(ovs.vsctl(&format!("list-ports {FOREIGN}"))?.trim(), other);
    assert_eq!(ovs.vsctl(&format!("get Port {other} tag"))?.trim(), "100");

    for guest in [&web, &db] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    assert_eq!(ovs.vsctl("list-br")?.trim(), FOREIGN);
    assert_eq!(ovs.vsctl(&format!("list-ports {FOREIGN}"))?.trim(), "");
    scene.lab.finish()
}

#[test]
fn a_database_that_is_put_back_from_a_copy_gets_what_came_since_and_loses_what_went() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs_with(AgentOptions::default().argument("--sweep").argument("1"))?;
    let (stays, goes, comes) =
        (scene.host.guest("stays")?, scene.host.guest("goes")?, scene.host.guest("comes")?);
    let ovs = scene.host.ovs()?;
    let before = Snapshot::take(&scene.host)?;
    let attach = |guest: &pipewright_tests::Guest, last: u8| {
        scene.ctl(&format!("attach ovs0 {} --ip 192.0.2.{last}/24 --vlan 100", guest.reference()))
    };
    attach(&stays, 1)?;
    attach(&goes, 2)?;
    let gone = host_end(&scene, &goes)?;
    let copy = scene.host.dir().join("copy.db");
    std::fs::copy(database(ovs), &copy)?;
    scene.ctl(&format!("detach {}", goes.reference()))?;
    attach(&comes, 3)?;
    let came = host_end(&scene, &comes)?;
    let since = revision(&scene)?;

    replace(ovs, |file| Ok(std::fs::copy(&copy, file).map(drop)?))?;

    told(&scene, since, &format!("repaired: port of {came}"))?;
    until("the port of what was detached is gone again", || {
        Ok(!ovs.vsctl("list-ports ovs0")?.contains(&gone))
    })
    .with_context(|| scene.agent.log())?;
    assert_eq!(reach(&stays.inside()?, &comes.inside()?, "192.0.2.3".parse()?)?, Reach::BOTH);
    assert_eq!(scene.agent.list()?.len(), 2);
    // The next change is counted on from the copy's.
    attach(&goes, 2)?;
    for guest in [&stays, &goes, &comes] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    before.wait_same(&scene.host)?;
    scene.lab.finish()
}

#[test]
fn a_database_whose_end_was_cut_off_gets_back_what_was_written_there() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (web, db) = (scene.host.guest("web")?, scene.host.guest("db")?);
    let before = Snapshot::take(&scene.host)?;
    for (guest, last) in [(&web, 1), (&db, 2)] {
        scene.ctl(&format!("attach ovs0 {} --ip 192.0.2.{last}/24 --vlan 100", guest.reference()))?;
    }
    let (kept, lost) = (host_end(&scene, &web)?, host_end(&scene, &db)?);
    let ovs = scene.host.ovs()?;
    let since = revision(&scene)?;

    ovs.kill9(Daemon::Database)?;
    // In the midst of the transaction that made the second port.
    let whole = std::fs::read(database(ovs))?;
    let is_name = |part: &[u8]| part == lost.as_bytes();
    let cut = whole.windows(lost.len()).position(is_name).context("the second port is in the file")?;
    std::fs::write(database(ovs), &whole[..cut])?;
    ovs.start_daemon(Daemon::Database)?;

    told(&scene, since, &format!("repaired: port of {lost}"))?;
    let ports = ovs.vsctl("list-ports ovs0")?;
    let mut ports: Vec<&str> = ports.split_whitespace().collect();
    ports.sort_unstable();
    let mut expected = [kept.as_str(), lost.as_str()];
    expected.sort_unstable();
    assert_eq!(ports, expected);
    assert_eq!(ovs.vsctl(&format!("get Port {lost} tag"))?.trim(), "100");
    assert_eq!(reach(&web.inside()?, &db.inside()?, "192.0.2.2".parse()?)?, Reach::BOTH);
    for guest in [&web, &db] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    before.wait_same(&scene.host)?;
    scene.lab.finish()
}
