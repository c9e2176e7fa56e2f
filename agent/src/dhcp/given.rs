//! What servers of either protocol give and are asked for, as far as the rest of the agent is concerned.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use pipewright_api::dhcp;
use pipewright_api::net::InterfaceAddr;
use serde::{Deserialize, Serialize};

use super::{Machine, Moment, client, lease, v6};

/// Which of the two protocols.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// DHCP (RFC 2131).
    #[default]
    V4,
    /// DHCPv6 (RFC 8415).
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "DHCP",
            Self::V6 => "DHCPv6",
        }
    }
}

/// Whom servers know a client as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Identity {
    /// Of DHCP.
    V4(client::Identity),
    /// Of DHCPv6.
    V6(v6::client::Identity),
}

impl Identity {
    /// By which protocol.
    pub fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }
}

/// What a server gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Given {
    /// By DHCP.
    V4(lease::Lease),
    /// By DHCPv6.
    V6(v6::lease::Lease),
}

/// A route from a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenRoute {
    /// Where to.
    pub destination: IpNet,
    /// `None`: on the link.
    pub via: Option<IpAddr>,
}

impl GivenRoute {
    /// Whether it is the default route.
    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }
}

impl Given {
    /// By which protocol.
    pub fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    /// Address and prefix length.
    pub fn address(&self) -> InterfaceAddr {
        match self {
            Self::V4(lease) => lease.address,
            Self::V6(lease) => lease.address,
        }
    }

    /// The address alone.
    pub fn ip(&self) -> IpAddr {
        self.address().addr()
    }

    /// When to ask its server for more; `None`: never.
    pub fn renew_at(&self) -> Option<Moment> {
        match self {
            Self::V4(lease) => lease.renew_at(),
            Self::V6(lease) => lease.renew_at(),
        }
    }

    /// How long it still lasts, and how long it is used for new connections; `None`: for ever.
    pub fn left(&self, now: Moment) -> Lifetimes {
        let left = |since: Moment, lasts: Option<Duration>| lasts.map(|l| (since + l).saturating_sub(now));
        match self {
            Self::V4(lease) => {
                let valid = left(lease.since, lease.lasts);
                Lifetimes { valid, preferred: valid }
            }
            Self::V6(lease) => Lifetimes {
                valid: left(lease.since, lease.lasts),
                preferred: left(lease.since, lease.preferred),
            },
        }
    }

    /// Routes, in an order in which the kernel takes them. DHCPv6 has none: they are the routers' to tell.
    pub fn routes(&self) -> Vec<GivenRoute> {
        match self {
            Self::V4(lease) => {
                let route = |route: &lease::LeasedRoute| GivenRoute {
                    destination: route.destination.into(),
                    via: route.via.map(IpAddr::V4),
                };
                lease.routes.iter().map(route).collect()
            }
            Self::V6(_) => Vec::new(),
        }
    }

    /// Bytes; `None`: the link's own.
    pub fn mtu(&self) -> Option<u16> {
        match self {
            Self::V4(lease) => lease.mtu,
            Self::V6(_) => None,
        }
    }

    /// As callers see it.
    pub fn shown(&self, now: Moment, wall: SystemTime) -> dhcp::Lease {
        match self {
            Self::V4(lease) => lease.shown(now, wall),
            Self::V6(lease) => lease.shown(now, wall),
        }
    }
}

/// How long an address lasts; `None`: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// At all.
    pub valid: Option<Duration>,
    /// For new connections.
    pub preferred: Option<Duration>,
}

/// A client of either protocol.
#[derive(Debug, Clone)]
pub enum Client {
    /// Of DHCP.
    V4(client::Client),
    /// Of DHCPv6.
    V6(v6::client::Client),
}

impl Client {
    /// One that has no address. `seed` makes it unlike others.
    pub fn new(identity: &Identity, seed: u64, now: Moment) -> Self {
        match identity.clone() {
            Identity::V4(identity) => Self::V4(client::Client::new(identity, seed, now)),
            Identity::V6(identity) => Self::V6(v6::client::Client::new(identity, seed, now)),
        }
    }

    /// One that goes on with a lease where another left off.
    pub fn resume(identity: &Identity, seed: u64, given: Given, now: Moment) -> Self {
        match (identity.clone(), given) {
            (Identity::V4(identity), Given::V4(lease)) => {
                Self::V4(client::Client::resume(identity, seed, lease, now))
            }
            (Identity::V6(identity), Given::V6(lease)) => {
                Self::V6(v6::client::Client::resume(identity, seed, lease, now))
            }
            (Identity::V4(_), Given::V6(_)) | (Identity::V6(_), Given::V4(_)) => {
                Self::new(identity, seed, now)
            }
        }
    }

    /// One that had a lease and asks whether it still holds.
    pub fn reboot(identity: &Identity, seed: u64, given: Given, now: Moment) -> Self {
        match (identity.clone(), given) {
            (Identity::V4(identity), Given::V4(lease)) => {
                Self::V4(client::Client::reboot(identity, seed, lease, now))
            }
            (Identity::V6(identity), Given::V6(lease)) => {
                Self::V6(v6::client::Client::reboot(identity, seed, lease, now))
            }
            (Identity::V4(_), Given::V6(_)) | (Identity::V6(_), Given::V4(_)) => {
                Self::new(identity, seed, now)
            }
        }
    }

    /// When it wants something next; `None`: never.
    pub fn due(&self) -> Option<Moment> {
        match self {
            Self::V4(client) => client.due(),
            Self::V6(client) => client.due(),
        }
    }
}
