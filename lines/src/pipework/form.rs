//! What a pipework line asks for. Everything that can be told from the words alone is checked; what the host interface
//! is, only the host knows.

use std::net::IpAddr;

use pipewright_api::net::{InterfaceAddr, LinkName, MacAddr};
use pipewright_api::spec::GuestRef;
use pipewright_api::tool::ToolLine;

/// One of pipework's forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// F1 to F6 and F9: a link for a guest.
    Attach(Box<Attach>),
    /// F7: `ip route`, `ip rule` or `tc` in a guest.
    Tool { guest: GuestRef, line: ToolLine },
    /// F8: wait, inside a guest, for a link.
    Wait { ifname: LinkName },
}

/// A link for a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    /// What it leads to.
    pub host: HostInterface,
    /// `--direct-phys`: the guest gets the host interface itself.
    pub direct: bool,
    /// `-i`; `None`: `eth1`, or `ib0` on InfiniBand.
    pub ifname: Option<LinkName>,
    /// `-l`; `None`: `v<ifname>pl<pid>`.
    pub host_ifname: Option<LinkName>,
    /// Whose link.
    pub guest: GuestRef,
    /// Its address.
    pub addressing: Addressing,
    /// Its MAC address.
    pub mac: Option<MacAddr>,
    /// What follows the `@` of the last operand: a VLAN, or a partition key on InfiniBand.
    pub tag: Option<String>,
    /// What pipework takes without a word and does not use.
    pub unused: Vec<String>,
}

/// The first operand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostInterface {
    /// By name.
    Named(LinkName),
    /// `mac:ADDRESS`.
    Mac(MacAddr),
    /// A link that leads nowhere.
    Dummy,
}

/// The third operand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressing {
    /// `ADDRESS/LENGTH[@GATEWAY]`.
    Static(InterfaceAddr, Option<IpAddr>),
    /// `0/0[@GATEWAY]`.
    None(Option<IpAddr>),
    /// The name of a DHCP client.
    Dhcp(Dhcp),
}

/// `CLIENT[-f][:OPTIONS]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dhcp {
    /// Whose options they are.
    pub client: DhcpClient,
    /// What follows the colon, in words.
    pub options: Vec<String>,
}

/// The clients that pipework runs. Pipewright needs none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DhcpClient {
    /// `dhcp` (busybox in a container of its own), `udhcpc` and `udhcpc-f`.
    Udhcpc,
    /// `dhclient` and `dhclient-f`.
    Dhclient,
    /// `dhcpcd`.
    Dhcpcd,
}

/// Why a line is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Operands are missing.
    Syntax,
    /// It cannot be.
    Because(String),
}

impl Refused {
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self::Because(why.into())
    }
}
