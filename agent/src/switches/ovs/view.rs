//! Bridges and ports as callers see them, what they ask for and what becomes of it.

use pipewright_api::labels::Labels;
use pipewright_api::net::LinkName;
use pipewright_api::spec::Vlan;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What is known of the switch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OvsFacts {
    /// The database is reached, and its rows are known. The rest is as of the last time that this was so.
    pub is_connected: bool,
    /// How often it was reached since the agent started.
    pub connections: u64,
    /// Of ovs-vswitchd; `None` until it ran.
    pub ovs_version: Option<String>,
    /// What ovs-vswitchd was built with. That `system` is among them does not mean that the kernel has it.
    pub datapath_types: Vec<String>,
    /// What interfaces can be.
    pub iface_types: Vec<String>,
}

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OvsBridge {
    /// Its name.
    pub name: String,
    /// Names of its ports, its own among them.
    pub ports: Vec<String>,
    /// `netdev`, `system`, or empty for `system`.
    pub datapath_type: String,
    /// We made it.
    pub is_ours: bool,
}

impl OvsBridge {
    /// Whether frames pass through userspace, where TX checksum offload of a guest makes TCP fail while ping works.
    pub fn is_userspace(&self) -> bool {
        self.datapath_type == "netdev"
    }
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OvsPort {
    /// Its name, and its link's.
    pub name: String,
    /// The bridge that it is in.
    pub bridge: Option<String>,
    /// What it carries; `None` for a mode that we do not set.
    pub vlan: Option<Vlan>,
    /// The attachment; `None` if it is not ours.
    pub id: Option<Uuid>,
    /// What it is for.
    pub purpose: Option<Purpose>,
    /// OpenFlow's number; -1 if ovs-vswitchd cannot use it, `None` if it has not tried.
    pub ofport: Option<i64>,
    /// What ovs-vswitchd complains of. Stays empty in the userspace datapath when the link vanishes; `is_up` tells.
    pub error: Option<String>,
    /// The link is up.
    pub is_up: bool,
}

impl OvsPort {
    /// What is known of a port that is not there.
    pub fn absent(name: &str) -> Self {
        let name = name.to_owned();
        Self {
            name,
            bridge: None,
            vlan: None,
            id: None,
            purpose: None,
            ofport: None,
            error: None,
            is_up: false,
        }
    }
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A guest's link.
    Guest,
    /// A link to other hosts.
    Uplink,
}

impl Purpose {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Uplink => "uplink",
        }
    }
}

/// A port that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plug {
    /// The bridge; it must exist.
    pub bridge: LinkName,
    /// The port, named as its link. The link may come later.
    pub port: LinkName,
    /// What it carries.
    pub vlan: Vlan,
    /// The attachment, or whatever else the port is made for.
    pub id: Uuid,
    /// What it is for.
    pub purpose: Purpose,
    /// `external_ids` of its Interface, beside our mark.
    pub labels: Labels,
}

/// Whether something was made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was made.
    Yes,
    /// It was there.
    No,
}

/// What became of a bridge that was to be released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// It is deleted.
    Yes,
    /// It was not there.
    Absent,
    /// It is not ours, and was left.
    Foreign,
    /// It has ports, and was left.
    InUse,
}

/// What became of a port that was to be unplugged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unplugged {
    /// It is removed from the database; ovs-vswitchd lets go of the link some ten milliseconds later.
    Yes,
    /// It was not there.
    Absent,
    /// It is not the attachment's, and was left.
    Foreign {
        /// Whose it is, as far as its `external_ids` say.
        by: String,
    },
}
