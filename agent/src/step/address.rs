//! What steps about addresses are about.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use pipewright_api::net::{LinkName, MacAddr};
use pipewright_api::spec::DuplicateCheck;
use serde::{Deserialize, Serialize};

/// Addresses to be looked for on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The guest's end.
    pub ifname: LinkName,
    /// Its MAC address.
    pub mac: MacAddr,
    /// What is looked for.
    pub addresses: Vec<Ipv4Addr>,
    /// For how long.
    pub check: DuplicateCheck,
}

/// IPv6 addresses that the kernel checks before they can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitedAddress {
    /// The guest's end.
    pub ifname: LinkName,
    /// Which.
    pub what: Awaited,
}

/// Which addresses are waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Awaited {
    /// All of these.
    These(Vec<Ipv6Addr>),
    /// One that the kernel makes of a router's advertisement.
    Autoconfigured,
}

/// A setting of IPv6 of one link: its file below /proc/sys/net/ipv6/conf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ipv6Setting {
    /// Whether addresses are checked for duplicates: 0 not, 1 they are.
    AcceptDad,
    /// How often others are asked in such a check.
    DadTransmits,
    /// Whether routers are listened to: 0 not, 1 unless the guest is a router itself, 2 always.
    AcceptRa,
    /// Whether one of them may be the default router.
    AcceptRaDefrtr,
    /// Whether addresses are made of the prefixes that routers advertise.
    Autoconf,
}

impl Ipv6Setting {
    /// The file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::AcceptDad => "accept_dad",
            Self::DadTransmits => "dad_transmits",
            Self::AcceptRa => "accept_ra",
            Self::AcceptRaDefrtr => "accept_ra_defrtr",
            Self::Autoconf => "autoconf",
        }
    }
}

/// `guest: arping -D -I eth1 192.0.2.10`
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guest: arping -D -I {}", self.ifname)?;
        self.addresses.iter().try_for_each(|address| write!(f, " {address}"))
    }
}

/// `guest: wait until 2001:db8::10 on eth1 is not tentative`
impl fmt::Display for AwaitedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("guest: wait until")?;
        match &self.what {
            Awaited::These(addresses) => addresses.iter().try_for_each(|address| write!(f, " {address}"))?,
            Awaited::Autoconfigured => f.write_str(" an address of a router's prefix")?,
        }
        write!(f, " on {} is not tentative", self.ifname)
    }
}
