//! What steers the traffic of a guest, as steps have it: with the link that it is over.

use pipewright_api::net::LinkName;
use pipewright_api::spec::RouteKind;
use pipewright_api::traffic::{Qdisc, Rule, Traffic};
use serde::{Deserialize, Serialize};

use super::{GuestRoute, Step};

/// A route, a rule or a queueing discipline that bears our mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestTraffic {
    /// A route of our protocol.
    Route(GuestRoute),
    /// A rule of our protocol.
    Rule(Rule),
    /// A queueing discipline with our handle.
    Qdisc(GuestQdisc),
}

/// A queueing discipline at the root of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestQdisc {
    /// The guest's end.
    pub ifname: LinkName,
    /// What is there.
    pub qdisc: Qdisc,
}

impl GuestTraffic {
    /// What is asked for, over this link.
    pub fn over(ifname: &LinkName, traffic: &Traffic) -> Self {
        match traffic {
            Traffic::Route(route) => Self::Route(GuestRoute::over(ifname, route).marked()),
            Traffic::Rule(rule) => Self::Rule(rule.clone()),
            Traffic::Qdisc(qdisc) => Self::Qdisc(GuestQdisc { ifname: ifname.clone(), qdisc: qdisc.clone() }),
        }
    }

    /// What takes it back, unless it goes with the link.
    pub(super) fn undo(&self) -> Option<Step> {
        match self {
            Self::Route(route) if route.details.kind == RouteKind::Unicast => None,
            Self::Qdisc(_) => None,
            Self::Route(_) | Self::Rule(_) => Some(Step::RemoveTraffic(self.clone())),
        }
    }

    /// The lines of ip(8) and tc(8), but for the verb.
    pub(super) fn line(&self, verb: &str) -> String {
        match self {
            Self::Route(route) => format!("ip route {verb} {route}"),
            Self::Rule(rule) if rule.is_ipv6 => format!("ip -6 rule {verb} {rule} protocol 112"),
            Self::Rule(rule) => format!("ip rule {verb} {rule} protocol 112"),
            Self::Qdisc(GuestQdisc { ifname, qdisc }) => {
                format!("tc qdisc {verb} dev {ifname} root handle 7077: {qdisc}")
            }
        }
    }
}
