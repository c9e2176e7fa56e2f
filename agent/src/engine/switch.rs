//! Bridges that a fleet wants on this host, and the uplinks that join them to the other hosts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pipewright_api::labels::Labels;
use pipewright_api::net::{LinkName, MacAddr, VlanId};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{FleetName, SwitchKind, SwitchSpec, UplinkSpec, Vlan};
use uuid::Uuid;

use super::Engine;
use crate::engine::ground::unreadable;
use crate::engine::records::{SwitchRecord, Write};
use crate::host::{Host, Refused};
use crate::kinds::{self, Bridge, Filtering};
use crate::step::{Port, Step};
use crate::switches::ovs::Purpose;

/// How long ovs-vswitchd may take to let go of what was removed.
const LET_GO: Duration = Duration::from_secs(10);

impl<H: Host> Engine<H> {
    /// Makes a switch as wanted, from whatever there is. Doing it again changes nothing.
    ///
    /// # Errors
    /// NO_UPLINK, UPLINK_BUSY with the holder, SPEC_DIFFERS, STEP_FAILED, ROLLBACK_INCOMPLETE.
    pub(super) async fn make_switch(&self, fleet: &FleetName, spec: &SwitchSpec) -> Result<(), Failure> {
        let known = self.shelf.switch(&spec.name);
        let id = known.as_ref().map_or_else(Uuid::now_v7, |known| known.id);
        let plan = self.switch_plan(id, spec).await?;
        let before = known.as_ref().map_or(&[][..], |known| &known.plan);
        let leaving: Vec<Step> = before.iter().filter(|step| is_left(step, before, &plan)).cloned().collect();
        let record = SwitchRecord {
            id,
            fleet: fleet.clone(),
            spec: spec.clone(),
            plan: keep_link_state(before, plan),
        };
        let _use = self.locks.use_bridge(&spec.name).await;
        self.records.intend(&[Write::Switch(Box::new(record.clone()))])?;
        let leftovers = self.undo(id, None, &leaving).await;
        if !leftovers.is_empty() {
            return Err(incomplete(&spec.name, &leftovers));
        }
        self.shelf.put_switch(record.clone());
        if let Err(refused) = self.take_switch(id, &record.plan).await {
            drop(_use);
            return Err(self.give_up(&record, known.is_none(), &refused).await);
        }
        self.records.settle(vec![Write::Switch(Box::new(record))]).await
    }

    /// The plan's steps, or the change of VLANs where a port is there already.
    async fn take_switch(&self, id: Uuid, plan: &[Step]) -> Result<(), Refused> {
        let mut steps = Vec::new();
        for step in plan {
            match step {
                Step::PlugPort(port) => {
                    match self.ovs.port(&port.port).filter(|there| there.id == Some(id)) {
                        Some(there) if there.vlan.as_ref() == Some(&port.vlan) => {}
                        Some(there) => steps.push(Step::SetPortVlan {
                            id,
                            port: port.port.clone(),
                            from: there.vlan.unwrap_or(Vlan::Every),
                            to: port.vlan.clone(),
                        }),
                        None => steps.push(step.clone()),
                    }
                }
                step => steps.push(step.clone()),
            }
        }
        self.host.take(None, &steps).await
    }

    /// Takes a switch back that could not be made, if it is new. One that was there stays recorded, so that the next
    /// apply goes on from there.
    async fn give_up(&self, record: &SwitchRecord, is_new: bool, refused: &Refused) -> Failure {
        let name = &record.spec.name;
        let text = format!("cannot make switch {name}: {}", refused.error);
        if is_new && let Err(failure) = self.remove_switch(record).await {
            return Failure::new(failure.reason(), format!("{text}; and {failure}"));
        }
        Failure::new(Reason::StepFailed, text)
    }

    /// Unplugs a switch's uplink, and deletes its bridge if it is ours and empty.
    ///
    /// # Errors
    /// ROLLBACK_INCOMPLETE; asking again tries again.
    pub(super) async fn remove_switch(&self, record: &SwitchRecord) -> Result<(), Failure> {
        let leftovers = self.undo(record.id, None, &record.plan).await;
        if !leftovers.is_empty() {
            return Err(incomplete(&record.spec.name, &leftovers));
        }
        self.shelf.remove_switch(&record.spec.name);
        self.records.settle(vec![Write::NoSwitch(record.spec.name.clone())]).await?;
        match record.spec.kind {
            // The uplink is the host's again only when ovs-vswitchd has let go of it.
            SwitchKind::Ovs => Ok(self.ovs.settled(Instant::now() + LET_GO).await?),
            SwitchKind::LinuxBridge => Ok(()),
        }
    }

