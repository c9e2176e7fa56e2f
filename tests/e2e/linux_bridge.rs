//! Attach and detach leave nothing.

use anyhow::Result;
use pipewright_tests::{Snapshot, needs};

use crate::scene::Scene;

#[test]
fn attach_and_detach_of_either_kind_leave_nothing() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let guest = scene.host.guest("web")?;
    let before = Snapshot::take(&scene.host)?;

    for uplink in ["br0", "ovs0 --vlan 100"] {
        scene.ctl(&format!(
            "attach {uplink} {} --ip 192.0.2.10/24 --ip 2001:db8::10/64 --gateway 192.0.2.1",
            guest.reference()
        ))?;
        assert_eq!(scene.agent.list()?.len(), 1);
        scene.ctl(&format!("detach {}", guest.reference()))?;
        assert_eq!(scene.agent.list()?.len(), 0);
        before.assert_same(&Snapshot::take(&scene.host)?);
    }
    scene.lab.finish()
}
