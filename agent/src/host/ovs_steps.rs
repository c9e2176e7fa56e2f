//! Steps that Open vSwitch takes.

use std::time::{Duration, Instant};

use pipewright_api::net::LinkName;
use pipewright_api::spec::SwitchKind;

use crate::host::kernel::Kernel;
use crate::step::{Port, Step, StepError};
use crate::switches::ovs::{Ovs, OvsPort, Plug, Released, SwitchError};

/// How long ovs-vswitchd may take to make a port. With a thousand ports on the bridge it needs a good second for fifty
/// more.
const REALISED: Duration = Duration::from_secs(10);
/// How long ovs-vswitchd may take to delete the link of a bridge.
const LET_GO: Duration = Duration::from_secs(3);

/// Takes one step whose place is Open vSwitch.
///
/// # Errors
/// [`StepError::Switch`]; [`StepError::NotAsAsked`] when what was made is not what was asked for.
pub(super) async fn take(ovs: &Ovs, kernel: &Kernel, step: &Step) -> Result<(), StepError> {
    let refused = |source| StepError::Switch { step: step.to_string(), source };
    match step {
        Step::EnsureBridge { bridge, kind: SwitchKind::Ovs, mac } => {
            ovs.ensure_bridge(bridge, Some(*mac)).await.map(|_| ()).map_err(refused)
        }
        // What is not ours, or still has ports, is left; that is what releasing means.
        Step::ReleaseBridge { bridge, kind: SwitchKind::Ovs } => {
            match ovs.release_bridge(bridge).await.map_err(refused)? {
                Released::Yes => let_go(ovs, kernel, bridge).await,
                Released::Absent | Released::Foreign | Released::InUse => {}
            }
            Ok(())
        }
        Step::PlugPort(Port { id, bridge, port, vlan, purpose, labels }) => {
            let plug = Plug {
                bridge: bridge.clone(),
                port: port.clone(),
                vlan: vlan.clone(),
                id: *id,
                purpose: *purpose,
                labels: labels.clone(),
            };
            ovs.plug(plug).await.map_err(refused)
        }
        Step::UnplugPort { id, port } => ovs.unplug(port, *id).await.map(|_| ()).map_err(refused),
        Step::SetPortVlan { id, port, to, .. } => match ovs.set_vlan(port, *id, to.clone()).await {
            // Taken back after the port went.
            Err(SwitchError::NoPort { .. }) => Ok(()),
            result => result.map_err(refused),
        },
        Step::AwaitPort(wanted) => {
            ovs.realised(&wanted.port, wanted.id, Instant::now() + REALISED).await.map_err(refused)?;
            compare(wanted, ovs.port(&wanted.port))
        }
        _ => unreachable!("{step} is not a step of Open vSwitch"),
    }
}

/// Waits until a bridge's own link is gone from the host. The bridge is out of the database, so an ovs-vswitchd that does
/// not run, or hangs, deletes the link when it does run again, if it is one of the kernel's datapath. One of the userspace
/// datapath outlives an ovs-vswitchd that dies, and the next does not know of it.
async fn let_go(ovs: &Ovs, kernel: &Kernel, bridge: &LinkName) {
    if let Err(error) = ovs.settled(Instant::now() + LET_GO).await {
        tracing::warn!(%bridge, %error, "the bridge is released, and ovs-vswitchd has not deleted its link");
    }
    if ovs.bridges().iter().any(|made| made.name == bridge.as_str()) {
        return;
    }
    if let Err(error) = kernel.remove_tap(bridge).await {
        tracing::warn!(%bridge, %error, "the bridge is released, but its link is still there");
    }
}

/// A wrong tag would put a guest into somebody else's network.
fn compare(wanted: &Port, found: Option<OvsPort>) -> Result<(), StepError> {
    let object = || format!("port {}", wanted.port);
    let found = found.unwrap_or_else(|| OvsPort::absent(wanted.port.as_str()));
    if found.bridge.as_deref() != Some(wanted.bridge.as_str()) {
        let (found, expected) = (found.bridge.unwrap_or_default(), wanted.bridge.to_string());
        return Err(StepError::NotAsAsked { object: object(), what: "bridge", found, expected });
    }
    if found.vlan.as_ref() != Some(&wanted.vlan) {
        let (found, expected) = (format!("{:?}", found.vlan), format!("{:?}", wanted.vlan));
        return Err(StepError::NotAsAsked { object: object(), what: "VLAN", found, expected });
    }
    Ok(())
}
