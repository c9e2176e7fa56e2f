//! An attachment as the agent keeps it: what was asked, what was found, what state it is in.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::dhcp::Lease;
use crate::net::{LinkName, MacAddr, Mtu, ParseError};
use crate::spec::{AttachmentSpec, FleetName};
use crate::traffic::Traffic;

/// One link in one guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its name for ever.
    pub id: Uuid,
    /// What was asked, with the kind, MAC, MTU and host end filled in.
    pub spec: AttachmentSpec,
    /// Where it is in its life.
    pub state: State,
    /// The guest as it was found.
    pub guest: GuestIdentity,
    /// The host's end; `None` for a kind without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ifname: Option<LinkName>,
    /// The guest's link's MAC address; `None` for an IPoIB link, whose hardware address is of another kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Of the guest's link, and of its host's end; `None` for an IPoIB link, whose driver decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// The fleet that wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetName>,
    /// When it was asked for.
    pub created_at: SystemTime,
    /// Of its last change.
    pub revision: u64,
    /// The steps that make it, one line each.
    pub plan: Vec<String>,
    /// What the host shows now; not stored.
    #[serde(skip)]
    pub observed: Option<Box<ObservedLink>>,
    /// What an undo left behind.
    pub leftovers: Vec<String>,
    /// What the DHCP server gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Box<Lease>>,
    /// The guest at the other end, of a link between two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<GuestIdentity>,
    /// What the DHCPv6 server gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease6: Option<Box<Lease>>,
    /// What was added to it, and goes with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<Traffic>,
    /// Why it waits; empty unless it does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waiting: String,
    /// What differs now from what was made; not stored.
    #[serde(skip)]
    pub drift: Vec<Drift>,
    /// What of its container asked for it; `None` when a caller did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Origin>>,
}

/// Something of an attachment that somebody else changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// What differs: `address`, `vlan`, `default-route` …
    pub what: String,
    /// Of which link, port or bridge.
    pub object: String,
    /// As it was made.
    pub expected: String,
    /// As it is.
    pub found: String,
    /// When it was seen first.
    pub since: SystemTime,
    /// Why it is not repaired, or not yet; `None` while it is about to be.
    pub unrepaired: Option<String>,
}

/// A label or variable of a container that asks for an attachment of that container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The label's or the variable's name.
    pub key: String,
    /// Its text, as it was written.
    pub line: String,
}

/// Life of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Steps are being taken.
    Attaching,
    /// Made and read back.
    Attached,
    /// Steps are being undone.
    Detaching,
    /// Gone; only in events.
    Detached,
    /// An undo could not finish.
    Incomplete,
    /// Nothing of it is there until its guest runs.
    Waiting,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attaching => "attaching",
            Self::Attached => "attached",
            Self::Detaching => "detaching",
            Self::Detached => "detached",
            Self::Incomplete => "incomplete",
            Self::Waiting => "waiting",
        })
    }
}

/// Which guest it is. Pids and inodes of namespaces are reused; the cookie is not until the host reboots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestIdentity {
    /// What runs it.
    pub runtime: Runtime,
    /// Container id, pid, or path of the namespace.
    pub id: String,
    /// Container name, or what the caller used.
    pub name: String,
    /// A process of the guest, when one is known.
    pub pid: Option<u32>,
    /// SO_NETNS_COOKIE; 0 while it does not run.
    pub netns_cookie: u64,
    /// When the runtime or the kernel says it started.
    pub started_at: String,
}

/// What runs a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// A Docker container.
    Docker,
    /// A Podman container.
    Podman,
    /// An LXC container.
    Lxc,
    /// A container of containerd's own.
    Containerd,
    /// A container of CRI-O.
    Crio,
    /// A container that systemd-machined knows.
    Machined,
    /// A process.
    Pid,
    /// A mounted network namespace.
    Netns,
}

impl Runtime {
    /// Whether its guests have ids of which a beginning is enough.
    pub fn has_container_ids(self) -> bool {
        match self {
            Self::Docker | Self::Podman | Self::Containerd | Self::Crio => true,
            Self::Lxc | Self::Machined | Self::Pid | Self::Netns => false,
        }
    }

    /// Whether it tells when a guest of a name starts, so that a link can follow it.
    pub fn tells_of_starts(self) -> bool {
        match self {
            Self::Docker | Self::Podman => true,
            Self::Lxc | Self::Containerd | Self::Crio | Self::Machined | Self::Pid | Self::Netns => false,
        }
    }
}

impl FromStr for Runtime {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "docker" => Ok(Self::Docker),
            "podman" => Ok(Self::Podman),
            "lxc" => Ok(Self::Lxc),
            "containerd" => Ok(Self::Containerd),
            "crio" => Ok(Self::Crio),
            "machined" => Ok(Self::Machined),
            "pid" => Ok(Self::Pid),
            "netns" => Ok(Self::Netns),
            _ => Err(ParseError::new(
                text,
                "a runtime",
                "use docker, podman, lxc, containerd, crio, machined, pid or netns",
            )),
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Lxc => "lxc",
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::Machined => "machined",
            Self::Pid => "pid",
            Self::Netns => "netns",
        })
    }
}

/// The link as it is now: its host's end, or the guest's link of a kind without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedLink {
    /// It exists and is ours.
    pub present: bool,
    /// RFC 2863.
    pub operstate: String,
    /// Bytes.
    pub mtu: u32,
    /// Empty when it is in none.
    pub bridge: String,
    /// OpenFlow port number; 0 when there is none.
    pub ofport: i64,
    /// What Open vSwitch complains of.
    pub ovs_error: String,
}

/// The answer to an attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The attachment; for a dry run what it would be.
    pub attachment: Attachment,
    /// False when it was there already.
    pub created: bool,
}

/// Attachments in order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Those that were asked for.
    pub attachments: Vec<Attachment>,
    /// Watching from here shows every later change.
    pub revision: u64,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What is on it.
    pub listing: Listing,
    /// The next page begins after this id; `None` on the last one.
    pub next: Option<Uuid>,
}
