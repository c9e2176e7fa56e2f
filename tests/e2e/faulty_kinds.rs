//! Faults at each step of links that are born in their guest, on a NIC that is down until then, and on nothing. What kills the agent on
//! the way to a macvlan is the same for the others, which take minutes in the VM.

use anyhow::Result;
use pipewright_tests::needs;

use crate::refused_step::{
    attach, each_refused_step_leaves_nothing, each_refused_undo_is_named_and_made_good,
};
use crate::scene::Scene;
use crate::sudden_death::{dies_in_a_detach, dies_in_an_attach};

const MACVLAN: &str = "eth1";
/// Its sub-interface is to be made, too.
const MACVLAN_IN_VLAN: &str = "eth1 --vlan 100";
const IPVLAN: &str = "eth1 --kind ipvlan";
const VLAN: &str = "eth1 --kind vlan --vlan 100";
const DUMMY: &str = "dummy";

fn scene() -> Result<Scene> {
    let scene = Scene::linux()?;
    scene.host.inside().ip("link set eth1 down")?;
    Ok(scene)
}

fn refused(uplink: &str) -> Result<()> {
    let scene = scene()?;
    each_refused_step_leaves_nothing(&scene, |guest| attach(uplink, guest))?;
    scene.lab.finish()
}

fn not_undone(uplink: &str, least: usize) -> Result<()> {
    let scene = scene()?;
    each_refused_undo_is_named_and_made_good(&scene, |guest| attach(uplink, guest), least)?;
    scene.lab.finish()
}

fn killed(uplink: &str) -> Result<()> {
    let scene = scene()?;
    dies_in_an_attach(&scene, |guest| attach(uplink, guest))?;
    scene.lab.finish()
}

fn killed_on_the_way_back(uplink: &str, least: usize) -> Result<()> {
    let scene = scene()?;
    dies_in_a_detach(&scene, |guest| attach(uplink, guest), least)?;
    scene.lab.finish()
}

#[test]
fn whichever_step_towards_a_macvlan_is_refused_nothing_is_left() -> Result<()> {
    needs!(Root, Macvlan);
    refused(MACVLAN)
}

#[test]
fn a_refused_undo_of_a_macvlan_is_named_and_the_next_detach_makes_it_good() -> Result<()> {
    needs!(Root, Macvlan);
    not_undone(MACVLAN, 6)
}

#[test]
fn an_agent_killed_at_any_step_towards_a_macvlan_leaves_nothing_half_done() -> Result<()> {
    needs!(Root, Macvlan);
    killed(MACVLAN)
}

#[test]
fn an_agent_killed_at_any_step_of_a_macvlans_detach_finishes_it_when_it_starts() -> Result<()> {
    needs!(Root, Macvlan);
    killed_on_the_way_back(MACVLAN, 12)
}

#[test]
fn whichever_step_towards_a_macvlan_in_a_vlan_is_refused_nothing_is_left() -> Result<()> {
    needs!(Root, Macvlan, Vlan);
    refused(MACVLAN_IN_VLAN)
}

#[test]
fn an_agent_killed_at_any_step_towards_a_macvlan_in_a_vlan_leaves_nothing_half_done() -> Result<()> {
    needs!(Root, Macvlan, Vlan);
    killed(MACVLAN_IN_VLAN)
}

#[test]
fn an_agent_killed_at_any_step_of_the_detach_of_a_macvlan_in_a_vlan_finishes_it_when_it_starts() -> Result<()>
{
    needs!(Root, Macvlan, Vlan);
    killed_on_the_way_back(MACVLAN_IN_VLAN, 14)
}

#[test]
fn whichever_step_towards_an_ipvlan_is_refused_nothing_is_left() -> Result<()> {
    needs!(Root, Ipvlan);
    refused(IPVLAN)
}

#[test]
fn whichever_step_towards_a_sub_interface_is_refused_nothing_is_left() -> Result<()> {
    needs!(Root, Vlan);
    refused(VLAN)
}

#[test]
fn whichever_step_towards_a_dummy_is_refused_nothing_is_left() -> Result<()> {
    needs!(Root, Dummy);
    refused(DUMMY)
}
