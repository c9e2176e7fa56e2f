//! What the kinds that are on a link of the host have in common: that link, and what else is on it.

use std::net::IpAddr;

use ipnet::IpNet;
use pipewright_api::net::{InterfaceAddr, LinkName, MacAddr, VlanId};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{Addressing, AttachmentSpec, Kind, MacvlanMode, Mode, Vlan};
use uuid::Uuid;

use super::{Decision, Link};
use crate::dhcp::given::Family;
use crate::host::mark;
use crate::step::{Ends, LeasedReach, LinkType, Reach, Shim, Step};

/// A link of the host that guests' links are on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Its name.
    pub link: LinkName,
    /// Bytes.
    pub mtu: u32,
    /// Its MAC address.
    pub mac: Option<MacAddr>,
    /// It is to be set up: it is down, or up for the sake of our attachments only.
    pub is_raised: bool,
    /// The sub-interface for the VLAN that was asked for.
    pub vlan: Option<VlanLink>,
    /// Addresses of the host on the parent, or on its sub-interface if one was asked for; read when they are needed.
    pub addresses: Vec<IpNet>,
    /// Our attachments on the parent, or on its sub-interface if one was asked for.
    pub neighbours: Vec<Neighbour>,
}

/// The 802.1Q sub-interface of a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VlanLink {
    /// Its name.
    pub link: LinkName,
    /// Its tag.
    pub vlan: VlanId,
    /// Bytes; the parent's while it is missing.
    pub mtu: u32,
    /// There is one.
    pub is_there: bool,
    /// Missing, or made by us: then it is released with its last user.
    pub is_ours: bool,
    /// It is to be set up, see [`Parent::is_raised`].
    pub is_raised: bool,
}

/// Another attachment on the same parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Which one.
    pub id: Uuid,
    /// Its MAC address, if it has one.
    pub mac: Option<MacAddr>,
    /// What it is.
    pub what: LinkType,
}

impl Parent {
    /// The most bytes that pass it.
    pub(super) fn room(&self) -> u32 {
        self.vlan.as_ref().map_or(self.mtu, |vlan| vlan.mtu)
    }

    /// What the guest's link is on: the parent, or its sub-interface.
    pub(super) fn below(&self, spec: &AttachmentSpec) -> Result<&LinkName, Failure> {
        match (&spec.vlan, &self.vlan) {
            (None, _) => Ok(&self.link),
            (Some(Vlan::Access(_)), Some(vlan)) => Ok(&vlan.link),
            (Some(Vlan::Access(_) | Vlan::Trunk(_) | Vlan::Every), _) => {
                let why = format!("a link on {} is on one VLAN at most: give it with --vlan", self.link);
                Err(Failure::field("spec.vlan", why))
            }
        }
    }

    /// The whole plan for a link on it.
    pub(super) fn plan(
        &self,
        link: &Link<'_>,
        kind: Kind,
        mode: Option<Mode>,
        what: LinkType,
    ) -> Result<Decision, Failure> {
        if link.spec.host_ifname.is_some() {
            let why = format!("{kind} has no host's end: leave it out");
            return Err(Failure::field("spec.host_ifname", why));
        }
        self.check_neighbours(&what)?;
        let mac = self.mac_for(link, &what)?;
        let link = &Link { mac, host_end: link.host_end.clone(), alias: None, ..*link };
        let single = link.single(what);
        let mut plan = self.prepare();
        let shim = self.shim(link)?;
        let reach = shim.as_ref().map(|shim| self.reach(link, shim)).transpose()?;
        plan.extend(shim.map(Step::EnsureShim));
        plan.push(Step::CreateLink(single.clone()));
        plan.extend(link.configure(false));
        plan.push(link.verify(Ends::Single(single.clone())));
        plan.push(Step::AwaitGuestForwarding { ifname: link.spec.ifname.clone() });
        plan.extend(link.finish(Ends::Single(single)));
        plan.extend(reach.into_iter().flatten());
        Ok(link.decide(kind, mode, plan))
    }

    /// The host's own link by which it reaches the guest, if it shall.
    fn shim(&self, link: &Link<'_>) -> Result<Option<Shim>, Failure> {
        if !link.spec.host_reach {
            return Ok(None);
        }
        let parent = self.below(link.spec)?;
        let Some(parent_mac) = self.mac else {
            let why = format!("{parent} has no MAC address of a station");
            return Err(Failure::field("spec.host_reach", why));
        };
        let mac = mark::shim_mac(parent, parent_mac);
        Ok(Some(Shim { link: mark::shim(parent), parent: parent.clone(), mac }))
    }

    /// How the host reaches the guest's addresses.
    fn reach(&self, link: &Link<'_>, shim: &Shim) -> Result<Vec<Step>, Failure> {
        let addresses = link.spec.addressing.addresses();
        let reach = |address: &InterfaceAddr| {
            let source = match address.addr() {
                IpAddr::V6(_) => IpAddr::V6(shim.link_local()),
                IpAddr::V4(_) => self.source_for(link, address, &shim.parent)?,
            };
            let (destination, mac) = (address.addr().into(), link.mac);
            Ok(Step::AddReach(Reach { destination, link: shim.link.clone(), mac, source }))
        };
        let mut steps: Vec<Step> = addresses.iter().map(reach).collect::<Result<_, Failure>>()?;
        let leased = |family| {
            Step::FollowLease(LeasedReach {
                id: link.id,
                family,
                link: shim.link.clone(),
                mac: link.mac,
                parent: shim.parent.clone(),
                near: near(link.spec).collect(),
                link_local: shim.link_local(),
                fixed: addresses.iter().map(|address| address.addr()).collect(),
            })
        };
        if matches!(link.spec.addressing, Addressing::Dhcp(_)) {
            if !self.addresses.iter().any(|own| own.addr().is_ipv4()) {
                let why = format!(
                    "{} has no IPv4 address that the guest could answer to: give it one",
                    shim.parent
                );
                return Err(Failure::field("spec.host_reach", why));
            }
            steps.push(leased(Family::V4));
        }
        if link.spec.dhcp6.is_some() {
            steps.push(leased(Family::V6));
        }
        Ok(steps)
    }

