//! Routes.

use ipnet::IpNet;

use super::At;
use crate::reason::Failure;
use crate::spec::{Route, RouteDetails, RouteKind, RouteScope};
use crate::wire;

pub(super) fn route(route: &wire::Route, at: &At<'_>) -> Result<Route, Failure> {
    let known = "unicast, blackhole, unreachable and prohibit";
    let kind = match at.field("type").variant::<wire::RouteType>(route.r#type, known)? {
        None | Some(wire::RouteType::Unspecified | wire::RouteType::Unicast) => RouteKind::Unicast,
        Some(wire::RouteType::Blackhole) => RouteKind::Blackhole,
        Some(wire::RouteType::Unreachable) => RouteKind::Unreachable,
        Some(wire::RouteType::Prohibit) => RouteKind::Prohibit,
    };
    let scope = match at.field("scope").variant::<wire::RouteScope>(route.scope, "global and link")? {
        None | Some(wire::RouteScope::Unspecified) => None,
        Some(wire::RouteScope::Global) => Some(RouteScope::Global),
        Some(wire::RouteScope::Link) => Some(RouteScope::Link),
    };
    Ok(Route {
        destination: at.field("destination").required(&route.destination)?,
        via: at.field("via").optional(&route.via)?,
        details: RouteDetails {
            kind,
            table: match route.table {
                0 => None,
                number => Some(at.field("table").number(number)?),
            },
            metric: Some(route.metric).filter(|metric| *metric != 0),
            source: at.field("source").optional(&route.source)?,
            scope,
        },
    })
}

impl From<Route> for wire::Route {
    fn from(route: Route) -> Self {
        Self {
            destination: IpNet::to_string(&route.destination),
            via: route.via.map(|via| via.to_string()).unwrap_or_default(),
            r#type: match route.details.kind {
                RouteKind::Unicast => wire::RouteType::Unspecified,
                RouteKind::Blackhole => wire::RouteType::Blackhole,
                RouteKind::Unreachable => wire::RouteType::Unreachable,
                RouteKind::Prohibit => wire::RouteType::Prohibit,
            }
            .into(),
            table: route.details.table.map_or(0, u32::from),
            metric: route.details.metric.unwrap_or(0),
            source: route.details.source.map(|source| source.to_string()).unwrap_or_default(),
            scope: match route.details.scope {
                None => wire::RouteScope::Unspecified,
                Some(RouteScope::Global) => wire::RouteScope::Global,
                Some(RouteScope::Link) => wire::RouteScope::Link,
            }
            .into(),
        }
    }
}