    /// Whether a recorded switch is as it was made.
    pub(super) async fn is_intact(&self, record: &SwitchRecord) -> Result<bool, Failure> {
        let SwitchSpec { name, kind, uplink } = &record.spec;
        if matches!(self.bridge(name, Some(*kind)).await?, Bridge::Missing(_)) {
            return Ok(false);
        }
        let Some(UplinkSpec { link, trunk }) = uplink else { return Ok(true) };
        match kind {
            SwitchKind::Ovs if trunk.is_empty() => Ok(true),
            SwitchKind::Ovs => {
                let wanted = Vlan::Trunk(trunk.clone());
                let port = self.ovs.port(link);
                Ok(port.is_some_and(|port| {
                    port.bridge.as_deref() == Some(name.as_str())
                        && port.vlan.as_ref() == Some(&wanted)
                        && port.id == Some(record.id)
                }))
            }
            SwitchKind::LinuxBridge => {
                let bridge = self.kernel.link(name).await.map_err(unreadable)?;
                let link = self.kernel.link(link).await.map_err(unreadable)?;
                let (Some(bridge), Some(link)) = (bridge, link) else { return Ok(false) };
                if link.master != Some(bridge.index) || trunk.is_empty() {
                    return Ok(link.master == Some(bridge.index));
                }
                let vlans = self.kernel.port_vlans().await.map_err(unreadable)?;
                let wanted = Vlan::Trunk(trunk.clone());
                let is_tagged = vlans.get(&link.index).is_some_and(|there| there.is(&wanted));
                Ok(bridge.filtering.is_some() && is_tagged)
            }
        }
    }

    async fn switch_plan(&self, id: Uuid, spec: &SwitchSpec) -> Result<Vec<Step>, Failure> {
        let SwitchSpec { name, kind, uplink } = spec;
        let bridge = self.bridge(name, Some(*kind)).await?;
        let is_ours = match bridge {
            Bridge::Missing(_) => true,
            Bridge::Linux { ours, .. } | Bridge::Ovs { ours, .. } => ours,
        };
        let mut plan = Vec::new();
        if is_ours {
            let mac = MacAddr::derived(Uuid::new_v4().as_u64_pair().0);
            plan.extend(kinds::ensure_bridge(name, *kind, mac));
        }
        let Some(uplink) = uplink else { return Ok(plan) };
        if *kind == SwitchKind::LinuxBridge && !uplink.trunk.is_empty() {
            self.may_filter(name, &bridge).await?;
            let filtering = match bridge {
                Bridge::Linux { filtering, .. } => filtering,
                Bridge::Missing(_) | Bridge::Ovs { .. } => Filtering::Off,
            };
            plan.extend(kinds::filter_vlans(name, is_ours, filtering, Some(&uplink.link))?);
        }
        let is_down = self.check_uplink(id, name, uplink).await?;
        if *kind == SwitchKind::Ovs && uplink.trunk.is_empty() {
            return Ok(plan);
        }
        if is_down {
            plan.push(Step::SetHostLinkUp { link: uplink.link.clone() });
        }
        plan.extend(plug(id, name, *kind, uplink));
        Ok(plan)
    }

