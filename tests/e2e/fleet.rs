//! A fleet from its file to its end: planned, applied, changed, destroyed.

use anyhow::{Context as _, Result};
use pipewright_tests::{Reach, needs};

use crate::fleet_scene::{FleetScene, Link, fleet};

const SWITCH: &str = "ovs0: { kind: ovs, hosts: [a, b, c], uplink: eth1 }";
const RED_AND_BLUE: &str = "red: { switch: ovs0, vlan: 100, subnet: 192.0.2.0/24 }
    blue: { switch: ovs0, vlan: 200, subnet: 192.0.2.0/24 }";
const LINKS: [Link; 4] =
    [("a", "red1", "red", 1), ("a", "blue1", "blue", 2), ("b", "red2", "red", 3), ("c", "blue2", "blue", 4)];

fn three_hosts() -> Result<FleetScene> {
    FleetScene::of(&["a", "b", "c"])?.with_guests(&["a/red1", "a/blue1", "b/red2", "c/blue2"])
}

/// `next_cfg` of every database: it counts every change that asks for ovs-vswitchd.
fn changes_of_ovs(scene: &FleetScene) -> Result<Vec<serde_json::Value>> {
    let next = |host: &std::sync::Arc<pipewright_tests::Host>| -> Result<serde_json::Value> {
        let rows = host.ovs()?.rows("Open_vSwitch", &["next_cfg"])?;
        Ok(rows.first().context("one root")?["next_cfg"].clone())
    };
    scene.hosts.iter().map(next).collect()
}

#[test]
fn a_fleet_is_planned_applied_once_and_destroyed_without_a_trace() -> Result<()> {
    needs!(Root, Ovs);
    let scene = three_hosts()?;
    let before = scene.snapshots()?;
    let file = scene.file("lab", SWITCH, RED_AND_BLUE, &LINKS)?;

    // A plan changes nothing and says that there is something to change.
    let plan = fleet("plan --exit-code", &file)?;
    assert_eq!(plan.code, 2, "{plan:?}");
    assert!(plan.stdout.contains("3 of 3 hosts to change"), "{plan:?}");
    assert_eq!(fleet("plan", &file)?.code, 0);
    scene.wait_same(&before)?;

    fleet("apply --yes", &file)?.ok()?;
    assert_eq!(scene.reach("red1", "red2", 3)?, Reach::BOTH);
    assert_eq!(scene.reach("blue2", "blue1", 2)?, Reach::BOTH);
    assert_eq!(scene.reach("red1", "blue1", 2)?, Reach::NEITHER);
    for host in ["a", "b", "c"] {
        assert_eq!(scene.trunks(host)?, Some(vec![100, 200]), "{host}");
    }

    // A second apply changes nothing, also in no database.
    let (applied, counted) = (scene.snapshots()?, changes_of_ovs(&scene)?);
    let plan = fleet("plan --exit-code", &file)?;
    assert_eq!((plan.code, plan.stdout.contains("3 hosts as wanted")), (0, true), "{plan:?}");
    let again = fleet("apply --yes -o json", &file)?.json()?;
    for host in again["hosts"].as_array().context("hosts")? {
        assert_eq!((&host["outcome"], &host["changes"]), (&"done".into(), &serde_json::json!([])));
    }
    scene.wait_same(&applied)?;
    assert_eq!(changes_of_ovs(&scene)?, counted);

    fleet("destroy --yes", &file)?.ok()?;
    scene.wait_same(&before)?;
    let twice = fleet("destroy --yes", &file)?.ok()?;
    assert!(twice.stdout.contains("3 hosts as wanted"), "{twice:?}");
    scene.wait_same(&before)?;
    scene.lab.finish()
}

