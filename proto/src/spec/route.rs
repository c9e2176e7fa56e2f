//! Routes of a guest.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::net::{ParseError, prefix};

/// A route over a link of ours, or one that leads nowhere and goes with the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Its bits after the prefix length are zero.
    pub destination: IpNet,
    /// `None`: on the link.
    pub via: Option<IpAddr>,
    /// What most routes do without.
    #[serde(default, skip_serializing_if = "RouteDetails::is_none")]
    pub details: RouteDetails,
}

/// What most routes do without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RouteDetails {
    /// What becomes of packets.
    pub kind: RouteKind,
    /// `None`: main.
    pub table: Option<TableId>,
    /// `None`: 0 for IPv4, 1024 for IPv6.
    pub metric: Option<u32>,
    /// `None`: the kernel chooses.
    pub source: Option<IpAddr>,
    /// `None`: link without a next hop, else global; IPv6 knows none.
    pub scope: Option<RouteScope>,
}

impl RouteDetails {
    /// Whether nothing is said.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// They go over the link.
    #[default]
    Unicast,
    /// They are dropped without a word.
    Blackhole,
    /// They are dropped, and the sender is told (ICMP host unreachable).
    Unreachable,
    /// They are dropped, and the sender is told (ICMP administratively prohibited).
    Prohibit,
}

impl FromStr for RouteKind {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "unicast" => Ok(Self::Unicast),
            "blackhole" => Ok(Self::Blackhole),
            "unreachable" => Ok(Self::Unreachable),
            "prohibit" => Ok(Self::Prohibit),
            _ => Err(ParseError::new(
                text,
                "a type of route",
                "use unicast, blackhole, unreachable or prohibit",
            )),
        }
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unicast => "unicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
        })
    }
}

/// How far away a destination is (IPv4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteScope {
    /// Anywhere.
    Global,
    /// On the link.
    Link,
}

impl FromStr for RouteScope {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "global" => Ok(Self::Global),
            "link" => Ok(Self::Link),
            _ => Err(ParseError::new(text, "a scope", "use global or link")),
        }
    }
}

impl fmt::Display for RouteScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::Link => "link",
        })
    }
}

/// The number of a routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct TableId(u32);

impl TableId {
    /// The one that packets are routed by unless a rule says otherwise.
    pub const MAIN: Self = Self(254);
    /// The kernel's own, of local addresses.
    const LOCAL: u32 = 255;
}

impl TryFrom<u32> for TableId {
    type Error = ParseError;

    fn try_from(number: u32) -> Result<Self, ParseError> {
        match number {
            0 | Self::LOCAL => Err(ParseError::new(
                &number.to_string(),
                "a table for routes",
                "use 1 to 4294967295 but not 255, which is the kernel's own",
            )),
            number => Ok(Self(number)),
        }
    }
}

impl From<TableId> for u32 {
    fn from(table: TableId) -> Self {
        table.0
    }
}

/// By number, or `main`. Names in rt_tables are the business of whoever has the file.
impl FromStr for TableId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "main" => Ok(Self::MAIN),
            _ => match text.parse::<u32>() {
                Ok(number) => Self::try_from(number),
                Err(_) => Err(ParseError::new(text, "a table for routes", "give its number, or main")),
            },
        }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MAIN => f.write_str("main"),
            Self(number) => number.fmt(f),
        }
    }
}

impl Route {
    /// A plain one.
    pub fn new(destination: IpNet, via: Option<IpAddr>) -> Self {
        Self { destination, via, details: RouteDetails::default() }
    }
}

/// `DESTINATION` or `DESTINATION@VIA`.
impl FromStr for Route {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = |why: String| ParseError::new(text, "a route", why);
        let (destination, via) = match text.split_once('@') {
            Some((destination, via)) => (destination, Some(via)),
            None => (text, None),
        };
        let shape = || refuse("write it as 198.51.100.0/24 or 198.51.100.0/24@192.0.2.1".to_owned());
        let destination = prefix(destination).ok_or_else(shape)?;
        if destination.addr() != destination.network() {
            return Err(refuse(format!(
                "its bits after the prefix must be zero, as in {}",
                destination.trunc()
            )));
        }
        let via: Option<IpAddr> = via.map(str::parse).transpose().map_err(|_| shape())?;
        if via.is_some_and(|via| via.is_ipv4() != destination.addr().is_ipv4()) {
            return Err(refuse("destination and next hop are of different families".to_owned()));
        }
        Ok(Self::new(destination, via))
    }
}

/// As ip-route(8) takes it, but for the link.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RouteDetails { kind, table, metric, source, scope } = self.details;
        if self.details.is_none() {
            return match self.via {
                Some(via) => write!(f, "{}@{via}", self.destination),
                None => self.destination.fmt(f),
            };
        }
        if kind != RouteKind::Unicast {
            write!(f, "{kind} ")?;
        }
        self.destination.fmt(f)?;
        self.via.iter().try_for_each(|via| write!(f, " via {via}"))?;
        table.iter().try_for_each(|table| write!(f, " table {table}"))?;
        metric.iter().try_for_each(|metric| write!(f, " metric {metric}"))?;
        source.iter().try_for_each(|source| write!(f, " src {source}"))?;
        scope.iter().try_for_each(|scope| write!(f, " scope {scope}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_survive_their_text() {
        for text in ["198.51.100.0/24", "198.51.100.0/24@192.0.2.1", "2001:db8::/32@fe80::1"] {
            assert_eq!(text.parse::<Route>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_route_is_refused() {
        for text in [
            "",
            "198.51.100.0",
            "198.51.100.1/24",
            "198.51.100.0/24@",
            "198.51.100.0/24@2001:db8::1",
            "a@b",
            "010.0.0.0/8",
        ] {
            assert!(text.parse::<Route>().is_err(), "{text} was taken");
        }
    }

    #[test]
    fn a_table_is_a_number_of_the_guests_own() {
        assert_eq!("main".parse(), Ok(TableId::MAIN));
        assert_eq!("7".parse::<TableId>().map(u32::from), Ok(7));
        for text in ["0", "255", "local", "4294967296", "-1", ""] {
            assert!(text.parse::<TableId>().is_err(), "{text} was taken");
        }
    }
}
