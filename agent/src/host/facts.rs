//! What is there: links of the host, and what a guest looks like from inside.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use pipewright_api::condition::{GuestLinkState, answers};
use pipewright_api::net::LinkName;
use pipewright_api::spec::AttachmentSpec;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use std::os::fd::{AsFd, AsRawFd};

use crate::host::address::Address;
use crate::host::kernel::Kernel;
use crate::host::link::LinkFacts;
use crate::host::message::{attribute, read_u32};
use crate::host::netlink::{KernelError, Request, Requests};
use crate::host::netns::Netns;
use crate::host::port_vlans::{self, PortVlans};
use crate::host::take::Run;
use crate::host::{address, bridge, guest_link, link, neighbour, route, sysctl};
use crate::step::SavedRoute;

/// `struct rtgenmsg`, padded, in bytes; and an attribute of linux/net_namespace.h.
const RTGENMSG: usize = 4;
const NETNSA_NSID: u16 = 1;

/// What of a guest is asked for that not every attach needs. Routes cost a request for each family, and a look below
/// /proc/sys/net costs the more, the more namespaces there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sought {
    /// Its default routes of IPv4.
    pub ipv4_defaults: bool,
    /// Its default routes of IPv6.
    pub ipv6_defaults: bool,
    /// Whether its new links get no IPv6.
    pub ipv6: bool,
}

impl From<&AttachmentSpec> for Sought {
    fn from(spec: &AttachmentSpec) -> Self {
        Self {
            ipv4_defaults: spec.may_bring_default(false),
            ipv6_defaults: spec.may_bring_default(true),
            ipv6: spec.wants_ipv6(),
        }
    }
}

