//! Links of two ends that are plugged into nothing: between a guest and the host, or between two guests.

use std::fmt;

use pipewright_api::net::{LinkName, MacAddr, Mtu};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A pair to be made, both ends born where they belong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The attachment.
    pub id: Uuid,
    /// The end in the guest.
    pub near: End,
    /// The other end.
    pub far: End,
    /// Where that is.
    pub whither: Far,
}

/// One end of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The attachment; gives the link group.
    pub id: Uuid,
    /// Its name where it is.
    pub name: LinkName,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Of both ends.
    pub mtu: Mtu,
}

/// Where the other end of a pair is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Far {
    /// In the host.
    Host,
    /// In another guest.
    Guest,
}

impl fmt::Display for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Guest => "other guest",
        })
    }
}

/// `ip link add eth1 netns GUEST …`
impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { near, far, whither, .. } = self;
        let End { name, mac, mtu, .. } = near;
        write!(f, "ip link add {name} netns GUEST address {mac} mtu {mtu} type veth peer name {}", far.name)?;
        write!(f, " address {} mtu {}", far.mac, far.mtu)?;
        match whither {
            Far::Host => Ok(()),
            Far::Guest => f.write_str(" netns OTHER"),
        }
    }
}
