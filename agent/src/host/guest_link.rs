//! Links of a single end in a guest: made by one request in the host, looked at and deleted from there too.
//!
//! The kernel takes IFLA_TARGET_NETNSID with RTM_GETLINK and RTM_DELLINK, so a guest's link can be looked at without opening
//! the guest, which may not be possible any more (a named namespace whose name was deleted over a living process) and
//! which would keep it alive.

use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use pipewright_api::net::LinkName;
use pipewright_api::spec::{IpoibMode, IpvlanMode, MacvlanMode, PartitionKey};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoData, InfoIpVlan, InfoIpoib, InfoKind, InfoMacVlan, InfoVlan, IpVlanMode,
    IpoibMode as KernelIpoibMode, LinkAttribute, LinkInfo, LinkMessage, MacVlanMode,
};
use uuid::Uuid;

use crate::host::guest_events::{GuestEvents, LINKS};
use crate::host::link::{self, LinkFacts, Operstate};
use crate::host::netlink::{KernelError, Request, Requests};
use crate::host::{mark, sysctl};
use crate::step::{GuestLink, LinkType, StepError};

/// How long a MAC address may stay in use on a parent: until the kernel has taken a dead guest's namespace apart.
const MAC_IS_FREE: Duration = Duration::from_secs(5);
/// How long a dead guest's link may take to come back; longer than the kernel needs for a namespace.
const COMES_BACK: Duration = Duration::from_secs(2);
/// The kernel has no event for it, so it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// The interface index by which the kernel chooses one.
const ANY: u32 = 0;

/// Makes a link in a guest: whole, or not at all.
///
/// # Errors
/// NOT_SUPPORTED when the kernel has no such links, PARENT_BUSY, EEXIST when the guest has a link of that name.
#[expect(clippy::disallowed_methods, reason = "the kernel has no event for a MAC address that is free again")]
pub(super) fn create(host: &mut Requests, netns: impl AsFd, link: &GuestLink) -> Result<(), StepError> {
    let refuse = |error: KernelError| refusal(link, &error);
    let parent = link.what.parent().map(|parent| link::index(host, parent)).transpose().map_err(refuse)?;
    let mut request = request(link, &netns, parent, ANY);
    let mut is_numbered = false;
    let until = Instant::now() + MAC_IS_FREE;
    loop {
        match host.request(&request) {
            Ok(_) => return Ok(()),
            // Some kernels (6.1 does, 6.18 does not) look for the name here, where the socket is, and not where the link
            // is to be. One that is asked for by number is looked for by that alone.
            Err(error)
                if error.errno == libc::EEXIST
                    && !is_numbered
                    && link::find(host, link.name.as_str()).map_err(refuse)?.is_some() =>
            {
                request = self::request(link, &netns, parent, number(link.id));
                is_numbered = true;
            }
            Err(error) if error.errno == libc::EADDRINUSE && Instant::now() < until => {
                thread::sleep(ASK_AGAIN);
            }
            Err(error) => return Err(refuse(error)),
        }
    }
}

/// An interface index that no link has: the kernel counts from 1, and never gets there.
fn number(id: Uuid) -> u32 {
    const FIRST: u32 = 1 << 30;
    let [.., a, b, c, d] = *id.as_bytes();
    FIRST | (u32::from_be_bytes([a, b, c, d]) % FIRST)
}