/// What must be known of a guest before something is plugged into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFacts {
    /// Which namespace it is.
    pub cookie: u64,
    /// It is the host's own, or the machine's first: no guest.
    pub is_host: bool,
    /// A link of that name is there.
    pub ifname_taken: bool,
    /// The default routes that `ip route add default` would collide with, of the families that were asked for.
    pub default_routes: Vec<SavedRoute>,
    /// New links get no IPv6: they inherit `net.ipv6.conf.default.disable_ipv6`. False where it was not asked for.
    pub ipv6_disabled: bool,
    /// The host's link that the uplink names; looked at on the way, because most who ask have a thread woken for it.
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

    /// `ip link del NAME`, if that is still the link that was seen, and of that group.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn remove_orphan(&self, name: &str, index: u32, group: u32) -> io::Result<()> {
        let name = name.to_owned();
        self.ask(move |requests| match link::find(requests, &name)? {
            Some(found) if found.index == index && found.group == group => {
                requests.request(&link::delete(index)).map(drop)
            }
            Some(_) | None => Ok(()),
        })
        .await
    }

    /// Deletes a tap: `ip tuntap del dev NAME mode tap`. Another link of that name is left.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn remove_tap(&self, name: &LinkName) -> io::Result<()> {
        let name = name.clone();
        self.ask(move |requests| match link::find(requests, name.as_str())? {
            Some(found) if found.kind == "tun" => requests.request(&link::delete(found.index)).map(drop),
            Some(_) | None => Ok(()),
        })
        .await
    }

    /// The links of these names, as far as they are there, and those that they are ports of. A dump of all links costs as much
    /// for each link that nobody asked for.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn ports_and_bridges(&self, names: Vec<LinkName>) -> io::Result<Vec<LinkFacts>> {
        self.ask(move |requests| {
            let mut found = Vec::with_capacity(names.len() + 1);
            for name in &names {
                found.extend(link::find(requests, name.as_str())?);
            }
            let bridges: BTreeSet<u32> = found.iter().filter_map(|port| port.master).collect();
            for index in bridges {
                found.extend(link::at(requests, index)?);
            }
            Ok(found)
        })
        .await
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

    /// The VLANs of the ports of all linux bridges, by the ports' numbers.
    ///
    /// # Errors
    /// The kernel's refusal; EOPNOTSUPP when its bridges do not filter.
    pub async fn port_vlans(&self) -> io::Result<BTreeMap<u32, PortVlans>> {
        self.ask(port_vlans::of_all).await
    }

    /// Whether a link of the host has an address that is not link-local; false when there is no such link.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) async fn has_address(&self, name: &LinkName) -> io::Result<bool> {
        let name = name.clone();
        self.ask(move |requests| match link::find(requests, name.as_str())? {
            Some(found) => bridge::has_address(requests, found.index),
            None => Ok(false),
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
    pub async fn guest(
        &self,
        guest: &Netns,
        ifname: &LinkName,
        uplink: Option<&LinkName>,
        sought: Sought,
    ) -> io::Result<GuestFacts> {
        let (ifname, uplink) = (ifname.clone(), uplink.cloned());
        let visit = self.visit(Some(guest));
        Ok(visit.ask(move |run| look(run, &ifname, uplink.as_ref(), sought)).await??)
    }

    /// What a guest's link looks like from inside. From then on [`Kernel::guest_changes`] hears of the guest.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN; the kernel's refusal.
    pub async fn link_state(&self, guest: &Netns, ifname: &LinkName) -> io::Result<GuestLinkState> {
        self.netns_id(guest).await?;
        let ifname = ifname.clone();
        self.inner.threads.run_in(guest, move || Ok(link_state(&mut Requests::open()?, &ifname)?)).await
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
        self.inner.threads.run_in(guest, visit).await
    }

    /// Links of guests, each given by the number of its namespace in the host's ([`Kernel::netns_id`]). `None` for what is
    /// not there, with its namespace or without.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn guest_links(&self, wanted: Vec<(i32, LinkName)>) -> io::Result<Vec<Option<LinkFacts>>> {
        self.ask(move |requests| guest_link::find_all(requests, &wanted)).await
    }

    /// The number of a guest's namespace in the host's. It is given one if it has none, `ip netns set NAME auto`: without
    /// one, nothing is heard of it. It keeps the number as long as it lives; then another may get it.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn netns_id(&self, guest: &Netns) -> io::Result<i32> {
        let guest = guest.clone();
        self.ask(move |requests| {
            let mut message = NsidMessage::default();
            let fd = guest.as_fd().as_raw_fd();
            message.attributes = vec![NsidAttribute::Fd(fd.cast_unsigned()), NsidAttribute::Id(-1)];
            let request = Request::new(RouteNetlinkMessage::NewNsId(message), NLM_F_CREATE | NLM_F_EXCL);
            match requests.request(&request) {
                Ok(_) => {}
                Err(error) if error.errno == libc::EEXIST => {}
                Err(error) => return Err(error),
            }
            let mut message = NsidMessage::default();
            message.attributes = vec![NsidAttribute::Fd(fd.cast_unsigned())];
            let replies = requests.request(&Request::new(RouteNetlinkMessage::GetNsId(message), 0))?;
            let id = replies.iter().find_map(|reply| attribute(reply.body.get(RTGENMSG..)?, NETNSA_NSID));
            let number = id.and_then(read_u32).map(u32::cast_signed).filter(|&id| id >= 0);
            number.ok_or_else(|| KernelError::new(libc::ENOENT, "the guest's namespace has no number"))
        })
        .await
    }
}

fn look(
    run: &mut Run,
    ifname: &LinkName,
    uplink: Option<&LinkName>,
    sought: Sought,
) -> Result<GuestFacts, KernelError> {
    let uplink = uplink.map(|uplink| link::find(&mut run.host, uplink.as_str())).transpose()?.flatten();
    let is_host = run.is_in_host()?;
    let guest = run.entered()?;
    let mut default_routes = Vec::new();
    for (family, is_sought) in
        [(AddressFamily::Inet, sought.ipv4_defaults), (AddressFamily::Inet6, sought.ipv6_defaults)]
    {
        if is_sought {
            default_routes.extend(route::replaced_by_a_default(&mut guest.requests, family)?);
        }
    }
    Ok(GuestFacts {
        cookie: guest.cookie,
        is_host,
        ifname_taken: is_taken(&guest.requests, ifname)?,
        default_routes,
        ipv6_disabled: sought.ipv6 && sysctl::is_ipv6_disabled("default")?,
        uplink,
    })
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
    let best = known.iter().find(|(_, state)| state.is_some_and(answers)).or(known.first());
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
