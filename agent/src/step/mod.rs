//! The steps that plans are made of: data that can be printed, stored and undone. Only `host` takes them.
//!
//! A step is one kernel request or one OVSDB transaction: it happened or it did not. Objects are addressed by name, so
//! no step needs what another one returned. Undo is idempotent: what is already gone is success.

use std::net::IpAddr;

use pipewright_api::labels::Labels;
use pipewright_api::net::{InterfaceAddr, LinkName, MacAddr, Mtu, VlanId};
use pipewright_api::spec::{SwitchKind, Vlan};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::switches::ovs::Purpose;

mod address;
mod error;
mod expected;
mod guest_link;
mod lease;
mod line;
mod name;
mod nic;
mod pair;
mod place;
mod route;
mod routers;
mod saved;
mod sharing;
mod shim;
mod traffic;
mod undo;

pub use address::{Awaited, AwaitedAddress, Ipv6Setting, Probe};
pub use error::StepError;
pub use expected::{Ends, Expected};
pub use guest_link::{GuestLink, LinkType};
pub use lease::{LeaseRequest, LeaseUse};
pub use nic::{Kept, Move, Nic, NicState, Setting, WholeLink};
pub use pair::{End, Far, Pair};
pub use place::{Place, taken_at};
pub use route::GuestRoute;
pub use routers::OF_ROUTERS;
use routers::WithoutRouters;
pub use saved::SavedRoute;
pub use sharing::{Shared, lent, needs, stays};
pub use shim::{LeasedReach, Reach, Shim};
pub use traffic::{GuestQdisc, GuestTraffic};
pub use undo::undo;

