//! Links of a single end, which is born in the guest.

use std::fmt;

use pipewright_api::net::{LinkName, MacAddr, Mtu, VlanId};
use pipewright_api::spec::{IpvlanMode, MacvlanMode, Mode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A link to be made in a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLink {
    /// The attachment; gives the link group.
    pub id: Uuid,
    /// Its name in the guest.
    pub name: LinkName,
    /// Its MAC address. Some have their parent's, see [`LinkType::has_parents_mac`].
    pub mac: MacAddr,
    /// Of the link; the kernel refuses one above the parent's.
    pub mtu: Mtu,
    /// What it is, and on what.
    pub what: LinkType,
}

/// A type of link, with the link of the host that it is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkType {
    /// A station of its own beside the parent.
    Macvlan {
        /// The link of the host.
        parent: LinkName,
        /// How it shares the parent.
        mode: MacvlanMode,
    },
    /// Addresses of its own behind the parent's MAC address.
    Ipvlan {
        /// The link of the host.
        parent: LinkName,
        /// How it shares the parent.
        mode: IpvlanMode,
    },
    /// The frames of one VLAN.
    Vlan {
        /// The link of the host.
        parent: LinkName,
        /// The tag.
        vlan: VlanId,
    },
    /// Nothing behind it.
    Dummy,
}

impl LinkType {
    /// The link of the host that it is on.
    pub fn parent(&self) -> Option<&LinkName> {
        match self {
            Self::Macvlan { parent, .. } | Self::Ipvlan { parent, .. } | Self::Vlan { parent, .. } => {
                Some(parent)
            }
            Self::Dummy => None,
        }
    }

    /// What `ip -d link` calls it, and how the kernel's module is named.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
            Self::Vlan { .. } => "vlan",
            Self::Dummy => "dummy",
        }
    }

    /// The kernel's module that makes it.
    pub fn module(&self) -> &'static str {
        match self {
            Self::Vlan { .. } => "8021q",
            Self::Macvlan { .. } | Self::Ipvlan { .. } | Self::Dummy => self.kind(),
        }
    }

    /// Whether its MAC address is that of its parent, and cannot be chosen.
    pub fn has_parents_mac(&self) -> bool {
        match self {
            Self::Macvlan { mode, .. } => *mode == MacvlanMode::Passthru,
            Self::Ipvlan { .. } => true,
            Self::Vlan { .. } | Self::Dummy => false,
        }
    }
}

/// `macvlan mode bridge`
impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Macvlan { mode, .. } => write!(f, " mode {}", Mode::Macvlan(*mode)),
            Self::Ipvlan { mode, .. } => write!(f, " mode {}", Mode::Ipvlan(*mode)),
            Self::Vlan { vlan, .. } => write!(f, " id {vlan}"),
            Self::Dummy => Ok(()),
        }
    }
}

impl fmt::Display for GuestLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, mac, mtu, what, .. } = self;
        f.write_str("ip link add")?;
        if let Some(parent) = what.parent() {
            write!(f, " link {parent}")?;
        }
        write!(f, " name {name} netns GUEST")?;
        if !what.has_parents_mac() {
            write!(f, " address {mac}")?;
        }
        write!(f, " mtu {mtu} up type {what}")
    }
}