    /// An address of the host's that a guest answers to over its link.
    fn source_for(
        &self,
        link: &Link<'_>,
        guest: &InterfaceAddr,
        parent: &LinkName,
    ) -> Result<IpAddr, Failure> {
        let on_link: Vec<IpNet> = std::iter::once(guest.net()).chain(near(link.spec)).collect();
        let is_near = |own: &IpAddr| own.is_ipv4() && on_link.iter().any(|net| net.contains(own));
        self.addresses.iter().map(IpNet::addr).find(is_near).ok_or_else(|| {
            let why = format!(
                "{parent} has no address in {} that the guest could answer to: give it one",
                guest.net().trunc()
            );
            Failure::field("spec.host_reach", why)
        })
    }

    /// The host's side: parent and sub-interface exist and are up.
    pub(super) fn prepare(&self) -> Vec<Step> {
        let mut plan = Vec::new();
        if self.is_raised {
            plan.push(Step::SetHostLinkUp { link: self.link.clone() });
        }
        if let Some(VlanLink { link, vlan, is_ours, is_raised, .. }) = &self.vlan {
            if *is_ours {
                plan.push(Step::EnsureVlanLink {
                    link: link.clone(),
                    parent: self.link.clone(),
                    vlan: *vlan,
                });
            } else if *is_raised {
                plan.push(Step::SetHostLinkUp { link: link.clone() });
            }
        }
        plan
    }

    /// What the kernel would refuse in words that say nothing (EBUSY, EINVAL).
    fn check_neighbours(&self, what: &LinkType) -> Result<(), Failure> {
        for neighbour in &self.neighbours {
            let why = match (what, &neighbour.what) {
                (LinkType::Macvlan { mode: MacvlanMode::Passthru, .. }, LinkType::Macvlan { .. }) => {
                    "a macvlan in passthru mode has its parent for itself"
                }
                (LinkType::Macvlan { .. }, LinkType::Macvlan { mode: MacvlanMode::Passthru, .. }) => {
                    "that is a macvlan in passthru mode, which has its parent for itself"
                }
                (LinkType::Macvlan { .. }, LinkType::Ipvlan { .. })
                | (LinkType::Ipvlan { .. }, LinkType::Macvlan { .. }) => {
                    "macvlan and ipvlan exclude each other"
                }
                (LinkType::Ipvlan { mode, .. }, LinkType::Ipvlan { mode: other, .. }) if mode != other => {
                    "all ipvlans of one parent have the same mode"
                }
                (LinkType::Vlan { vlan, .. }, LinkType::Vlan { vlan: other, .. }) if vlan == other => {
                    "a VLAN of a link is in one guest at a time"
                }
                (
                    LinkType::Macvlan { .. }
                    | LinkType::Ipvlan { .. }
                    | LinkType::Vlan { .. }
                    | LinkType::Ipoib { .. }
                    | LinkType::Dummy,
                    LinkType::Macvlan { .. }
                    | LinkType::Ipvlan { .. }
                    | LinkType::Vlan { .. }
                    | LinkType::Ipoib { .. }
                    | LinkType::Dummy,
                ) => continue,
            };
            let (id, kind) = (neighbour.id, neighbour.what.kind());
            let text = format!("{} has {kind} of attachment {id}: {why}; detach it first", self.link);
            return Err(Failure::new(Reason::UplinkBusy, text).with("holder", format!("attachment {id}")));
        }
        Ok(())
    }

    /// The link's MAC address, which on some kinds is the parent's, and on the others must not be.
    fn mac_for(&self, link: &Link<'_>, what: &LinkType) -> Result<MacAddr, Failure> {
        if what.has_parents_mac() {
            let missing = || {
                Failure::new(
                    Reason::NotSupportedHere,
                    format!("{} has no MAC address of a station", self.link),
                )
            };
            return self.mac.ok_or_else(missing);
        }
        let is_macvlan = matches!(what, LinkType::Macvlan { .. });
        if is_macvlan && Some(link.mac) == self.mac {
            let why = format!("{} is the address of {} itself; give another", link.mac, self.link);
            return Err(Failure::field("spec.mac", why));
        }
        let has_it = |neighbour: &&Neighbour| is_macvlan && neighbour.mac == Some(link.mac);
        match self.neighbours.iter().find(has_it) {
            Some(other) => {
                let why = format!(
                    "{} is the address of attachment {} on {} already",
                    link.mac, other.id, self.link
                );
                Err(Failure::field("spec.mac", why))
            }
            None => Ok(link.mac),
        }
    }
}

/// What a guest reaches over its link besides the subnets of its addresses.
fn near(spec: &AttachmentSpec) -> impl Iterator<Item = IpNet> {
    spec.routes.iter().filter(|route| route.via.is_none()).map(|route| route.destination)
}