    /// Refuses an uplink that is missing or in use; answers whether it is down.
    async fn check_uplink(&self, id: Uuid, bridge: &LinkName, uplink: &UplinkSpec) -> Result<bool, Failure> {
        let name = &uplink.link;
        let Some(link) = self.kernel.link(name).await.map_err(unreadable)? else {
            let text =
                format!("uplink {name} of {bridge}: this host has no such link; see `pwctl host show`");
            return Err(Failure::new(Reason::NoUplink, text));
        };
        let busy = |holder: String, why: &str| {
            let text = format!("uplink {name} cannot be plugged into {bridge}: {why}");
            Err(Failure::new(Reason::UplinkBusy, text).with("holder", holder))
        };
        if let Some(port) = self.ovs.port(name).filter(|port| port.id != Some(id)) {
            let holder = port.bridge.unwrap_or_default();
            let why = format!("it is a port of Open vSwitch bridge {holder}; remove it there first");
            return busy(format!("ovs {holder}"), &why);
        }
        // The userspace datapath shows its ports with no master, the kernel's shows ovs-system.
        let is_own = self.ovs.port(name).is_some_and(|port| port.id == Some(id));
        if let Some(master) = link.master.filter(|_| !is_own) {
            let links = self.kernel.links().await.map_err(unreadable)?;
            let holder = links
                .into_iter()
                .find(|link| link.index == master)
                .map_or_else(String::new, |link| link.name);
            if holder != bridge.as_str() {
                return busy(
                    format!("bridge {holder}"),
                    &format!("it is a port of {holder}; take it out first"),
                );
            }
        }
        let addresses = self.kernel.addresses_of(link.index).await.map_err(unreadable)?;
        let global: Vec<String> = addresses
            .iter()
            .filter(|found| !is_link_local(&found.net))
            .map(|found| found.net.to_string())
            .collect();
        if !global.is_empty() {
            let list = global.join(", ");
            return busy(
                list.clone(),
                &format!("it carries {list}, which would be cut off; use a link without an address"),
            );
        }
        Ok(!link.up)
    }
}

fn is_link_local(net: &ipnet::IpNet) -> bool {
    matches!(net, ipnet::IpNet::V6(net) if net.addr().is_unicast_link_local())
}

fn plug(id: Uuid, bridge: &LinkName, kind: SwitchKind, uplink: &UplinkSpec) -> Vec<Step> {
    let UplinkSpec { link, trunk } = uplink;
    match kind {
        SwitchKind::LinuxBridge => {
            let mut steps = vec![Step::EnslaveLink { link: link.clone(), bridge: bridge.clone() }];
            if !trunk.is_empty() {
                steps.push(Step::JoinVlans { port: link.clone(), vlan: Vlan::Trunk(trunk.clone()) });
            }
            steps
        }
        SwitchKind::Ovs => {
            let port = Port {
                id,
                bridge: bridge.clone(),
                port: link.clone(),
                vlan: Vlan::Trunk(trunk.clone()),
                purpose: Purpose::Uplink,
                labels: Labels::default(),
            };
            vec![Step::PlugPort(port.clone()), Step::AwaitPort(port)]
        }
    }
}

/// Whether a step of the old plan has no counterpart in the new one, so that it must be taken back.
fn is_left(step: &Step, before: &[Step], plan: &[Step]) -> bool {
    match step {
        Step::PlugPort(old) => {
            !plan.iter().any(|new| matches!(new, Step::PlugPort(new) if new.port == old.port))
        }
        // A port that shall pass every frame again is plugged anew, with what the bridge gives to new ports.
        Step::EnslaveLink { link, .. } => !plan.contains(step) || (joins(before, link) && !joins(plan, link)),
        Step::FilterVlans { .. } => !plan.contains(step),
        Step::SetHostLinkUp { link } => !plan.iter().any(|new| plugs(new, link)),
        _ => false,
    }
}

/// Whether a plan gives a port VLANs of its own.
fn joins(plan: &[Step], link: &LinkName) -> bool {
    plan.iter().any(|step| matches!(step, Step::JoinVlans { port, .. } if port == link))
}

fn plugs(step: &Step, link: &LinkName) -> bool {
    match step {
        Step::PlugPort(port) => port.port == *link,
        Step::EnslaveLink { link: plugged, .. } => plugged == link,
        _ => false,
    }
}

/// A link that we set up is up now, so the new plan does not say so; its undo must.
fn keep_link_state(before: &[Step], mut plan: Vec<Step>) -> Vec<Step> {
    for step in before {
        let Step::SetHostLinkUp { link } = step else { continue };
        if let Some(place) = plan.iter().position(|new| plugs(new, link))
            && !plan.contains(step)
        {
            plan.insert(place, step.clone());
        }
    }
    plan
}

fn incomplete(name: &LinkName, leftovers: &[String]) -> Failure {
    let text = format!(
        "switch {name} is not wholly taken back: {}; apply again when the cause is gone",
        leftovers.join("; ")
    );
    Failure::new(Reason::RollbackIncomplete, text).with("leftovers", leftovers.join("\n"))
}

/// VLANs as a list for people.
pub(super) fn vlans(trunk: &BTreeSet<VlanId>) -> String {
    match trunk.is_empty() {
        true => "none".to_owned(),
        false => trunk.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    }
}