#[test]
fn a_changed_file_changes_just_that_and_the_uplink_carries_just_the_vlans_in_use() -> Result<()> {
    needs!(Root, Ovs);
    let scene = three_hosts()?;
    let before = scene.snapshots()?;
    let apply = |segments: &str, links: &[Link]| -> Result<String> {
        Ok(fleet("apply --yes", &scene.file("lab", SWITCH, segments, links)?)?.ok()?.stdout)
    };
    let trunks = || -> Result<Vec<Option<Vec<u16>>>> {
        ["a", "b", "c"].into_iter().map(|host| scene.trunks(host)).collect()
    };
    apply(RED_AND_BLUE, &LINKS)?;
    let all = scene.agent("a")?.list()?;
    let id_of = |name: &str, listed: &[serde_json::Value]| {
        let guest = scene.guest(name).map(|guest| guest.reference().to_owned()).unwrap_or_default();
        listed.iter().find(|one| one["spec"]["guest"] == guest.as_str()).map(|one| one["id"].clone())
    };

    // A segment moves to another VLAN.
    let moved = RED_AND_BLUE.replace("vlan: 100", "vlan: 300");
    let said = apply(&moved, &LINKS)?;
    assert!(said.contains("VLAN 100") && said.contains("VLAN 300"), "{said}");
    assert_eq!(trunks()?, vec![Some(vec![200, 300]); 3]);
    assert_eq!(scene.reach("red1", "red2", 3)?, Reach::BOTH);
    // Blue's link is the one that it was.
    assert_eq!(id_of("blue1", &scene.agent("a")?.list()?), id_of("blue1", &all));

    // The last attachment of a segment goes, and with it the VLAN; the segment stays in the file.
    let said = apply(&moved, &[LINKS[0], LINKS[2]])?;
    assert!(said.contains("- remove attachment") && said.contains("trunks 200,300 → "), "{said}");
    assert_eq!(trunks()?, vec![Some(vec![300]); 3]);
    assert!(!scene.guest("blue1")?.inside()?.has_link("eth1")?);

    // It comes back.
    apply(&moved, &LINKS)?;
    assert_eq!(trunks()?, vec![Some(vec![200, 300]); 3]);
    assert_eq!(scene.reach("blue1", "blue2", 4)?, Reach::BOTH);

    // Without any attachment the uplink is no port: it would be a trunk of every VLAN.
    apply(&moved, &[])?;
    assert_eq!(trunks()?, vec![None; 3]);

    fleet("destroy --yes", &scene.lab.dir().join("lab.yaml"))?.ok()?;
    scene.wait_same(&before)?;
    scene.lab.finish()
}

#[test]
fn a_host_that_is_taken_out_of_a_switch_is_as_it_was() -> Result<()> {
    needs!(Root, Ovs);
    let scene = three_hosts()?;
    let before = scene.snapshots()?;
    fleet("apply --yes", &scene.file("lab", SWITCH, RED_AND_BLUE, &LINKS)?)?.ok()?;

    let file = scene.file("lab", &SWITCH.replace("[a, b, c]", "[a, b]"), RED_AND_BLUE, &LINKS[..3])?;
    let said = fleet("apply --yes", &file)?.ok()?.stdout;

    assert!(said.contains("- remove switch ovs0"), "{said}");
    before[2].wait_same(scene.host("c")?)?;
    assert_eq!(scene.agent("c")?.list()?.len(), 0);
    assert_eq!(scene.reach("red1", "red2", 3)?, Reach::BOTH);
    fleet("destroy --yes", &file)?.ok()?;
    scene.wait_same(&before)?;
    scene.lab.finish()
}

