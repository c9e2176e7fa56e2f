//! Whatever step is refused, nothing is left; and what cannot be taken back is named and taken back later.

use std::time::Duration;

use anyhow::{Result, ensure};
use pipewright_tests::{Guest, Snapshot, needs};
use serde_json::Value;

use crate::scene::{Scene, with_default_routes};

/// Both kinds with all that a plan can have: a bridge to be made, default routes to be set aside, routes.
pub(crate) const LINUX: &str = "br0";
pub(crate) const OVS: &str = "ovs0 --vlan 100";
/// Where the kernel's bridges filter VLANs.
pub(crate) const LINUX_VLAN: &str = "br0 --vlan 100";
/// And a NIC that is lent with all that can hang on it.
pub(crate) const NIC: &str = "eth1 --kind direct --mac 02:00:5e:10:00:99";

const END: Duration = Duration::from_secs(20);

/// An attach of a plan that is as long as can be.
pub(crate) fn attach(uplink: &str, guest: &Guest) -> String {
    format!(
        "attach {uplink} {} --ip 192.0.2.10/24 --ip 2001:db8::10/64 --gateway 192.0.2.1 --gateway 2001:db8::1 \
         --route 198.51.100.0/24@192.0.2.254",
        guest.reference()
    )
}

/// How many steps that attach takes.
pub(crate) fn steps(scene: &Scene, attach: &str) -> Result<usize> {
    let answer = scene.agent.ctl(&format!("-o json {attach} --dry-run"))?.json()?;
    let steps = answer["attachment"]["plan"].as_array().map_or(0, Vec::len);
    ensure!(steps >= 10, "a dry run shows {steps} steps: {answer}");
    Ok(steps)
}

fn every_refused_step_leaves_nothing(scene: Scene, uplink: &str) -> Result<()> {
    each_refused_step_leaves_nothing(&scene, |guest| attach(uplink, guest))?;
    scene.lab.finish()
}

/// Has each step of an attach refused in turn; nothing is left each time.
pub(crate) fn each_refused_step_leaves_nothing(
    scene: &Scene,
    attach: impl Fn(&Guest) -> String,
) -> Result<()> {
    let guest = scene.host.guest("web")?;
    with_default_routes(&guest)?;
    let before = scene.snapshot()?;
    let attach = attach(&guest);
    let steps = steps(scene, &attach)?;

    for n in 0..steps {
        scene.restart_with_fault(&format!("refuse:{n}"))?;
        let answer = scene.agent.ctl(&attach)?;

        assert_eq!(answer.code, 1, "step {n} of {steps} was not refused: {}", answer.stdout);
        let said = &answer.stderr;
        assert!(said.contains("[STEP_FAILED]") && said.contains("refused by a test"), "step {n}: {said}");
        assert!(said.contains("nothing is left of it"), "step {n}: {said}");
        unchanged(&format!("step {n}"), &before, &scene.snapshot()?);
        assert_eq!(scene.agent.list()?, Vec::<Value>::new(), "step {n}");
    }
    // One more than there are, and all is well.
    scene.restart_with_fault(&format!("refuse:{steps}"))?;
    scene.ctl(&attach)?;
    scene.ctl(&format!("detach {}", guest.reference())).expect_err("the undo's first step is refused");
    scene.ctl(&format!("detach {}", guest.reference()))?;
    unchanged("in the end", &before, &scene.snapshot()?);
    Ok(())
}

/// As `assert_same`, and says when.
#[track_caller]
pub(crate) fn unchanged(when: &str, before: &Snapshot, now: &Snapshot) {
    let diff = before.diff(now);
    assert!(diff.is_empty(), "{when}: the host is not as it was:\n{diff}");
}

#[test]
fn whichever_step_of_an_attach_to_a_linux_bridge_is_refused_nothing_is_left() -> Result<()> {
    needs!(Root);
    every_refused_step_leaves_nothing(Scene::linux()?, LINUX)
}

#[test]
fn whichever_step_of_an_attach_to_a_vlan_of_a_linux_bridge_is_refused_nothing_is_left() -> Result<()> {
    needs!(Root, BridgeVlans);
    every_refused_step_leaves_nothing(Scene::linux()?, LINUX_VLAN)
}

#[test]
fn whichever_step_of_an_attach_to_open_vswitch_is_refused_nothing_is_left() -> Result<()> {
    needs!(Root, Ovs);
    every_refused_step_leaves_nothing(Scene::ovs()?, OVS)
}

/// What is left undone is tried again once Open vSwitch is connected: that it is must not fall into the midst of the story.
fn settle(scene: &Scene) -> Result<()> {
    if scene.host.started_ovs().is_some() {
        scene.agent.wait_line("Open vSwitch is connected", END)?;
    }
    Ok(())
}