/// One change of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Makes a bridge unless it is there. Ours from the first moment: link group, or `external_ids`.
    EnsureBridge {
        /// Its name.
        bridge: LinkName,
        /// Who runs it.
        kind: SwitchKind,
        /// Pins its address, which would otherwise follow that of its lowest port.
        mac: MacAddr,
    },
    /// Deletes a bridge if it is ours, has no ports and no address of somebody's; leaves it otherwise.
    ReleaseBridge {
        /// Its name.
        bridge: LinkName,
        /// Who runs it.
        kind: SwitchKind,
    },
    /// Has the host hear no routers on a link of ours: no addresses, no routes and no redirects by IPv6. Link-local addresses
    /// stay. A link that is not ours is left as it is.
    IgnoreRouters {
        /// The link.
        link: LinkName,
        /// Who runs it, if it is a bridge. ovs-vswitchd may still be about to make the link of one.
        switch: Option<SwitchKind>,
        /// It was born down, and is set up afterwards.
        sets_up: bool,
    },
    /// Has a linux bridge of ours keep VLANs apart, if it has no ports of others: those would hear less.
    FilterVlans {
        /// The bridge.
        bridge: LinkName,
        /// A port that a fleet plugged in: it is ours, and bears no mark.
        uplink: Option<LinkName>,
    },
    /// Has a linux bridge of ours pass tags as they are again, unless it has ports of others.
    PassVlans {
        /// The bridge.
        bridge: LinkName,
        /// As above.
        uplink: Option<LinkName>,
    },
    /// Makes a veth pair, the guest's end born in the guest under its final name.
    CreateVeth(Veth),
    /// Makes a veth pair that is plugged into nothing, both ends under their final names.
    CreatePair(Pair),
    /// Takes a step at the other end of such a pair: one that would be taken in the guest is taken there.
    There {
        /// Where that is.
        whither: Far,
        /// The step.
        what: Box<Step>,
    },
    /// Gives a port of a linux bridge these VLANs and no others, not even the bridge's default one; then sets it up.
    JoinVlans {
        /// The port.
        port: LinkName,
        /// Its VLANs.
        vlan: Vlan,
    },
    /// Deletes a link of the host if it is the attachment's.
    DeleteLink {
        /// The attachment.
        id: Uuid,
        /// The link.
        link: LinkName,
    },
    /// Makes a link of a single end, born in the guest under its final name.
    CreateLink(GuestLink),
    /// Deletes a link of the guest if it is the attachment's.
    DeleteGuestLink {
        /// The attachment.
        id: Uuid,
        /// The link.
        ifname: LinkName,
        /// The number that the host's kernel has for the guest's namespace, for a guest that cannot be opened any more.
        netns_id: Option<i32>,
        /// When the guest died it may be in the host, see [`LinkType::may_come_back`].
        #[serde(default)]
        may_come_back: bool,
    },
    /// Marks a link of the host as lent: group and alias say to whom, wherever it is.
    MarkNic(Box<Nic>),
    /// Moves a marked link of the host into the guest, under its name there.
    MoveNic(Move),
    /// Brings a lent link back to the host, wherever it is, makes it what it was, and takes the mark off.
    ReturnNic {
        /// The link, as it was found.
        nic: Box<Nic>,
        /// The number that the host's kernel has for the guest's namespace, for a guest that cannot be opened any more.
        netns_id: Option<i32>,
    },
    /// Gives a link of the guest, which is down, another MAC address or MTU.
    SetGuestLink {
        /// The link.
        ifname: LinkName,
        /// `None`: as it is.
        mac: Option<MacAddr>,
        /// `None`: as it is.
        mtu: Option<Mtu>,
    },
    /// Makes the 802.1Q sub-interface of a link of the host unless it is there, and sets it up. Ours from the first moment.
    EnsureVlanLink {
        /// Its name.
        link: LinkName,
        /// The link whose frames it takes.
        parent: LinkName,
        /// The tag.
        vlan: VlanId,
    },
    /// Deletes a sub-interface if it is ours and has no link on it; leaves it otherwise.
    ReleaseVlanLink {
        /// Its name.
        link: LinkName,
    },
    /// Makes the host's own macvlan on a link unless it is there, and sets it up. It hears only those that the host has a
    /// route to over it.
    EnsureShim(Shim),
    /// Deletes the host's own macvlan on a link, if it is ours.
    ReleaseShim {
        /// Its name.
        link: LinkName,
    },
    /// Adds a route of the host's to a guest, and where that is.
    AddReach(Reach),
    /// Removes both, if they are there and the attachment's.
    RemoveReach(Reach),
    /// Adds them for the address that a server gave, and removes those for one that it gave before.
    FollowLease(LeasedReach),
    /// Removes them, whatever the server gave.
    UnfollowLease(LeasedReach),
    /// Waits until a guest's link passes frames.
    AwaitGuestForwarding {
        /// The guest's link.
        ifname: LinkName,
    },
    /// Adds a port to an Open vSwitch bridge.
    PlugPort(Port),
    /// Removes a port from Open vSwitch if it carries the attachment's mark.
    UnplugPort {
        /// The attachment.
        id: Uuid,
        /// The port, named as its link.
        port: LinkName,
    },
    /// Changes the VLANs of a port of ours.
    SetPortVlan {
        /// Whose port.
        id: Uuid,
        /// The port.
        port: LinkName,
        /// What it had.
        from: Vlan,
        /// What it gets.
        to: Vlan,
    },
    /// Waits until Open vSwitch has done what was committed, and checks bridge and VLAN of the port.
    AwaitPort(Port),
    /// Waits until the bridge forwards the frames of a port (operstate up).
    AwaitForwarding {
        /// The host's end.
        host_end: LinkName,
    },
    /// Plugs a link of the host into a linux bridge.
    EnslaveLink {
        /// The link.
        link: LinkName,
        /// The bridge.
        bridge: LinkName,
    },
    /// Takes a link of the host out of that bridge, if it is in it.
    FreeLink {
        /// The link.
        link: LinkName,
        /// The bridge.
        bridge: LinkName,
    },
    /// Sets a link of the host up.
    SetHostLinkUp {
        /// The link.
        link: LinkName,
    },
    /// Sets a link of the host down, if it exists.
    SetHostLinkDown {
        /// The link.
        link: LinkName,
    },
    /// Lets a guest's link have IPv6 addresses; Docker switches them off in guests without an IPv6 network.
    EnableIpv6 {
        /// The guest's end.
        ifname: LinkName,
    },
    /// Has checksums filled in by the guest: the userspace datapath of Open vSwitch drops the TCP segments of others.
    DisableTxChecksum {
        /// The guest's end.
        ifname: LinkName,
    },
    /// Sets the guest's end up.
    SetUp {
        /// The guest's end.
        ifname: LinkName,
    },
    /// Adds an address to the guest's end.
    AddAddress {
        /// The guest's end.
        ifname: LinkName,
        /// Address and prefix length.
        address: InterfaceAddr,
        /// The kernel looks whether an IPv6 address is somebody else's (RFC 4862 §5.4).
        #[serde(default)]
        is_checked: bool,
    },
    /// Changes a setting of IPv6 of the guest's end.
    SetIpv6 {
        /// The guest's end.
        ifname: LinkName,
        /// Which.
        setting: Ipv6Setting,
        /// Its value.
        value: u8,
    },
    /// Asks the network whether somebody has IPv4 addresses (RFC 5227 §2.1).
    ProbeAddresses(Probe),
    /// Waits until IPv6 addresses of the guest's end can be used.
    AwaitAddresses(AwaitedAddress),
    /// Adds a route of ours in the guest.
    AddRoute(GuestRoute),
    /// Removes a route of ours in the guest.
    RemoveRoute(GuestRoute),
    /// Removes a route of the guest that ours replaces.
    SetAsideRoute(SavedRoute),
    /// Puts a route of the guest back, if its link still exists.
    RestoreRoute(SavedRoute),
    /// Gets an address from a DHCP server.
    AcquireLease(LeaseRequest),
    /// Gives the address back to its server, if it can be reached from the guest.
    ReleaseLease(LeaseRequest),
    /// Gives the guest's end what the server gave: address, routes, a smaller MTU; and tells the neighbours.
    ApplyLease(LeaseUse),
    /// Takes that back, and puts the guest's own default route back.
    WithdrawLease(LeaseUse),
    /// Adds what steers traffic over a link of ours.
    AddTraffic(GuestTraffic),
    /// Removes it, if it is ours.
    RemoveTraffic(GuestTraffic),
    /// Reads it back.
    VerifyTraffic(GuestTraffic),
    /// Reads back what was made and compares.
    Verify(Expected),
    /// Tells the neighbours: gratuitous ARP (RFC 5227 §3) and unsolicited neighbour advertisements (RFC 4861 §7.2.6).
    Announce {
        /// The guest's end.
        ifname: LinkName,
        /// Its MAC address.
        mac: MacAddr,
        /// What is announced.
        addresses: Vec<IpAddr>,
    },
}

