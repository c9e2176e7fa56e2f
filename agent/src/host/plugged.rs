//! What a link of ours in a guest has, as an attach would have been asked for it.

use std::io;
use std::net::IpAddr;

use pipewright_api::net::{InterfaceAddr, LinkName};
use pipewright_api::spec::{Route, RouteDetails};
use rtnetlink::packet_route::AddressFamily;
use uuid::Uuid;

use crate::host::kernel::Kernel;
use crate::host::link::LinkFacts;
use crate::host::netlink::{KernelError, Requests};
use crate::host::netns::Netns;
use crate::host::{address, link, mark, route};

/// A link of ours in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugged {
    /// The link.
    pub link: LinkFacts,
    /// Its addresses without an end; not the kernel's own link-local ones.
    pub addresses: Vec<InterfaceAddr>,
    /// Next hops of default routes over it.
    pub gateways: Vec<IpAddr>,
    /// Other routes over it that neither the kernel nor a protocol made.
    pub routes: Vec<Route>,
}

impl Kernel {
    /// A link of an attachment as it is in its guest; `None` when it is not there.
    ///
    /// # Errors
    /// EPERM for the host itself; the kernel's refusal.
    pub async fn plugged(&self, guest: &Netns, id: Uuid, ifname: &LinkName) -> io::Result<Option<Plugged>> {
        let ifname = ifname.clone();
        self.in_guest(guest, move || Ok(look(&mut Requests::open()?, id, &ifname)?)).await
    }
}

fn look(requests: &mut Requests, id: Uuid, ifname: &LinkName) -> Result<Option<Plugged>, KernelError> {
    let found = link::find(requests, ifname.as_str())?.filter(|link| link.group == mark::group(id));
    let Some(link) = found else { return Ok(None) };
    let is_given = |address: &address::Address| {
        let is_link_local = matches!(address.net.addr(), IpAddr::V6(v6) if v6.is_unicast_link_local());
        address.permanent && !is_link_local
    };
    let all = address::list_all(requests, link.index)?.into_iter().filter(is_given);
    let addresses = all.filter_map(|address| address.net.to_string().parse().ok()).collect();
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        routes.extend(
            route::list(requests, family, Some(link.index))?.into_iter().filter(route::Route::is_given),
        );
    }
    let (defaults, others): (Vec<_>, Vec<_>) =
        routes.into_iter().partition(|route| route.destination.prefix_len() == 0);
    let gateways: Vec<IpAddr> = defaults.iter().filter_map(|route| route.gateway).collect();
    let is_to_gateway = |route: &Route| route.via.is_none() && gateways.contains(&route.destination.addr());
    let routes = others
        .iter()
        .map(|route| Route {
            destination: route.destination,
            via: route.gateway,
            details: RouteDetails { metric: route.unusual_metric(), ..RouteDetails::default() },
        })
        .filter(|route| !is_to_gateway(route))
        .collect();
    Ok(Some(Plugged { link, addresses, gateways, routes }))
}
