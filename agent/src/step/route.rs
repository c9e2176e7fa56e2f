//! Routes of guests that are ours.

use std::net::IpAddr;

use ipnet::IpNet;
use pipewright_api::net::LinkName;
use pipewright_api::spec::{Route, RouteDetails, RouteKind};
use serde::{Deserialize, Serialize};

/// A route over the guest's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestRoute {
    /// Where to.
    pub destination: IpNet,
    /// `None`: on the link.
    pub via: Option<IpAddr>,
    /// The guest's end.
    pub ifname: LinkName,
    /// What most routes do without.
    #[serde(default, skip_serializing_if = "RouteDetails::is_none")]
    pub details: RouteDetails,
    /// Whether it bears our protocol, so that it is told from one of somebody else's.
    #[serde(default)]
    pub is_marked: bool,
}

impl GuestRoute {
    /// A plain one.
    pub fn new(destination: IpNet, via: Option<IpAddr>, ifname: LinkName) -> Self {
        Self { destination, via, ifname, details: RouteDetails::default(), is_marked: false }
    }

    /// What is asked for, over this link. What would not go with the link is marked.
    pub fn over(ifname: &LinkName, route: &Route) -> Self {
        let Route { destination, via, details } = *route;
        let is_marked = details.kind != RouteKind::Unicast;
        Self { destination, via, ifname: ifname.clone(), details, is_marked }
    }

    pub(super) fn marked(self) -> Self {
        Self { is_marked: true, ..self }
    }

    /// Whether it goes with the link.
    pub(super) fn is_on_link(&self) -> bool {
        self.details.kind == RouteKind::Unicast
    }
}
