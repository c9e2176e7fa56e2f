//! A NIC as it is found: all that has to be made good when it comes back, and what is in the way of lending it.

use std::io;
use std::net::IpAddr;

use pipewright_api::net::{LinkName, MacAddr};

use super::link::{self, NicLink};
use super::objects::{self, Found};
use super::{Radios, settings, users};
use crate::host::dhcp::now;
use crate::host::hardware::Hardware;
use crate::host::kernel::Kernel;
use crate::host::netlink::{KernelError, Requests};
use crate::step::NicState;

/// A NIC that could be lent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicFacts {
    /// It is no virtual link.
    pub is_hardware: bool,
    /// The address that its hardware came with.
    pub permanent_mac: Option<MacAddr>,
    /// The number of its radio, of a wireless one.
    pub radio: Option<u32>,
    /// The most bytes that its driver takes; `None` when it does not say.
    pub most_mtu: Option<u32>,
    /// What must come back.
    pub state: NicState,
}

/// Why a NIC cannot be lent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no such link (any more).
    Missing,
    /// It is not made for it.
    Unfit(String),
    /// Somebody uses it.
    Busy {
        /// Who.
        holder: String,
        /// What would happen, and what to do.
        why: String,
    },
}

impl Obstacle {
    fn busy(holder: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Busy { holder: holder.into(), why: why.into() }
    }
}

impl Kernel {
    /// Looks at a link of the host that is to be lent.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn nic(&self, name: &LinkName) -> io::Result<Result<NicFacts, Obstacle>> {
        let name = name.clone();
        self.ask(move |requests| look(requests, name.as_str())).await
    }
}

fn look(requests: &mut Requests, name: &str) -> Result<Result<NicFacts, Obstacle>, KernelError> {
    let links = link::list(requests)?;
    let Some(nic) = links.iter().find(|link| link.facts.name == name) else {
        return Ok(Err(Obstacle::Missing));
    };
    let index = nic.facts.index;
    let (Some(mac), true) = (nic.facts.mac, nic.facts.hardware == Hardware::Ethernet) else {
        let why = "it is no Ethernet link with a MAC address of its own".to_owned();
        return Ok(Err(Obstacle::Unfit(why)));
    };
    let mut radios = Radios::open()?;
    let radio = radios.as_mut().map(|radios| radios.of_link(index)).transpose()?.flatten();
    if let Some(obstacle) = companions(radios.as_mut(), radio, name)? {
        return Ok(Err(obstacle));
    }
    if radio.is_none() && (nic.is_immutable || users::is_netns_local(index)?) {
        let kind = nic.facts.kind_or_plain();
        let why = format!("a {kind} of its driver cannot leave its network namespace (netns-local)");
        return Ok(Err(Obstacle::Unfit(why)));
    }
    if let Some(obstacle) = on_it(&links, nic) {
        return Ok(Err(obstacle));
    }
    let routes = objects::routes(requests, index)?;
    if let Some(obstacle) = routes.iter().find_map(in_the_way) {
        return Ok(Err(obstacle));
    }
    let addresses = objects::addresses(requests, index)?;
    let own: Vec<IpAddr> = addresses
        .iter()
        .map(|kept| Ok(objects::address_of(kept)?.addr()))
        .collect::<Result<_, KernelError>>()?;
    if let Some(connection) = users::connection(&own)? {
        return Ok(Err(Obstacle::busy(connection, "it would be cut; end it first")));
    }
    if let Some(kind) = users::qdisc(requests, index)? {
        let why = format!("it would be lost; remove it first with `tc qdisc del dev {name} root`");
        return Ok(Err(Obstacle::busy(format!("qdisc {kind}"), why)));
    }
    let state = NicState {
        seen_at: now().as_secs(),
        index,
        mac,
        mtu: nic.facts.mtu,
        flags: nic.flags,
        queue: nic.queue,
        group: nic.facts.group,
        alias: nic.alias.clone(),
        altnames: nic.altnames.clone(),
        address_generation: nic.address_generation,
        settings: settings::differing(name)?,
        addresses,
        routes: routes.into_iter().map(|found| found.saved).collect(),
        neighbours: objects::neighbours(requests, index)?,
    };
    Ok(Ok(NicFacts {
        is_hardware: nic.facts.kind.is_empty(),
        permanent_mac: nic.facts.permanent_mac,
        radio,
        most_mtu: Some(nic.most_mtu).filter(|&most| most > 0),
        state,
    }))
}

/// A radio is moved whole, so its other links would go along.
fn companions(
    radios: Option<&mut Radios>,
    radio: Option<u32>,
    name: &str,
) -> Result<Option<Obstacle>, KernelError> {
    let (Some(radios), Some(number)) = (radios, radio) else { return Ok(None) };
    let mut others = radios.links_of(number)?;
    others.retain(|other| other != name);
    let list = others.join(", ");
    let why = "a radio moves with all of its links; delete the others first";
    Ok((!others.is_empty()).then(|| Obstacle::busy(format!("radio phy#{number} with {list}"), why)))
}

/// Links that are on it: macvlan, 802.1Q …. A veth's parent is its other end.
fn on_it(links: &[NicLink], nic: &NicLink) -> Option<Obstacle> {
    let is_on_it = |link: &&NicLink| link.facts.parent == Some(nic.facts.index) && link.facts.kind != "veth";
    let list: Vec<String> = links
        .iter()
        .filter(is_on_it)
        .map(|link| format!("{} {}", link.facts.kind_or_plain(), link.facts.name))
        .collect();
    (!list.is_empty())
        .then(|| Obstacle::busy(list.join(", "), "they would be without a NIC; delete them first"))
}

fn in_the_way(found: &Found) -> Option<Obstacle> {
    let text = &found.saved.text;
    let holder = || format!("route \"{text}\"");
    if found.route.is_in_main()
        && found.route.destination.prefix_len() == 0
        && found.route.kind == libc::RTN_UNICAST
    {
        let why = "the host would lose its way out; give the host another default route first";
        return Some(Obstacle::busy(format!("the host's default route \"{text}\""), why));
    }
    if found.is_shared {
        return Some(Obstacle::busy(
            holder(),
            "it leads over other links, too, and would be lost with its rest",
        ));
    }
    found.is_by_object.then(|| {
        Obstacle::busy(holder(), "it leads over a next hop object (`ip nexthop`), which would be lost")
    })
}
