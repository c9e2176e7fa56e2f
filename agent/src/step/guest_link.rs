//! Links of a single end, which is born in the guest.

use std::fmt;

use pipewright_api::net::{LinkName, MacAddr, Mtu, VlanId};
use pipewright_api::spec::{IpoibMode, IpvlanMode, MacvlanMode, Mode, PartitionKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A link to be made in a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLink {
    /// The attachment; gives the link group.
    pub id: Uuid,
    /// Its name in the guest.
    pub name: LinkName,
    /// Its MAC address. Some have their parent's, see [`LinkType::has_parents_mac`]; `None`: one that is no MAC address.
    pub mac: Option<MacAddr>,
    /// Of the link; the kernel refuses one above the parent's. `None`: as the driver decides.
    pub mtu: Option<Mtu>,
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
    /// One more interface of a port of InfiniBand.
    Ipoib {
        /// The link of the host.
        parent: LinkName,
        /// The partition; `None`: the parent's.
        pkey: Option<PartitionKey>,
        /// What carries its packets.
        mode: IpoibMode,
    },
    /// Nothing behind it.
    Dummy,
}

impl LinkType {
    /// The link of the host that it is on.
    pub fn parent(&self) -> Option<&LinkName> {
        match self {
            Self::Macvlan { parent, .. }
            | Self::Ipvlan { parent, .. }
            | Self::Vlan { parent, .. }
            | Self::Ipoib { parent, .. } => Some(parent),
            Self::Dummy => None,
        }
    }

    /// What `ip -d link` calls it, and how the kernel's module is named.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
            Self::Vlan { .. } => "vlan",
            Self::Ipoib { .. } => "ipoib",
            Self::Dummy => "dummy",
        }
    }

    /// The kernel's module that makes it.
    pub fn module(&self) -> &'static str {
        match self {
            Self::Vlan { .. } => "8021q",
            Self::Ipoib { .. } => "ib_ipoib",
            Self::Macvlan { .. } | Self::Ipvlan { .. } | Self::Dummy => self.kind(),
        }
    }

    /// Whether its MAC address is that of its parent, and cannot be chosen.
    pub fn has_parents_mac(&self) -> bool {
        match self {
            Self::Macvlan { mode, .. } => *mode == MacvlanMode::Passthru,
            Self::Ipvlan { .. } => true,
            Self::Vlan { .. } | Self::Ipoib { .. } | Self::Dummy => false,
        }
    }

    /// Whether the kernel may give it back to the machine's first namespace when its guest dies, as it does with hardware. Newer
    /// ones do so with all of IPoIB (`netns_refund`).
    pub fn may_come_back(&self) -> bool {
        match self {
            Self::Ipoib { .. } => true,
            Self::Macvlan { .. } | Self::Ipvlan { .. } | Self::Vlan { .. } | Self::Dummy => false,
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
            Self::Ipoib { pkey, mode, .. } => {
                pkey.iter().try_for_each(|pkey| write!(f, " pkey {pkey}"))?;
                write!(f, " mode {}", Mode::Ipoib(*mode))
            }
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
        if let Some(mac) = mac.filter(|_| !what.has_parents_mac()) {
            write!(f, " address {mac}")?;
        }
        mtu.iter().try_for_each(|mtu| write!(f, " mtu {mtu}"))?;
        write!(f, " up type {what}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_an_older_agent_wrote_down_is_read() {
        let written = r#"{"id":"00000000-0000-0000-0000-000000000001","name":"eth1","mac":"02:00:5e:10:00:01","mtu":1500,
            "what":{"macvlan":{"parent":"eth0","mode":"bridge"}}}"#;

        let link: GuestLink = serde_json::from_str(written).unwrap();

        assert_eq!(
            link.to_string(),
            "ip link add link eth0 name eth1 netns GUEST address 02:00:5e:10:00:01 mtu 1500 up type macvlan mode bridge"
        );
    }
}
