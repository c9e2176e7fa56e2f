//! A host as its agent sees it, and what applying a fleet's document changes on it.
//! Names here are what the kernel and Open vSwitch show; others chose them, so they are text and not
//! [`crate::net::LinkName`].

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::reason::Failure;
use crate::spec::SwitchKind;

/// What a host is and can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Of the agent's UTS namespace.
    pub hostname: String,
    /// `uname -r`.
    pub kernel: String,
    /// Of the agent.
    pub agent_version: String,
    /// What it can do, and what is missing.
    pub capabilities: Vec<Capability>,
    /// Bridges of the kernel and of Open vSwitch.
    pub bridges: Vec<Bridge>,
    /// Links that could be an uplink.
    pub links: Vec<HostLink>,
    /// How many attachments there are.
    pub attachments: u32,
}

/// Something that the host can or cannot do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// `docker`, `ovs`, `ovs-datapath`, `link:dummy` …
    pub name: String,
    /// Whether it can.
    pub present: bool,
    /// The version, or why it is missing and what to do.
    pub detail: String,
}

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Whose bridge it is.
    pub kind: SwitchKind,
    /// Bytes.
    pub mtu: u32,
    /// Names of its ports.
    pub ports: Vec<String>,
    /// Made by this agent, and released with its last port.
    pub ours: bool,
}

/// A link of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLink {
    /// Its name.
    pub name: String,
    /// As the kernel shows it; empty for a link without one.
    pub mac: String,
    /// `ether`, `infiniband`, `loopback` …, or the number of linux/if_arp.h; empty from an older agent.
    pub hardware: String,
    /// Bytes.
    pub mtu: u32,
    /// RFC 2863.
    pub operstate: String,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// `bridge br0`, `ovs ovs0`; empty when it is free.
    pub holder: String,
}

/// One difference between what is and what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What is done to the object.
    pub action: ChangeAction,
    /// `switch ovs0`, `uplink eth1`, `attachment eth1 in docker:web`.
    pub object: String,
    /// `trunks 100 → 100,200`.
    pub detail: String,
    /// Why it could not be made; `None` when it was, or in a dry run.
    pub failure: Option<Failure>,
}

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeAction {
    /// It is missing.
    Create,
    /// It differs.
    Update,
    /// It is no longer wanted.
    Remove,
}

impl fmt::Display for ChangeAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Remove => "remove",
        })
    }
}
