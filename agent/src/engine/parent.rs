//! Links of the host that guests' links are on: found by name or MAC address, and refused when somebody else has them.

use pipewright_api::net::{LinkName, MacAddr};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{AttachmentSpec, Uplink, Vlan};

use super::Engine;
use crate::engine::ground::unreadable;
use crate::host::hardware::Hardware;
use crate::host::link::LinkFacts;
use crate::host::{Host, mark};
use crate::kinds::{Neighbour, Parent, VlanLink};
use crate::step::LinkType;

impl<H: Host> Engine<H> {
    /// The link that the uplink means, which may have been looked at already, and its sub-interface.
    ///
    /// # Errors
    /// NO_UPLINK, UPLINK_BUSY with the holder, NOT_SUPPORTED_HERE, INVALID_FIELD.
    pub(super) async fn parent(
        &self,
        spec: &AttachmentSpec,
        seen: Option<LinkFacts>,
    ) -> Result<Parent, Failure> {
        let (link, name) = self.named_link(spec, seen).await?;
        usable(&link)?;
        let vlan = match spec.vlan {
            Some(Vlan::Access(vlan)) => Some(vlan),
            Some(Vlan::Trunk(_) | Vlan::Every) | None => None,
        };
        // What takes the guest's frames, unless it is yet to be made.
        let mut below = Some(link.index);
        let vlan = match vlan {
            None => {
                // The frames of a port are its bridge's; those of a sub-interface are taken before.
                self.not_held(&link).await?;
                None
            }
            Some(vlan) => {
                let there = self.kernel.links().await.map_err(unreadable)?.into_iter().find(|other| {
                    other.parent == Some(link.index) && other.vlan == Some(vlan.get()) && other.kind == "vlan"
                });
                below = there.as_ref().map(|there| there.index);
                if let Some(there) = &there {
                    self.not_held(there).await?;
                }
                let is_ours = there.as_ref().is_none_or(|there| there.group == mark::VLAN_LINK);
                let known = there.as_ref().map(|there| there.name.parse());
                let known = known.transpose().map_err(|why| Failure::field("spec.vlan", why))?;
                let name = known.unwrap_or_else(|| mark::vlan_link(&name, vlan));
                Some(VlanLink {
                    vlan,
                    mtu: there.as_ref().map_or(link.mtu, |there| there.mtu),
                    is_there: there.is_some(),
                    is_ours,
                    is_raised: there.is_some_and(|there| !there.up) || self.shelf.is_raised(&name),
                    link: name,
                })
            }
        };
        let addresses = match below.filter(|_| spec.host_reach) {
            Some(index) => self.kernel.addresses_of(index).await.map_err(unreadable)?,
            None => Vec::new(),
        };
        Ok(Parent {
            addresses: addresses.into_iter().map(|address| address.net).collect(),
            mtu: link.mtu,
            mac: link.mac,
            is_raised: !link.up || self.shelf.is_raised(&name),
            neighbours: self.neighbours(&name, vlan.as_ref()),
            vlan,
            link: name,
        })
    }

    /// The link of InfiniBand that the uplink means, which may have been looked at already.
    ///
    /// # Errors
    /// NO_UPLINK, UPLINK_BUSY with the holder, NOT_SUPPORTED_HERE, INVALID_FIELD.
    pub(super) async fn infiniband(
        &self,
        spec: &AttachmentSpec,
        seen: Option<LinkFacts>,
    ) -> Result<Parent, Failure> {
        let (link, name) = self.named_link(spec, seen).await?;
        let unfit = |why: &str| Failure::new(Reason::NotSupportedHere, format!("{name} is {why}"));
        if link.hardware != Hardware::Infiniband {
            return Err(unfit("no link of InfiniBand, so no IPoIB link can be on it"));
        }
        if link.parent.is_some() {
            return Err(unfit(
                "an IPoIB link on another, and the kernel takes no further ones: name that other",
            ));
        }
        Ok(Parent {
            addresses: Vec::new(),
            mtu: link.mtu,
            mac: None,
            is_raised: !link.up || self.shelf.is_raised(&name),
            neighbours: self.neighbours(&name, None),
            vlan: None,
            link: name,
        })
    }

    /// The link that the uplink means, which may have been looked at already, and its name.
    async fn named_link(
        &self,
        spec: &AttachmentSpec,
        seen: Option<LinkFacts>,
    ) -> Result<(LinkFacts, LinkName), Failure> {
        let link = match seen {
            Some(link) => link,
            None => self.meant_link(&spec.uplink).await?,
        };
        let name = link.name.parse().map_err(|why| Failure::field("spec.uplink", why))?;
        Ok((link, name))
    }

