//! Links of the host that a guest is to get as a whole: refused when somebody uses them, with who that is.

use pipewright_api::net::LinkName;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{AttachmentSpec, Uplink, Vlan};

use super::Engine;
use crate::engine::ground::{may_be_ovs, unreadable};
use crate::engine::parent::missing;
use crate::host::link::LinkFacts;
use crate::host::nic::Obstacle;
use crate::host::{Host, mark};
use crate::kinds::{Candidate, Direct, VlanLink};

impl<H: Host> Engine<H> {
    /// The link that the uplink means, or its sub-interface.
    ///
    /// # Errors
    /// NO_UPLINK, UPLINK_BUSY with the holder, NOT_SUPPORTED_HERE, INVALID_FIELD.
    pub(super) async fn whole(&self, spec: &AttachmentSpec) -> Result<Direct, Failure> {
        let Some(Vlan::Access(vlan)) = spec.vlan else {
            let link = self.meant_link(&spec.uplink).await?;
            return self.lendable(&link).await;
        };
        let parent = self.parent(spec, None).await?;
        match &parent.vlan {
            Some(VlanLink { link, is_there: true, is_ours: false, .. }) => {
                let found = self.kernel.link(link).await.map_err(unreadable)?;
                self.lendable(&found.ok_or_else(|| missing(link.as_str()))?).await
            }
            Some(VlanLink { link, is_there: true, is_ours: true, .. }) => {
                let text = format!(
                    "VLAN {vlan} of {} is link {link}, which other guests' links are on; detach them first",
                    parent.link
                );
                Err(Failure::new(Reason::UplinkBusy, text).with("holder", format!("link {link}")))
            }
            Some(VlanLink { is_there: false, .. }) | None => Ok(Direct::Born(parent)),
        }
    }

    /// Looks at a link with all that hangs on it.
    async fn lendable(&self, link: &LinkFacts) -> Result<Direct, Failure> {
        let name: LinkName = link.name.parse().map_err(|why| Failure::field("spec.uplink", why))?;
        if mark::is_ours(link.group) {
            let text = format!("{name} is a link of ours, for other guests: give a NIC");
            return Err(Failure::new(Reason::UplinkBusy, text).with("holder", "pipewright"));
        }
        if may_be_ovs(link) && matches!(self.ovs.bridge(&name).await, Ok(Some(_))) {
            return Err(refusal(&name, &Obstacle::Unfit("it is a bridge of Open vSwitch".to_owned())));
        }
        self.not_held(link).await?;
        if let Some(neighbour) = self.neighbours(&name, None).first() {
            let (id, kind) = (neighbour.id, neighbour.what.kind());
            let text = format!("{name} has {kind} of attachment {id} on it; detach that first");
            return Err(Failure::new(Reason::UplinkBusy, text).with("holder", format!("attachment {id}")));
        }
        let found = self.kernel.nic(&name).await.map_err(unreadable)?;
        let nic = found.map_err(|obstacle| refusal(&name, &obstacle))?;
        Ok(Direct::Lent(Box::new(Candidate {
            link: name,
            is_hardware: nic.is_hardware,
            permanent_mac: nic.permanent_mac,
            radio: nic.radio,
            most_mtu: nic.most_mtu.unwrap_or(u32::MAX),
            state: nic.state,
        })))
    }

    /// That the link is in a guest of ours, for one that is not in the host.
    pub(super) fn lent(&self, uplink: &Uplink) -> Option<Failure> {
        let (nic, guest) = self.shelf.lent(|nic| match uplink {
            Uplink::Link(name) => nic.name == *name,
            Uplink::Mac(mac) => nic.permanent_mac == Some(*mac) || nic.found.mac == *mac,
            Uplink::Dummy | Uplink::Host | Uplink::Guest(_) => false,
        })?;
        let text = format!(
            "{} is lent to guest {guest} (attachment {}); it is back in the host when that is detached",
            nic.name, nic.id
        );
        Some(Failure::new(Reason::UplinkBusy, text).with("holder", format!("attachment {}", nic.id)))
    }
}

fn refusal(name: &LinkName, obstacle: &Obstacle) -> Failure {
    match obstacle {
        Obstacle::Missing => missing(name.as_str()),
        Obstacle::Unfit(why) => {
            let text = format!("{name} cannot be moved into a guest: {why}; name a NIC");
            Failure::new(Reason::NotSupportedHere, text)
        }
        Obstacle::Busy { holder, why } => {
            let text = format!("{name} is in use by {holder}: {why}");
            Failure::new(Reason::UplinkBusy, text).with("holder", holder.clone())
        }
    }
}
