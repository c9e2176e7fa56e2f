//! What a link in a guest can be waited for, and what it looks like from inside.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::net::ParseError;

/// What to wait for. Each includes the ones before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// The link is there and administratively up.
    #[default]
    Up,
    /// It has carrier, and the switch forwards its frames.
    Carrier,
    /// It has an address in use (not tentative, RFC 4862) besides an IPv6 link-local one.
    Address,
    /// A default gateway over it answers ARP or neighbour discovery.
    Gateway,
}

impl Condition {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Up, Self::Carrier, Self::Address, Self::Gateway];
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Carrier => "carrier",
            Self::Address => "address",
            Self::Gateway => "gateway",
        })
    }
}

impl FromStr for Condition {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let named = Self::ALL.into_iter().find(|condition| condition.to_string() == text);
        named.ok_or_else(|| ParseError::new(text, "a condition", "use up, carrier, address or gateway"))
    }
}

/// What a guest's link looks like from inside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLinkState {
    /// There is a link of that name.
    pub exists: bool,
    /// Administratively up (IFF_UP).
    pub up: bool,
    /// It has carrier.
    pub carrier: bool,
    /// Addresses in use.
    pub addresses: Vec<IpNet>,
    /// Addresses still being checked for duplicates.
    pub tentative: Vec<IpNet>,
    /// Gateway of a default route over the link.
    pub gateway: Option<IpAddr>,
    /// The gateway as a neighbour: `reachable`, `incomplete`, `failed` … (RFC 4861); empty when there is none.
    pub gateway_state: String,
}
