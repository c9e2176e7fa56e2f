//! Whether an attachment's host end is still plugged as it was made. Somebody may have unplugged it by hand, or deleted the
//! bridge under it; the record does not know.

use std::collections::HashMap;

use pipewright_api::attachment::Attachment;
use pipewright_api::reason::Failure;
use pipewright_api::spec::Kind;

use super::Engine;
use crate::engine::ground::unreadable;
use crate::engine::records::Record;
use crate::host::link::LinkFacts;
use crate::host::{Host, mark};

/// The host's links at one moment, for many questions.
#[derive(Debug)]
pub(super) struct Links(HashMap<String, LinkFacts>);

impl<H: Host> Engine<H> {
    /// # Errors
    /// INTERNAL when the kernel does not list its links.
    pub(super) async fn links(&self) -> Result<Links, Failure> {
        let links = self.kernel.links().await.map_err(unreadable)?;
        Ok(Links(links.into_iter().map(|link| (link.name.clone(), link)).collect()))
    }

    /// Whether an attachment is in its bridge, with its VLANs. While Open vSwitch is away nobody knows, and then it is.
    pub(super) fn is_plugged(&self, record: &Record, links: &Links) -> bool {
        let Attachment { id, host_ifname, spec, .. } = &record.attachment;
        // What has no host end is in no bridge that somebody could take it out of.
        let (Some(host_ifname), Some(bridge)) = (host_ifname, spec.uplink.link()) else { return true };
        let ours = links.0.get(host_ifname.as_str()).filter(|link| link.group == mark::group(*id));
        let Some(link) = ours else { return false };
        match spec.kind {
            Some(Kind::Ovs) if !self.ovs.facts().is_connected => true,
            Some(Kind::Ovs) => self.ovs.port(host_ifname).is_some_and(|port| {
                port.id == Some(*id)
                    && port.bridge.as_deref() == Some(bridge.as_str())
                    && port.vlan == spec.vlan
            }),
            Some(Kind::LinuxBridge | Kind::Macvlan | Kind::Ipvlan | Kind::Vlan | Kind::Dummy) | None => {
                let bridge = links.0.get(bridge.as_str()).map(|bridge| bridge.index);
                bridge.is_some() && link.master == bridge
            }
        }
    }
}