/// Starts the agent anew with a fault at the n-th step that a request takes. It applies the leases of DHCP
/// that it has first, once they are confirmed, each by a step; one of DHCPv6 that is confirmed is left as it is.
pub(crate) fn restart_with_fault_of_requests(scene: &Scene, fault: &str, n: usize) -> Result<()> {
    let listed = scene.agent.list()?;
    let leases: Vec<&str> = listed.iter().filter_map(|one| one["lease"]["address"].as_str()).collect();
    scene.restart_with_fault(&format!("{fault}:{}", n + leases.len()))?;
    settle(scene)?;
    for address in leases {
        scene.agent.wait_line(&format!("address=\"{address}\""), END)?;
    }
    Ok(())
}

fn every_refused_undo_is_named_and_made_good(scene: Scene, uplink: &str) -> Result<()> {
    // Of a NIC, all is one way back, after the guest's default routes.
    let least = if uplink == NIC { 5 } else { 6 };
    each_refused_undo_is_named_and_made_good(&scene, |guest| attach(uplink, guest), least)?;
    scene.lab.finish()
}

/// Has each step of the way back refused in turn, of which there are at least so many.
pub(crate) fn each_refused_undo_is_named_and_made_good(
    scene: &Scene,
    attach: impl Fn(&Guest) -> String,
    least: usize,
) -> Result<()> {
    let guest = scene.host.guest("web")?;
    with_default_routes(&guest)?;
    let before = scene.snapshot()?;
    let attach = attach(&guest);
    let detach = format!("detach {}", guest.reference());
    let steps = steps(scene, &attach)?;
    let mut undone = 0;

    loop {
        // The agent counts from its start, and an attachment that is there takes no steps then.
        scene.restart_with_fault("")?;
        scene.ctl(&attach)?;
        restart_with_fault_of_requests(scene, "refuse", undone)?;
        let answer = scene.agent.ctl(&detach)?;
        if answer.code == 0 {
            break;
        }
        let said = &answer.stderr;
        assert!(said.contains("[ROLLBACK_INCOMPLETE]"), "undo {undone}: {said}");
        assert!(said.contains("refused by a test") && said.contains("1 step left undone"), "{said}");
        let listed = scene.agent.list()?;
        assert_eq!(listed.len(), 1, "what is left undone stays in the list: {listed:?}");
        assert_eq!(listed[0]["state"], "ATTACHMENT_STATE_INCOMPLETE", "{listed:?}");
        assert_eq!(listed[0]["leftovers"].as_array().map_or(0, Vec::len), 1, "{listed:?}");

        scene.ctl(&detach)?;
        unchanged(&format!("undo {undone}"), &before, &scene.snapshot()?);
        undone += 1;
    }
    assert!(undone >= least, "only {undone} steps were undone");
    unchanged("in the end", &before, &scene.snapshot()?);

    // A rollback that is refused in its turn.
    for (at, undo) in [(steps - 1, steps), (steps / 2, steps + 1), (1, steps)] {
        scene.restart_with_fault(&format!("refuse:{at},refuse:{undo}"))?;
        settle(scene)?;
        let answer = scene.agent.ctl(&attach)?;
        assert!(answer.stderr.contains("[ROLLBACK_INCOMPLETE]"), "step {at}: {}", answer.stderr);
        let left = scene.settled()?;
        scene.agent.ctl(&format!("{attach} --dry-run"))?;
        unchanged("a dry run", &left, &scene.snapshot()?);
        assert_eq!(scene.agent.list()?.len(), 1);
        // Asking again for the same first takes back what was left.
        scene.ctl(&attach)?;
        scene.ctl(&detach)?;
        unchanged(&format!("step {at}"), &before, &scene.snapshot()?);
    }
    Ok(())
}

#[test]
fn a_refused_undo_on_a_linux_bridge_is_named_and_the_next_detach_makes_it_good() -> Result<()> {
    needs!(Root);
    every_refused_undo_is_named_and_made_good(Scene::linux()?, LINUX)
}

#[test]
fn a_refused_undo_in_a_vlan_of_a_linux_bridge_is_named_and_the_next_detach_makes_it_good() -> Result<()> {
    needs!(Root, BridgeVlans);
    every_refused_undo_is_named_and_made_good(Scene::linux()?, LINUX_VLAN)
}

#[test]
fn a_refused_undo_on_open_vswitch_is_named_and_the_next_detach_makes_it_good() -> Result<()> {
    needs!(Root, Ovs);
    every_refused_undo_is_named_and_made_good(Scene::ovs()?, OVS)
}

#[test]
fn whichever_step_of_lending_a_nic_is_refused_it_is_as_it_was() -> Result<()> {
    needs!(Root);
    every_refused_step_leaves_nothing(Scene::with_furnished_nic()?, NIC)
}

#[test]
fn a_refused_return_of_a_nic_is_named_and_the_next_detach_makes_it_good() -> Result<()> {
    needs!(Root);
    every_refused_undo_is_named_and_made_good(Scene::with_furnished_nic()?, NIC)
}
