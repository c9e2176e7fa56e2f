//! Switches of fleets: whether their uplinks are in them, and if not, who holds them.

use pipewright_api::finding::{Finding, FindingCode, Severity};
use pipewright_api::reason::Failure;
use pipewright_api::spec::{SwitchKind, UplinkSpec};

use super::finding;
use crate::engine::Engine;
use crate::engine::intact::Links;
use crate::engine::records::SwitchRecord;
use crate::host::Host;

impl<H: Host> Engine<H> {
    /// What is wrong with switches.
    pub(super) async fn look_at_switches(&self) -> Result<Vec<Finding>, Failure> {
        let links = self.links().await?;
        let switches = self.shelf.switches();
        Ok(switches.iter().filter_map(|switch| self.look_at_switch(switch, &links)).collect())
    }

    fn look_at_switch(&self, switch: &SwitchRecord, links: &Links) -> Option<Finding> {
        let UplinkSpec { link, trunk } = switch.spec.uplink.as_ref()?;
        let name = &switch.spec.name;
        let holder = self.ovs.port(link).and_then(|port| port.bridge).or_else(|| links.master(link.as_str()));
        let is_there = holder.as_deref() == Some(name.as_str());
        let is_meant = match switch.spec.kind {
            SwitchKind::LinuxBridge => true,
            // Without VLANs it carries nothing yet; and of a database that is away nothing is known.
            SwitchKind::Ovs => !trunk.is_empty() && self.ovs.facts().is_connected,
        };
        if is_there || !is_meant {
            return None;
        }
        let text = match holder {
            Some(holder) => format!("is held by {holder}, not by {name} of fleet {}", switch.fleet),
            None => format!("is not in {name} of fleet {}", switch.fleet),
        };
        let advice = "free it if it is held, then apply the fleet's document again";
        Some(finding(FindingCode::UplinkUnplugged, Severity::Error, format!("link {link}"), text, advice))
    }
}
