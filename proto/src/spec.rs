//! What can be asked: the attachment's and the host's spec, valid by construction.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::dhcp::Dhcp6;
use crate::labels::Labels;
use crate::net::{InterfaceAddr, LinkName, MacAddr, Mtu, ParseError, VlanId, as_text};

mod addressing;
mod follow;
mod guest;
mod pkey;
mod route;
mod uplink;

pub use addressing::{Addressing, DuplicateCheck};
pub use follow::Follow;
pub use guest::{ContainerdRef, GuestRef};
pub use pkey::PartitionKey;
pub use route::{Route, RouteDetails, RouteKind, RouteScope, TableId};
pub use uplink::{IpoibMode, IpvlanMode, MacvlanMode, Mode, Uplink};

/// One link that is wanted in one guest. Built by [`crate::convert`] from the wire, which refuses what does not fit
/// together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentSpec {
    /// Whose link.
    pub guest: GuestRef,
    /// Its name in the guest.
    pub ifname: LinkName,
    /// What it is plugged into, or comes from.
    pub uplink: Uplink,
    /// `None`: found from the uplink.
    pub kind: Option<Kind>,
    /// How a macvlan or ipvlan shares its parent, or an IPoIB link sends; `None`: bridge, l2 or datagram. No other kind has one.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// `None`: derived from the attachment's id; only a veth pair has a host's end.
    pub host_ifname: Option<LinkName>,
    /// `None`: derived from the attachment's id; an IPoIB link has none.
    pub mac: Option<MacAddr>,
    /// `None`: the uplink's; of an IPoIB link, the driver's.
    pub mtu: Option<Mtu>,
    /// `None`: untagged, which Open vSwitch does not have.
    pub vlan: Option<Vlan>,
    /// The partition that an IPoIB link is in; `None`: that of the uplink. No other kind has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkey: Option<PartitionKey>,
    /// Addresses of the guest's end.
    pub addressing: Addressing,
    /// Addresses of the prefixes that routers advertise, too.
    #[serde(default)]
    pub slaac: bool,
    /// An address from a DHCPv6 server, too.
    #[serde(default)]
    pub dhcp6: Option<Dhcp6>,
    /// Default gateways, at most one a family.
    pub gateways: Vec<IpAddr>,
    /// More routes over the link.
    pub routes: Vec<Route>,
    /// Whether others are asked for an address before it is used.
    #[serde(default)]
    pub duplicate_check: DuplicateCheck,
    /// Whether the host itself reaches the guest over a macvlan.
    #[serde(default)]
    pub host_reach: bool,
    /// The other end, of a link to the host or to another guest.
    #[serde(default, skip_serializing_if = "Peer::is_plain")]
    pub peer: Peer,
    /// Notes of the caller's.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// `None`: by the guest's runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<Follow>,
}

impl AttachmentSpec {
    /// The kind, when it is known without a look at the host: asked for, or the only one that the uplink can have.
    pub fn known_kind(&self) -> Option<Kind> {
        match (self.kind, &self.uplink) {
            (Some(kind), _) => Some(kind),
            (None, Uplink::Dummy) => Some(Kind::Dummy),
            // Nothing else has partitions.
            (None, Uplink::Link(_) | Uplink::Mac(_)) if self.pkey.is_some() => Some(Kind::Ipoib),
            (None, Uplink::Mac(_)) => Some(Kind::Macvlan),
            (None, Uplink::Host | Uplink::Guest(_)) => Some(Kind::Ptp),
            (None, Uplink::Link(_)) => None,
        }
    }

    /// Whether the link may bring a default route of IPv6, or else of IPv4: by a gateway, or by what a DHCP server gives.
    pub fn may_bring_default(&self, is_ipv6: bool) -> bool {
        let is_leased = !is_ipv6 && matches!(self.addressing, Addressing::Dhcp(_));
        is_leased || self.gateways.iter().any(|gateway| gateway.is_ipv6() == is_ipv6)
    }

    /// Whether the link is to have IPv6: addresses of it at either end, a gateway, or what routers and DHCPv6 servers give.
    pub fn wants_ipv6(&self) -> bool {
        let own = self.addressing.addresses().iter().chain(&self.peer.addresses);
        let mut all = own.map(|address| address.addr()).chain(self.gateways.iter().copied());
        self.slaac || self.dhcp6.is_some() || all.any(|address| address.is_ipv6())
    }
}

