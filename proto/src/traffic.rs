//! What steers the traffic of a guest and belongs to a link of ours: routes, rules, queueing disciplines.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attachment::Attachment;
use crate::net::LinkName;
use crate::spec::{Route, TableId};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// Where packets go.
    Route(Route),
    /// Which table says where they go.
    Rule(Rule),
    /// When they go, and whether.
    Qdisc(Qdisc),
}

impl Traffic {
    /// Whether both cannot be there at once: they have the same place.
    pub fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Route(one), Self::Route(other)) => {
                let place = |route: &Route| {
                    let details = route.details;
                    (route.destination, details.table.unwrap_or(TableId::MAIN), details.metric)
                };
                place(one) == place(other)
            }
            (Self::Rule(one), Self::Rule(other)) => {
                (one.priority, one.is_ipv6) == (other.priority, other.is_ipv6)
            }
            // A link has one at its root.
            (Self::Qdisc(_), Self::Qdisc(_)) => true,
            (Self::Route(_), Self::Rule(_) | Self::Qdisc(_))
            | (Self::Rule(_), Self::Route(_) | Self::Qdisc(_))
            | (Self::Qdisc(_), Self::Route(_) | Self::Rule(_)) => false,
        }
    }
}

/// Which packets are routed by which table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Packets of IPv6, else of IPv4.
    pub is_ipv6: bool,
    /// From these addresses.
    pub from: Option<IpNet>,
    /// To these addresses.
    pub to: Option<IpNet>,
    /// With this mark of netfilter's.
    pub fwmark: Option<Fwmark>,
    /// That came over this link.
    pub iif: Option<LinkName>,
    /// Of a socket that is bound to this link.
    pub oif: Option<LinkName>,
    /// The table.
    pub table: TableId,
    /// Rules are asked in this order, 1 to [`Rule::PRIORITY_MAX`].
    pub priority: u32,
}

impl Rule {
    /// The last one before the kernel's own rule for table main.
    pub const PRIORITY_MAX: u32 = 32_765;
}

/// A mark, of which only the bits of the mask are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fwmark {
    /// The mark.
    pub mark: u32,
    /// The bits that count.
    pub mask: u32,
}

/// The queueing discipline at the root of a guest's link.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Qdisc {
    /// A bad network.
    Netem(Netem),
    /// A bucket of tokens: no faster than this.
    Tbf(Tbf),
    /// Fair, with short queues.
    FqCodel(FqCodel),
}

impl Qdisc {
    /// What tc(8) and the kernel call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Netem(_) => "netem",
            Self::Tbf(_) => "tbf",
            Self::FqCodel(_) => "fq_codel",
        }
    }
}

/// tc-netem(8).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Netem {
    /// Added to each packet.
    pub delay: Duration,
    /// By how much the delay varies.
    pub jitter: Duration,
    /// Lost packets of a million.
    pub loss_ppm: u32,
    /// Bits a second; `None`: any.
    pub rate_bits: Option<u64>,
}

/// tc-tbf(8).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tbf {
    /// Bits a second.
    pub rate_bits: u64,
    /// Bytes that may go at once.
    pub burst_bytes: u32,
    /// How long a packet may wait; more are dropped.
    pub latency: Duration,
}

impl Tbf {
    /// Bytes that may wait at all.
    pub fn limit_bytes(&self) -> u64 {
        let bytes = u128::from(self.rate_bits / 8) * self.latency.as_micros() / 1_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(u64::from(self.burst_bytes))
    }
}

/// tc-fq_codel(8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FqCodel {
    /// Packets that may wait; `None`: 10240.
    pub limit: Option<u32>,
    /// Delay that is put up with; `None`: 5 ms.
    pub target: Option<Duration>,
    /// For how long; `None`: 100 ms.
    pub interval: Option<Duration>,
}

/// What steers the traffic over one link of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTraffic {
    /// The link's attachment.
    pub attachment: Uuid,
    /// The link's name in the guest.
    pub ifname: LinkName,
    /// What was asked for with the link, then what was added, in order.
    pub traffic: Vec<Traffic>,
}

/// The answer to a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficChanged {
    /// The attachment as it is now; `None` when nothing was there to be removed.
    pub attachment: Option<Attachment>,
    /// False when it was so already.
    pub is_changed: bool,
}

/// As the commands of iproute2 take it, but for the link.
impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(route) => write!(f, "route {route}"),
            Self::Rule(rule) => write!(f, "rule {rule}"),
            Self::Qdisc(qdisc) => write!(f, "qdisc {qdisc}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_ipv6: _, from, to, fwmark, iif, oif, table, priority } = self;
        from.iter().try_for_each(|from| write!(f, "from {from} "))?;
        to.iter().try_for_each(|to| write!(f, "to {to} "))?;
        fwmark.iter().try_for_each(|Fwmark { mark, mask }| write!(f, "fwmark {mark:#x}/{mask:#x} "))?;
        iif.iter().try_for_each(|link| write!(f, "iif {link} "))?;
        oif.iter().try_for_each(|link| write!(f, "oif {link} "))?;
        write!(f, "table {table} priority {priority}")
    }
}

impl fmt::Display for Qdisc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        let micros = |span: &Duration| span.as_micros();
        match self {
            Self::Netem(Netem { delay, jitter, loss_ppm, rate_bits }) => {
                if !delay.is_zero() {
                    write!(f, " delay {}us {}us", micros(delay), micros(jitter))?;
                }
                if *loss_ppm > 0 {
                    write!(f, " loss {}%", f64::from(*loss_ppm) / 10_000.0)?;
                }
                rate_bits.iter().try_for_each(|rate| write!(f, " rate {rate}bit"))
            }
            Self::Tbf(Tbf { rate_bits, burst_bytes, latency }) => {
                write!(f, " rate {rate_bits}bit burst {burst_bytes} latency {}us", micros(latency))
            }
            Self::FqCodel(FqCodel { limit, target, interval }) => {
                limit.iter().try_for_each(|limit| write!(f, " limit {limit}"))?;
                target.iter().try_for_each(|span| write!(f, " target {}us", micros(span)))?;
                interval.iter().try_for_each(|span| write!(f, " interval {}us", micros(span)))
            }
        }
    }
}
