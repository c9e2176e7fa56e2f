//! What a link's hardware is, or stands for: it says what its frames and its addresses look like.

use std::fmt;

/// Numbers of linux/if_arp.h.
const ETHER: u16 = 1;
const INFINIBAND: u16 = 32;
const LOOPBACK: u16 = 772;

/// A hardware type (`ARPHRD_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hardware {
    /// Ethernet, or what looks like it.
    Ethernet,
    /// InfiniBand: addresses of 20 bytes.
    Infiniband,
    /// The loopback.
    Loopback,
    /// Another.
    Other(u16),
}

impl From<u16> for Hardware {
    fn from(number: u16) -> Self {
        match number {
            ETHER => Self::Ethernet,
            INFINIBAND => Self::Infiniband,
            LOOPBACK => Self::Loopback,
            other => Self::Other(other),
        }
    }
}

/// As `ip link` shows it after `link/`.
impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ethernet => f.write_str("ether"),
            Self::Infiniband => f.write_str("infiniband"),
            Self::Loopback => f.write_str("loopback"),
            Self::Other(number) => number.fmt(f),
        }
    }
}
