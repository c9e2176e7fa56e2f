//! What is there: links of the host, and what a guest looks like from inside.

use std::io;
use std::net::IpAddr;

use pipewright_api::condition::GuestLinkState;
use pipewright_api::net::LinkName;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use std::os::fd::{AsFd, AsRawFd};

use crate::host::address::Address;
use crate::host::kernel::Kernel;
use crate::host::link::LinkFacts;
use crate::host::netlink::{KernelError, Request, Requests};
use crate::host::netns::Netns;
use crate::host::{address, link, neighbour, route, sys, sysctl};
use crate::step::SavedRoute;

/// What must be known of a guest before something is plugged into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFacts {
    /// Which namespace it is.
    pub cookie: u64,
    /// It is the host's own, or the machine's first: no guest.
    pub is_host: bool,
    /// A link of that name is there.
    pub ifname_taken: bool,
    /// The default routes that `ip route add default` would collide with, of both families.
    pub default_routes: Vec<SavedRoute>,
    /// New links get no IPv6: they inherit `net.ipv6.conf.default.disable_ipv6`.
    pub ipv6_disabled: bool,
    /// The host's link that the uplink names; looked at on the way, because each thread that is asked costs its waking.
    pub uplink: Option<LinkFacts>,
}

impl Kernel {
    /// A link of the host; `None` when there is none of that name.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn link(&self, name: &LinkName) -> io::Result<Option<LinkFacts>> {
        let name = name.clone();
        self.ask(move |requests| link::find(requests, name.as_str())).await
    }

    /// All links of the host.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn links(&self) -> io::Result<Vec<LinkFacts>> {
        self.ask(|requests| link::list(requests, None)).await
    }

    /// The ports of a linux bridge; none when there is no such link.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn ports_of(&self, bridge: &LinkName) -> io::Result<Vec<LinkFacts>> {
        let bridge = bridge.clone();
        self.ask(move |requests| match link::find(requests, bridge.as_str())? {
            Some(found) => link::list(requests, Some(found.index)),
            None => Ok(Vec::new()),
        })
        .await
    }

    /// The addresses of a link of the host.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn addresses_of(&self, index: u32) -> io::Result<Vec<Address>> {
        self.ask(move |requests| address::list_all(requests, index)).await
    }

    /// What must be known of a guest and of its uplink before `ifname` is plugged into it, in one visit.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN; the kernel's refusal.
    pub async fn guest(&self, guest: &Netns, ifname: &LinkName, uplink: &LinkName) -> io::Result<GuestFacts> {
        let (ifname, uplink, inner) = (ifname.clone(), uplink.clone(), self.inner.clone());
        let sockets = self.inner.clone();
        let before = move || {
            let mut requests = sockets.sockets.take()?;
            let uplink = link::find(&mut requests, uplink.as_str());
            sockets.sockets.put_back(requests);
            Ok(uplink?)
        };
        let visit = move |uplink| {
            let mut requests = Requests::open()?;
            let cookie = sys::netns_cookie(&requests)?;
            Ok(GuestFacts {
                cookie,
                is_host: inner.is_host_here(cookie)?,
                ifname_taken: is_taken(&requests, &ifname)?,
                default_routes: route::replaced_by_a_default(&mut requests)?,
                ipv6_disabled: sysctl::is_ipv6_disabled("default")?,
                uplink,
            })
        };
        guest.run_after(before, visit).await
    }

    /// What a guest's link looks like from inside. From then on [`Kernel::guest_changes`] hears of the guest.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN; the kernel's refusal.
    pub async fn link_state(&self, guest: &Netns, ifname: &LinkName) -> io::Result<GuestLinkState> {
        self.number(guest).await?;
        let ifname = ifname.clone();
        guest.run(move || Ok(link_state(&mut Requests::open()?, &ifname)?)).await
    }

    /// Has the guest's kernel ask its default gateways over a link for their MAC addresses. The answer shows in
    /// [`Kernel::link_state`], and its coming in [`Kernel::guest_changes`].
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN; the kernel's refusal.
    pub async fn probe_gateway(&self, guest: &Netns, ifname: &LinkName) -> io::Result<()> {
        let ifname = ifname.clone();
        let visit = move || {
            let mut requests = Requests::open()?;
            let Some(link) = link::find(&mut requests, ifname.as_str())? else { return Ok(()) };
            let gateways = gateways(&mut requests, link.index)?;
            let asked: Vec<_> = gateways.iter().map(|&gateway| neighbour::ask(link.index, gateway)).collect();
            for answer in requests.batch(&asked)? {
                answer?;
            }
            Ok(())
        };
        guest.run(visit).await
    }

    /// Gives a guest's namespace a number in the host's, `ip netns set NAME auto`: without one, nothing is heard of it.
    async fn number(&self, guest: &Netns) -> io::Result<()> {
        let guest = guest.clone();
        self.ask(move |requests| {
            let mut message = NsidMessage::default();
            let fd = guest.as_fd().as_raw_fd();
            message.attributes = vec![NsidAttribute::Fd(fd.cast_unsigned()), NsidAttribute::Id(-1)];
            let request = Request::new(RouteNetlinkMessage::NewNsId(message), NLM_F_CREATE | NLM_F_EXCL);
            match requests.request(&request) {
                Ok(_) => Ok(()),
                Err(error) if error.errno == libc::EEXIST => Ok(()),
                Err(error) => Err(error),
            }
        })
        .await
    }
}

/// Asks without the kernel's lock for links, which others may hold for long.
fn is_taken(requests: &Requests, ifname: &LinkName) -> Result<bool, KernelError> {
    match link::index(requests, ifname) {
        Ok(_) => Ok(true),
        Err(error) if error.errno == libc::ENODEV => Ok(false),
        Err(error) => Err(error),
    }
}

fn link_state(requests: &mut Requests, ifname: &LinkName) -> Result<GuestLinkState, KernelError> {
    let Some(link) = link::find(requests, ifname.as_str())? else { return Ok(GuestLinkState::default()) };
    let (unsure, usable): (Vec<_>, Vec<_>) = address::list_all(requests, link.index)?
        .into_iter()
        .partition(|address| address.tentative || address.duplicate);
    let mut known = Vec::new();
    for gateway in gateways(requests, link.index)? {
        known.push((gateway, neighbour::state(requests, link.index, gateway)?));
    }
    let answers = |state: &Option<&str>| matches!(state, Some("reachable" | "permanent" | "noarp"));
    let best = known.iter().find(|(_, state)| answers(state)).or(known.first());
    Ok(GuestLinkState {
        exists: true,
        up: link.up,
        carrier: link.carrier,
        addresses: usable.iter().map(|address| address.net).collect(),
        tentative: unsure.iter().map(|address| address.net).collect(),
        gateway: best.map(|(gateway, _)| *gateway),
        gateway_state: best.and_then(|(_, state)| *state).unwrap_or_default().to_owned(),
    })
}

/// The gateways of the default routes over a link.
fn gateways(requests: &mut Requests, index: u32) -> Result<Vec<IpAddr>, KernelError> {
    let mut routes = route::list(requests, AddressFamily::Inet, Some(index))?;
    routes.extend(route::list(requests, AddressFamily::Inet6, Some(index))?);
    let defaults = routes.into_iter().filter(|route| route.destination.prefix_len() == 0);
    Ok(defaults.filter_map(|route| route.gateway).collect())
}
