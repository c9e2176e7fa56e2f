//! From spec to plan: pure. What is asked and what is there give the steps, or the reason why not.

use pipewright_api::attachment::GuestIdentity;
use pipewright_api::net::{LinkName, MacAddr, Mtu, VlanId};
use pipewright_api::reason::Failure;
use pipewright_api::spec::{AttachmentSpec, Kind, Mode, SwitchKind};
use uuid::Uuid;

use crate::step::{SavedRoute, Step};

mod dhcp;
mod direct;
mod dummy;
mod ipoib;
mod ipvlan;
mod late;
mod link;
mod linux_bridge;
mod macvlan;
mod ovs;
mod parent;
mod ptp;
mod room;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_direct;
#[cfg(test)]
mod tests_of_ipoib;
#[cfg(test)]
mod tests_of_pairs;
#[cfg(test)]
mod tests_on_addresses;
#[cfg(test)]
mod tests_on_links;
mod vlan;

pub use direct::{Candidate, Direct};
pub use link::ensure_bridge;
use link::{Link, uncovered};
pub use linux_bridge::filter_vlans;
pub use parent::{Neighbour, Parent, VlanLink};

/// What is there before an attach, as far as a plan depends on it.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Whose link it will be.
    pub guest: GuestIdentity,
    /// What the uplink is.
    pub uplink: Found,
    /// The guest has a link of the wanted name.
    pub ifname_taken: bool,
    /// The host has a link of the wanted name.
    pub host_ifname_taken: bool,
    /// New links of the guest have IPv6 switched off.
    pub ipv6_disabled: bool,
    /// Default routes of the guest that ours would collide with.
    pub default_routes: Vec<SavedRoute>,
    /// The MAC address for a bridge that has to be made.
    pub bridge_mac: MacAddr,
}

impl Ground {
    /// Whether the uplink is a bridge that has yet to be made.
    pub fn is_bridge_missing(&self) -> bool {
        matches!(self.uplink, Found::Bridge(Bridge::Missing(_)))
    }
}

/// What the uplink is, and with it the kind of link that the guest gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A bridge, for a veth pair.
    Bridge(Bridge),
    /// Another link of the host, for a macvlan.
    Macvlan(Parent),
    /// Another link of the host, for an ipvlan.
    Ipvlan(Parent),
    /// Another link of the host, for its 802.1Q sub-interface.
    Vlan(Parent),
    /// A link of InfiniBand, for one more interface on it.
    Ipoib(Parent),
    /// None, for a dummy.
    Nothing,
    /// A link of the host, which the guest gets itself.
    Direct(Direct),
    /// The host itself, for a pair.
    Host,
    /// Another guest, for a pair.
    Guest(Peer),
}

/// The guest at the other end of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Which one.
    pub guest: GuestIdentity,
    /// What its link will be called.
    pub ifname: LinkName,
    /// It has a link of that name.
    pub ifname_taken: bool,
    /// New links of it have IPv6 switched off.
    pub ipv6_disabled: bool,
}

/// The bridge that the uplink names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bridge {
    /// There is none; its name says that it may be made.
    Missing(SwitchKind),
    /// A linux bridge.
    Linux {
        /// Bytes.
        mtu: u32,
        /// Made by us, so released with its last port.
        ours: bool,
        /// Whether it keeps VLANs apart.
        filtering: Filtering,
        /// The port that a fleet plugged in.
        uplink: Option<LinkName>,
    },
    /// An Open vSwitch bridge.
    Ovs {
        /// Bytes.
        mtu: u32,
        /// Made by us.
        ours: bool,
        /// Its packets go through ovs-vswitchd, not through the kernel.
        userspace: bool,
    },
}

/// Whether a linux bridge keeps VLANs apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filtering {
    /// It passes tags as they are.
    Off,
    /// It does for the sake of our attachments only.
    ByUs,
    /// It does.
    On {
        /// The VLAN that a port is in unless it is told another; `None`: no frame passes such a port.
        default: Option<VlanId>,
    },
}

/// An attachment that has been decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// How it is made.
    pub plan: Vec<Step>,
    /// Kind of link.
    pub kind: Kind,
    /// How it shares its parent, for a kind that has modes.
    pub mode: Option<Mode>,
    /// The host's end, for a kind that has one.
    pub host_end: Option<LinkName>,
    /// Of the guest's end; `None` when it has none.
    pub mac: Option<MacAddr>,
    /// Of all ends; `None` when the driver decides.
    pub mtu: Option<Mtu>,
}

/// What an attachment without wishes gets: derived from its id, so that they are known again.
#[derive(Debug, Clone)]
pub struct Derived {
    /// The attachment.
    pub id: Uuid,
    /// Name of the host's end.
    pub host_end: LinkName,
    /// MAC address of the guest's end.
    pub mac: MacAddr,
    /// What the host's end says of itself.
    pub alias: Option<String>,
}

/// Decides how an attachment is made.
///
/// # Errors
/// IFNAME_TAKEN, NOT_SUPPORTED_HERE, INVALID_FIELD.
pub fn plan(spec: &AttachmentSpec, ground: &Ground, derived: Derived) -> Result<Decision, Failure> {
    let link = Link::new(spec, ground, derived)?;
    if spec.host_reach && !matches!(ground.uplink, Found::Macvlan(_)) {
        let why = format!(
            "only a macvlan keeps the host away, and a link of {} is none: leave it out",
            spec.uplink
        );
        return Err(Failure::field("spec.host_reach", why));
    }
    match &ground.uplink {
        Found::Bridge(Bridge::Missing(SwitchKind::LinuxBridge)) => {
            linux_bridge::plan(&link, true, Filtering::Off, None)
        }
        Found::Bridge(Bridge::Linux { ours, filtering, uplink, .. }) => {
            linux_bridge::plan(&link, *ours, *filtering, uplink.as_ref())
        }
        // Whether the userspace datapath will have a bridge that is yet to be made is not known, and checksums that are
        // filled in early harm nobody.
        Found::Bridge(Bridge::Missing(SwitchKind::Ovs)) => ovs::plan(&link, true, true),
        Found::Bridge(Bridge::Ovs { ours, userspace, .. }) => ovs::plan(&link, *ours, *userspace),
        Found::Macvlan(parent) => macvlan::plan(&link, parent),
        Found::Ipvlan(parent) => ipvlan::plan(&link, parent),
        Found::Vlan(parent) => vlan::plan(&link, parent),
        Found::Ipoib(parent) => ipoib::plan(&link, parent),
        Found::Nothing => dummy::plan(&link),
        Found::Host => Ok(ptp::to_host(&link)),
        Found::Guest(peer) => ptp::to_guest(&link, peer),
        Found::Direct(direct) => direct::plan(&link, direct),
    }
}