/// Kind of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// veth into a linux bridge.
    LinuxBridge,
    /// veth into an Open vSwitch bridge.
    Ovs,
    /// macvlan on a link of the host.
    Macvlan,
    /// ipvlan on a link of the host.
    Ipvlan,
    /// 802.1Q sub-interface of a link of the host.
    Vlan,
    /// A link that leads nowhere.
    Dummy,
    /// veth to the host itself, or to another guest.
    Ptp,
    /// A link of the host itself.
    Direct,
    /// IP over InfiniBand, on a link of the host.
    Ipoib,
}

impl Kind {
    /// Whether it is a pair of links, one of which is in the host.
    pub fn has_host_end(self, uplink: &Uplink) -> bool {
        match self {
            Self::LinuxBridge | Self::Ovs => true,
            Self::Ptp => *uplink == Uplink::Host,
            Self::Macvlan | Self::Ipvlan | Self::Vlan | Self::Dummy | Self::Direct | Self::Ipoib => false,
        }
    }

    /// Who runs the bridge that it is plugged into; `None` when that is none.
    pub fn switch(self) -> Option<SwitchKind> {
        match self {
            Self::LinuxBridge => Some(SwitchKind::LinuxBridge),
            Self::Ovs => Some(SwitchKind::Ovs),
            Self::Macvlan
            | Self::Ipvlan
            | Self::Vlan
            | Self::Dummy
            | Self::Ptp
            | Self::Direct
            | Self::Ipoib => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinuxBridge => "linux-bridge",
            Self::Ovs => "ovs",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Vlan => "vlan",
            Self::Dummy => "dummy",
            Self::Ptp => "ptp",
            Self::Direct => "direct",
            Self::Ipoib => "ipoib",
        })
    }
}

/// Who runs a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchKind {
    /// The kernel.
    LinuxBridge,
    /// Open vSwitch.
    Ovs,
}

impl From<SwitchKind> for Kind {
    fn from(kind: SwitchKind) -> Self {
        match kind {
            SwitchKind::LinuxBridge => Self::LinuxBridge,
            SwitchKind::Ovs => Self::Ovs,
        }
    }
}

impl fmt::Display for SwitchKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Kind::from(*self).fmt(f)
    }
}

/// Which VLANs a port carries, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vlan {
    /// One VLAN, untagged to the guest.
    Access(VlanId),
    /// These VLANs, tagged; never empty, since Open vSwitch takes an empty list for every VLAN.
    Trunk(BTreeSet<VlanId>),
    /// Every VLAN, tagged, and untagged frames.
    Every,
}

/// The other end of a link that is plugged into nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name in the other guest.
    pub ifname: Option<LinkName>,
    /// Its addresses.
    pub addresses: Vec<InterfaceAddr>,
}

impl Peer {
    /// Whether nothing is said of it.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// What a fleet wants of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSpec {
    /// Marks all that is made for it.
    pub fleet: FleetName,
    /// Bridges that stay while the fleet wants them.
    pub switches: Vec<SwitchSpec>,
    /// Links in guests.
    pub attachments: Vec<AttachmentSpec>,
}

/// A bridge that stays with or without ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchSpec {
    /// The bridge's name.
    pub name: LinkName,
    /// Linux bridge or Open vSwitch.
    pub kind: SwitchKind,
    /// What joins it to other hosts.
    pub uplink: Option<UplinkSpec>,
}

/// A link of the host in a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkSpec {
    /// The link.
    pub link: LinkName,
    /// The VLANs that it carries. Empty: on Open vSwitch it is not plugged yet, a linux bridge's carries frames as they are.
    pub trunk: BTreeSet<VlanId>,
}

/// The name of a fleet: 1 to 63 lower-case letters, digits and '-', beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FleetName(String);

impl FleetName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FleetName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        match text.starts_with(|c: char| c.is_ascii_lowercase()) && text.len() <= 63 && text.chars().all(rest)
        {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseError::new(
                text,
                "a fleet's name",
                "use 1 to 63 lower-case letters, digits and '-', beginning with a letter",
            )),
        }
    }
}

impl fmt::Display for FleetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text!(FleetName);