/// A veth pair to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veth {
    /// The attachment; gives the link group of both ends.
    pub id: Uuid,
    /// Name in the host.
    pub host_end: LinkName,
    /// MAC address in the host.
    pub host_mac: MacAddr,
    /// Name in the guest.
    pub guest_end: LinkName,
    /// MAC address in the guest.
    pub guest_mac: MacAddr,
    /// Of both ends.
    pub mtu: Mtu,
    /// The linux bridge that the host's end is born into.
    pub bridge: Option<LinkName>,
    /// Its VLANs there.
    #[serde(default)]
    pub vlan: Option<Vlan>,
    /// What the host's end says of itself; see [`crate::host::mark::alias`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

impl Veth {
    /// Whether the host's end is born up. With VLANs it is not, so that it is never in the bridge's default one; and outside
    /// of a bridge it is not, so that the host never hears the guest on it.
    pub fn is_born_up(&self) -> bool {
        self.bridge.is_some() && self.vlan.is_none()
    }
}

/// A port of an Open vSwitch bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Whose port.
    pub id: Uuid,
    /// The bridge.
    pub bridge: LinkName,
    /// The port, named as its link.
    pub port: LinkName,
    /// What it carries.
    pub vlan: Vlan,
    /// Who is behind it.
    pub purpose: Purpose,
    /// `external_ids` of its Interface, beside our mark.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}
