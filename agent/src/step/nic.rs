//! A link of the host that is lent to a guest, and how it was found: what comes back must be that, to the letter.

use pipewright_api::net::{LinkName, MacAddr, Mtu};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::SavedRoute;

/// A link of the host that a guest gets as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// The attachment; gives the link group and the alias that mark it while it is away.
    pub id: Uuid,
    /// Its name in the host.
    pub name: LinkName,
    /// Its name in the guest.
    pub ifname: LinkName,
    /// It is no virtual link: when its guest dies, the kernel gives it back to the machine's first namespace. Others die with
    /// the guest.
    pub is_hardware: bool,
    /// The address that its hardware came with, which no guest can change.
    pub permanent_mac: Option<MacAddr>,
    /// The number of its radio, which moves as a whole.
    pub radio: Option<u32>,
    /// As it was.
    pub found: NicState,
}

/// What the kernel forgets of a link that leaves its namespace, and what a guest can change of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicState {
    /// When that was seen, in seconds since the host's start: addresses that do not last for ever have lasted on.
    pub seen_at: u64,
    /// Its number, which programs of the host may have noted.
    pub index: u32,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Bytes.
    pub mtu: u32,
    /// The flags that can be set (IFF_UP, IFF_PROMISC …).
    pub flags: u32,
    /// Frames that wait to be sent, at most.
    pub queue: u32,
    /// Its link group.
    pub group: u32,
    /// Its alias; empty for none.
    pub alias: String,
    /// Its other names.
    pub altnames: Vec<String>,
    /// How it makes itself link-local addresses; `None` without IPv6.
    pub address_generation: Option<u8>,
    /// The settings below /proc/sys/net that are not those of every new link.
    pub settings: Vec<Setting>,
    /// Addresses, in their order.
    pub addresses: Vec<Kept>,
    /// Routes over it that somebody added, in their order.
    pub routes: Vec<SavedRoute>,
    /// Neighbours that somebody wrote down for ever.
    pub neighbours: Vec<Kept>,
}

/// `net/FOLDER/LINK/NAME=VALUE`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// `ipv4/conf`, `ipv6/neigh` …
    pub folder: String,
    /// Such as `rp_filter`.
    pub name: String,
    /// As it is written.
    pub value: String,
}

/// An object of a link, kept as the kernel gave it so that it can be put back to the letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// As ip(8) shows it.
    pub text: String,
    /// The body of the kernel's message, in hex.
    pub message: String,
}

/// A link of the host on its way into the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The attachment.
    pub id: Uuid,
    /// Its name in the host.
    pub name: LinkName,
    /// Its name in the guest.
    pub ifname: LinkName,
    /// The number of its radio, which moves as a whole.
    pub radio: Option<u32>,
}

/// A link of the host in the guest, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholeLink {
    /// The attachment; gives the link group.
    pub id: Uuid,
    /// Its name in the guest.
    pub name: LinkName,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its MTU.
    pub mtu: Mtu,
}

impl Nic {
    /// What it is known by while it is away. It says whose it is, in case that nobody is left who knows.
    pub fn alias(&self) -> String {
        format!("pipewright {} of {}", self.id, self.name)
    }
}