fn request(link: &GuestLink, netns: impl AsFd, parent: Option<u32>, index: u32) -> Request {
    // Set up by the same request: a MAC address that is in use is found out only then, and takes the link along.
    let mut message = link::up(LinkMessage::default());
    message.header.index = index;
    message.attributes = vec![
        LinkAttribute::IfName(link.name.to_string()),
        LinkAttribute::Group(mark::group(link.id)),
        LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()),
    ];
    message.attributes.extend(link.mtu.map(|mtu| LinkAttribute::Mtu(mtu.get())));
    message.attributes.extend(parent.map(LinkAttribute::Link));
    let own_mac = link.mac.filter(|_| !link.what.has_parents_mac());
    message.attributes.extend(own_mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
    message.attributes.push(LinkAttribute::LinkInfo(info(&link.what)));
    Request::new(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

fn info(what: &LinkType) -> Vec<LinkInfo> {
    let (kind, data) = match what {
        LinkType::Macvlan { mode, .. } => {
            let mode = match mode {
                MacvlanMode::Bridge => MacVlanMode::Bridge,
                MacvlanMode::Private => MacVlanMode::Private,
                MacvlanMode::Vepa => MacVlanMode::Vepa,
                MacvlanMode::Passthru => MacVlanMode::Passthrough,
            };
            (InfoKind::MacVlan, Some(InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)])))
        }
        LinkType::Ipvlan { mode, .. } => {
            let mode = match mode {
                IpvlanMode::L2 => IpVlanMode::L2,
                IpvlanMode::L3 => IpVlanMode::L3,
                IpvlanMode::L3s => IpVlanMode::L3S,
            };
            (InfoKind::IpVlan, Some(InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)])))
        }
        LinkType::Vlan { vlan, .. } => (InfoKind::Vlan, Some(InfoData::Vlan(vec![InfoVlan::Id(vlan.get())]))),
        LinkType::Ipoib { pkey, mode, .. } => {
            let mode = InfoIpoib::Mode(match mode {
                IpoibMode::Datagram => KernelIpoibMode::Datagram,
                IpoibMode::Connected => KernelIpoibMode::Connected,
            });
            let pkey = pkey.map(PartitionKey::get).map(InfoIpoib::Pkey);
            (InfoKind::Ipoib, Some(InfoData::Ipoib(pkey.into_iter().chain([mode]).collect())))
        }
        LinkType::Dummy => (InfoKind::Dummy, None),
    };
    std::iter::once(LinkInfo::Kind(kind)).chain(data.map(LinkInfo::Data)).collect()
}

/// What the kernel means.
fn refusal(link: &GuestLink, error: &KernelError) -> StepError {
    let (step, name) = (link.to_string(), &link.name);
    let says = |text: String| StepError::Kernel { step: step.clone(), errno: error.errno, text };
    match (error.errno, link.what.parent()) {
        (libc::EOPNOTSUPP, _) => {
            StepError::NotSupported { step, kind: link.what.kind(), module: link.what.module() }
        }
        (libc::EBUSY, Some(parent)) => {
            let why = "it is a port of a bridge, or carries links of another kind; free it first";
            StepError::ParentBusy { step, parent: parent.to_string(), why: why.to_owned() }
        }
        (libc::EADDRINUSE, Some(parent)) => {
            let mac = link.mac.map(|mac| format!(" {mac}")).unwrap_or_default();
            says(format!("MAC address{mac} is in use on {parent}; give another with --mac"))
        }
        (libc::EINVAL, Some(parent)) if matches!(link.what, LinkType::Ipoib { .. }) => {
            says(format!("{}; perhaps {parent} cannot be in that mode", error.text))
        }
        (libc::EEXIST, Some(parent)) if matches!(link.what, LinkType::Vlan { .. }) => {
            let why = format!("the guest has a link {name}, or another namespace has that VLAN of {parent}");
            says(why)
        }
        (libc::EEXIST, _) => says(format!("link {name} exists in the guest")),
        _ => says(error.text.clone()),
    }
}

/// `ip link del NAME` for a link of an attachment; somebody else's link of that name stays. With `netns_id` it is one of the
/// namespace that has this number where the socket was opened.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn delete(
    requests: &mut Requests,
    netns_id: Option<i32>,
    id: Uuid,
    name: &LinkName,
) -> Result<(), KernelError> {
    let Some(found) = find(requests, netns_id, name)?.filter(|link| link.group == mark::group(id)) else {
        return Ok(());
    };
    let mut message = LinkMessage::default();
    message.header.index = found.index;
    message.attributes.extend(netns_id.map(LinkAttribute::IfNetnsId));
    match requests.request(&Request::new(RouteNetlinkMessage::DelLink(message), 0)) {
        Ok(_) => Ok(()),
        Err(error) if is_gone(&error, netns_id) => Ok(()),
        Err(error) => Err(error),
    }
}

