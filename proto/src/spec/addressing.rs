//! Where the addresses of a guest's end come from, and whether they are looked for first.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::dhcp::Dhcp;
use crate::net::{InterfaceAddr, ParseError};

/// Addresses of a guest's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addressing {
    /// These; never empty.
    Static(Vec<InterfaceAddr>),
    /// From a DHCP server (IPv4).
    Dhcp(Dhcp),
    /// None of ours.
    None,
}

impl Addressing {
    /// The static addresses.
    pub fn addresses(&self) -> &[InterfaceAddr] {
        match self {
            Self::Static(addresses) => addresses,
            Self::Dhcp(_) | Self::None => &[],
        }
    }
}

/// Whether others on the network are asked, before an address is used, if it is theirs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DuplicateCheck {
    /// It is used at once.
    #[default]
    Off,
    /// For as long as neighbours that are awake need to answer.
    Quick,
    /// For as long as RFC 5227 says.
    Full,
}

impl FromStr for DuplicateCheck {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "off" => Ok(Self::Off),
            "quick" => Ok(Self::Quick),
            "full" => Ok(Self::Full),
            _ => Err(ParseError::new(text, "a check for duplicates", "use off, quick or full")),
        }
    }
}

impl fmt::Display for DuplicateCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Quick => "quick",
            Self::Full => "full",
        })
    }
}