#[test]
fn a_host_that_is_away_does_not_stop_the_others_and_is_done_by_the_next_apply() -> Result<()> {
    needs!(Root, Ovs);
    let scene = three_hosts()?;
    let before = scene.snapshots()?;
    let file = scene.file("lab", SWITCH, RED_AND_BLUE, &LINKS)?;
    scene.agent("b")?.kill9()?;

    let answer = fleet("apply --yes -o json", &file)?;

    assert_eq!(answer.code, 1, "{answer:?}");
    let report: serde_json::Value = serde_json::from_str(&answer.stdout)?;
    let outcomes: Vec<_> =
        report["hosts"].as_array().context("hosts")?.iter().map(|host| host["outcome"].clone()).collect();
    assert_eq!(outcomes, ["done", "unreachable", "done"]);
    assert_eq!(scene.reach("blue1", "blue2", 4)?, Reach::BOTH);
    let plan = fleet("plan --exit-code", &file)?;
    assert_eq!((plan.code, plan.stdout.contains("2 of 3 hosts could be asked")), (1, true), "{plan:?}");
    let status = fleet("status", &file)?;
    assert!(status.stdout.contains("unknown") && status.stdout.contains("2"), "{status:?}");

    scene.agent("b")?.start()?;
    let said = fleet("apply --yes", &file)?.ok()?.stdout;
    assert!(said.contains("1 of 3 hosts changed"), "{said}");
    assert_eq!(scene.reach("red1", "red2", 3)?, Reach::BOTH);
    fleet("destroy --yes", &file)?.ok()?;
    scene.wait_same(&before)?;
    scene.lab.finish()
}

#[test]
fn a_linux_bridge_with_an_uplink_joins_two_hosts() -> Result<()> {
    needs!(Root, Ovs);
    let scene = FleetScene::of(&["a", "b"])?.with_guests(&["a/one", "b/two"])?;
    let before = scene.snapshots()?;
    let switches = "br0: { kind: linux, hosts: [a, b], uplink: eth1 }";
    let segments = "flat: { switch: br0, subnet: 192.0.2.0/24 }";
    let links = [("a", "one", "flat", 1), ("b", "two", "flat", 2)];
    let file = scene.file("lab", switches, segments, &links)?;

    fleet("apply --yes", &file)?.ok()?;
    assert_eq!(scene.reach("one", "two", 2)?, Reach::BOTH);
    let eth1 = scene.host("a")?.inside().ip_json("link show eth1")?;
    assert_eq!(eth1[0]["master"], "br0");
    let again = fleet("plan --exit-code", &file)?;
    assert_eq!(again.code, 0, "{again:?}");

    fleet("destroy --yes", &file)?.ok()?;
    scene.wait_same(&before)?;
    scene.lab.finish()
}

#[test]
fn two_fleets_on_one_host_do_not_touch_each_other() -> Result<()> {
    needs!(Root, Ovs);
    let scene = FleetScene::of(&["a"])?.with_guests(&["a/one", "a/two", "a/three"])?;
    let before = scene.snapshots()?;
    let file = |fleet: &str, switch: &str, links: &[Link]| {
        let switches = format!("{switch}: {{ kind: ovs, hosts: [a] }}");
        let segments = format!("red: {{ switch: {switch}, vlan: 100, subnet: 192.0.2.0/24 }}");
        scene.file(fleet, &switches, &segments, links)
    };
    let east = file("east", "ovs1", &[("a", "one", "red", 1), ("a", "two", "red", 2)])?;
    let west = file("west", "ovs2", &[("a", "three", "red", 3)])?;
    fleet("apply --yes", &east)?.ok()?;
    let with_east = scene.snapshots()?;

    fleet("apply --yes", &west)?.ok()?;
    assert_eq!(fleet("plan --exit-code", &east)?.code, 0);
    assert_eq!(
        scene.agent("a")?.ctl("-o json list --fleet west")?.json()?["attachments"][0]["fleet"],
        "west"
    );
    // What one has, the other is refused.
    let clash = file("north", "ovs1", &[])?;
    let refused = fleet("apply --yes", &clash)?;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("belongs to fleet east"), "{refused:?}");

    fleet("destroy --yes", &west)?.ok()?;
    scene.wait_same(&with_east)?;
    assert_eq!(scene.reach("one", "two", 2)?, Reach::BOTH);
    fleet("destroy --yes", &east)?.ok()?;
    scene.wait_same(&before)?;
    scene.lab.finish()
}