/// As [`delete`], for a guest that cannot be opened: by the number of its namespace, if there is one, and in the host, which is
/// where the calling thread is, if the link may have come back.
///
/// # Errors
/// As there.
pub(super) fn delete_outside(
    host: &mut Requests,
    netns_id: Option<i32>,
    id: Uuid,
    name: &LinkName,
    may_come_back: bool,
) -> Result<(), KernelError> {
    if netns_id.is_some() {
        delete(host, netns_id, id, name)?;
    }
    if !may_come_back || !sysctl::is_in_first_netns()? {
        return Ok(());
    }
    let events = GuestEvents::open(LINKS)?;
    let until = Instant::now() + COMES_BACK;
    loop {
        // Under another name, if the host has a link of this one.
        let come = link::list(host, None)?.into_iter().find(|link| link.group == mark::group(id));
        match come.map(|come| host.request(&link::delete(come.index))) {
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) if !is_gone(&error, None) => return Err(error),
            Some(Err(_)) | None if !events.wait(until)? => return Ok(()),
            Some(Err(_)) | None => {}
        }
    }
}

/// A link of that name where the socket was opened, or in the namespace that has a number there. `None` when there is no
/// such link, or no such namespace.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn find(
    requests: &mut Requests,
    netns_id: Option<i32>,
    name: &LinkName,
) -> Result<Option<LinkFacts>, KernelError> {
    match requests.request(&look(netns_id, name)) {
        Ok(replies) => Ok(LinkFacts::of_replies(&replies)),
        Err(error) if is_gone(&error, netns_id) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All links of the namespace that has a number; none when no namespace has it.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn list(requests: &mut Requests, netns_id: i32) -> Result<Vec<LinkFacts>, KernelError> {
    let mut message = LinkMessage::default();
    message.attributes = vec![link::without_statistics(), LinkAttribute::IfNetnsId(netns_id)];
    match requests.dump(RouteNetlinkMessage::GetLink(message)) {
        Ok(replies) => Ok(replies.iter().filter_map(|reply| LinkFacts::read(&reply.body)).collect()),
        Err(error) if is_gone(&error, Some(netns_id)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// As [`find`], for many links.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn find_all(
    requests: &mut Requests,
    wanted: &[(i32, LinkName)],
) -> Result<Vec<Option<LinkFacts>>, KernelError> {
    let looks: Vec<Request> = wanted.iter().map(|(netns_id, name)| look(Some(*netns_id), name)).collect();
    let answers = requests.batch(&looks)?.into_iter();
    let found = answers.zip(wanted).map(|(answer, (netns_id, _))| match answer {
        Ok(replies) => Ok(LinkFacts::of_replies(&replies)),
        Err(error) if is_gone(&error, Some(*netns_id)) => Ok(None),
        Err(error) => Err(error),
    });
    found.collect()
}

fn look(netns_id: Option<i32>, name: &LinkName) -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_string()), link::without_statistics()];
    message.attributes.extend(netns_id.map(LinkAttribute::IfNetnsId));
    Request::new(RouteNetlinkMessage::GetLink(message), 0)
}

/// A number that no namespace has is an invalid argument.
fn is_gone(error: &KernelError, netns_id: Option<i32>) -> bool {
    error.errno == libc::ENODEV || (netns_id.is_some() && error.errno == libc::EINVAL)
}

/// Waits until a link passes frames, in the calling thread's network namespace; the last state seen when it does not in
/// time.
///
/// # Errors
/// What socket(2) says; the kernel's refusal.
pub(super) fn await_forwarding(
    requests: &mut Requests,
    name: &LinkName,
    until: Instant,
) -> Result<Result<(), String>, KernelError> {
    let events = GuestEvents::open(LINKS)?;
    loop {
        let Some(link) = link::find(requests, name.as_str())? else { return Ok(Err("absent".to_owned())) };
        if passes(&link) {
            return Ok(Ok(()));
        }
        if !events.wait(until)? {
            return Ok(Err(link.operstate.to_string()));
        }
    }
}

/// A link that was born up in another namespace than its parent's has no operstate; its carrier tells.
fn passes(link: &LinkFacts) -> bool {
    match link.operstate {
        Operstate::Up => true,
        Operstate::Unknown => link.up && link.carrier,
        Operstate::NotPresent
        | Operstate::Down
        | Operstate::LowerLayerDown
        | Operstate::Testing
        | Operstate::Dormant => false,
    }
}

#[cfg(test)]
mod tests;