    /// The link of the host that an uplink means.
    ///
    /// # Errors
    /// NO_UPLINK; UPLINK_BUSY when it is lent to a guest; INVALID_FIELD when several have the MAC address.
    pub(super) async fn meant_link(&self, uplink: &Uplink) -> Result<LinkFacts, Failure> {
        let found = match uplink {
            Uplink::Link(name) => self
                .kernel
                .link(name)
                .await
                .map_err(unreadable)
                .and_then(|link| link.ok_or_else(|| missing(name.as_str()))),
            Uplink::Mac(mac) => self.link_with(*mac).await,
            Uplink::Dummy | Uplink::Host | Uplink::Guest(_) => Err(missing(&uplink.to_string())),
        };
        found.map_err(|failure| self.lent(uplink).unwrap_or(failure))
    }

    /// What is on the sub-interface if there is one, and on the link itself: sub-interfaces in guests are there.
    pub(super) fn neighbours(&self, link: &LinkName, vlan: Option<&VlanLink>) -> Vec<Neighbour> {
        let is_meant = |what: &LinkType| matches!(what, LinkType::Vlan { .. }) || vlan.is_none();
        let mut found = self.shelf.on_parent(link);
        found.retain(|made| is_meant(&made.what));
        found.extend(vlan.iter().flat_map(|vlan| self.shelf.on_parent(&vlan.link)));
        found.into_iter().map(|made| Neighbour { id: made.id, mac: made.mac, what: made.what }).collect()
    }

    /// The physical link with a MAC address. The permanent one decides: a bond gives its own to all of its ports.
    async fn link_with(&self, mac: MacAddr) -> Result<LinkFacts, Failure> {
        let mut links = self.kernel.links().await.map_err(unreadable)?;
        links.retain(is_physical);
        let has_come_with_it = |link: &LinkFacts| link.permanent_mac == Some(mac);
        if links.iter().any(has_come_with_it) {
            links.retain(has_come_with_it);
        } else {
            links.retain(|link| link.mac == Some(mac));
        }
        let names = || links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
        match links.len() {
            1 => Ok(links.remove(0)),
            0 => Err(Failure::new(
                Reason::NoUplink,
                format!("no physical link of this host has the MAC address {mac}; see `pwctl host show`"),
            )),
            _ => {
                let why = format!("{mac} is the address of {}; name the one that is meant", names());
                Err(Failure::field("spec.uplink", why).with("candidates", names()))
            }
        }
    }

    /// Refuses a link that is a port of something.
    pub(super) async fn not_held(&self, link: &LinkFacts) -> Result<(), Failure> {
        let name = &link.name;
        let by_ovs = name.parse().ok().and_then(|name: LinkName| self.ovs.port(&name));
        let holder = match (by_ovs, link.master) {
            (Some(port), _) => format!("ovs {}", port.bridge.unwrap_or_default()),
            (None, Some(master)) => {
                let links = self.kernel.links().await.map_err(unreadable)?;
                let holder = links.into_iter().find(|link| link.index == master);
                holder.map_or_else(
                    || "a link that is gone".to_owned(),
                    |holder| format!("{} {}", holder.kind_or_plain(), holder.name),
                )
            }
            (None, None) => return Ok(()),
        };
        let text = format!(
            "{name} is a port of {holder}, which gets its frames; attach to that, or take it out first"
        );
        Err(Failure::new(Reason::UplinkBusy, text).with("holder", holder))
    }
}

/// Hardware, or what stands for it on a host that is a container itself. What is on another link has its address often.
fn is_physical(link: &LinkFacts) -> bool {
    matches!(link.kind.as_str(), "" | "veth")
        && link.hardware == Hardware::Ethernet
        && !mark::is_ours(link.group)
}

/// Refuses what can be nobody's parent.
fn usable(link: &LinkFacts) -> Result<(), Failure> {
    let name = &link.name;
    if mark::is_ours(link.group) && link.group != mark::VLAN_LINK && link.group != mark::BRIDGE {
        let why = format!("{name} is the host's end of a link of ours: give a bridge or a NIC");
        return Err(Failure::field("spec.uplink", why));
    }
    if link.hardware != Hardware::Ethernet {
        let text = format!("{name} is no Ethernet link, so no guest's link can be on it");
        return Err(Failure::new(Reason::NotSupportedHere, text));
    }
    Ok(())
}

pub(super) fn missing(name: &str) -> Failure {
    let text = format!("this host has no link {name}; see `pwctl host show`");
    Failure::new(Reason::NoUplink, text)
}
