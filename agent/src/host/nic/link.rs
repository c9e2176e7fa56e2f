//! A NIC as a link: what of it is asked for nowhere else, and how a lent one is known again.

use std::os::fd::{AsFd, AsRawFd};

use pipewright_api::net::LinkName;
use rtnetlink::packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage, Prop,
};

use crate::host::link::{self, LinkFacts, change};
use crate::host::mark;
use crate::host::message::{attribute, attributes, read_text, read_u32};
use crate::host::netlink::{KernelError, Request, Requests};
use crate::step::Nic;

/// Size of `struct ifinfomsg`, in bytes.
const BODY: usize = 16;
/// Attributes of linux/if_link.h.
const IFLA_TXQLEN: u16 = 13;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NEW_IFINDEX: u16 = 49;
const IFLA_MAX_MTU: u16 = 51;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_NETNS_IMMUTABLE: u16 = 67;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// The flags of linux/if.h that can be set: IFF_UP, DEBUG, NOTRAILERS, NOARP, PROMISC, ALLMULTI, MULTICAST, PORTSEL, AUTOMEDIA,
/// DYNAMIC.
const SETTABLE: u32 = 0x1 | 0x4 | 0x20 | 0x80 | 0x100 | 0x200 | 0x1000 | 0x2000 | 0x4000 | 0x8000;
/// IFF_UP.
pub(super) const UP: u32 = 1;

/// A link with what a move makes the kernel forget, or a guest can change.
#[derive(Debug, Clone)]
pub(super) struct NicLink {
    pub(super) facts: LinkFacts,
    /// Those that can be set.
    pub(super) flags: u32,
    pub(super) queue: u32,
    pub(super) alias: String,
    pub(super) altnames: Vec<String>,
    pub(super) address_generation: Option<u8>,
    /// The most bytes that its driver takes; 0 when it does not say.
    pub(super) most_mtu: u32,
    /// It cannot leave its namespace, says a kernel since 6.15.
    pub(super) is_immutable: bool,
}

impl NicLink {
    fn read(body: &[u8]) -> Option<Self> {
        let facts = LinkFacts::read(body)?;
        let flags = read_u32(body.get(8..)?)? & SETTABLE;
        let (mut alias, mut altnames, mut address_generation) = (String::new(), Vec::new(), None);
        let (mut queue, mut most_mtu, mut is_immutable) = (0, 0, false);
        for (kind, value) in attributes(body.get(BODY..)?) {
            match kind {
                IFLA_TXQLEN => queue = read_u32(value)?,
                IFLA_IFALIAS => alias = read_text(value),
                IFLA_MAX_MTU => most_mtu = read_u32(value)?,
                IFLA_NETNS_IMMUTABLE => is_immutable = value.first() == Some(&1),
                IFLA_PROP_LIST => {
                    let names = attributes(value).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
                    altnames.extend(names.map(|(_, name)| read_text(name)));
                }
                IFLA_AF_SPEC => {
                    let inet6 = attribute(value, libc::AF_INET6 as u16);
                    let mode = inet6.and_then(|inet6| attribute(inet6, IFLA_INET6_ADDR_GEN_MODE));
                    address_generation = mode.and_then(|mode| mode.first().copied());
                }
                _ => {}
            }
        }
        Some(Self { facts, flags, queue, alias, altnames, address_generation, most_mtu, is_immutable })
    }

    /// Whether it carries the mark of a lent NIC. Root in a guest can wipe off half of it, but not give it to another NIC.
    fn is_marked(&self, nic: &Nic) -> bool {
        let has_mark = self.facts.group == mark::group(nic.id) || self.alias == nic.alias();
        has_mark && (nic.permanent_mac.is_none() || self.facts.permanent_mac == nic.permanent_mac)
    }

    /// Whether it is in its old place, unmarked.
    fn is_home(&self, nic: &Nic) -> bool {
        let is_same = match nic.permanent_mac {
            Some(_) => self.is_same_hardware(nic),
            None => self.facts.mac == Some(nic.found.mac),
        };
        let (group, alias) = (nic.found.group, &nic.found.alias);
        is_same && self.facts.name == nic.name.as_str() && self.facts.group == group && self.alias == *alias
    }

    /// Whether it is the same hardware.
    fn is_same_hardware(&self, nic: &Nic) -> bool {
        nic.permanent_mac.is_some()
            && self.facts.kind.is_empty()
            && self.facts.permanent_mac == nic.permanent_mac
    }
}

/// All links.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn list(requests: &mut Requests) -> Result<Vec<NicLink>, KernelError> {
    let mut message = LinkMessage::default();
    message.attributes = vec![link::without_statistics()];
    let replies = requests.dump(RouteNetlinkMessage::GetLink(message))?;
    Ok(replies.iter().filter_map(|reply| NicLink::read(&reply.body)).collect())
}

/// A lent NIC in the namespace of a socket: by its mark; and when that was wiped off, by what hardware it is, unless that is
/// in its old place as it was, where it may have been all the time.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn find_lent(
    requests: &mut Requests,
    nic: &Nic,
    is_old_place: bool,
) -> Result<Option<NicLink>, KernelError> {
    let mut links = list(requests)?;
    if let Some(place) = links.iter().position(|link| link.is_marked(nic)) {
        return Ok(Some(links.swap_remove(place)));
    }
    links.retain(|link| link.is_same_hardware(nic) && !(is_old_place && link.is_home(nic)));
    // Some hardware has the same address on several ports.
    Ok(if links.len() == 1 { links.pop() } else { None })
}

/// Whether a NIC is where it was found, and not lent.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn is_home(host: &mut Requests, nic: &Nic) -> Result<bool, KernelError> {
    Ok(list(host)?.iter().any(|link| link.is_home(nic)))
}

/// `ip link set INDEX group GROUP alias ALIAS`, as one.
pub(super) fn set_mark(index: u32, group: u32, alias: &str) -> Request {
    // The crate ends a text with a NUL, and an alias that is only that would be one all the same.
    let alias = LinkAttribute::Other(DefaultNla::new(IFLA_IFALIAS, alias.as_bytes().to_vec()));
    change(index, vec![LinkAttribute::Group(group), alias])
}

/// `ip link set INDEX netns HOST`, to an open namespace, under the name and, when `number` says so, the number that it had there.
pub(super) fn move_to(index: u32, netns: impl AsFd, name: &LinkName, number: Option<u32>) -> Request {
    let mut attributes =
        vec![LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()), LinkAttribute::IfName(name.to_string())];
    let number = number.map(|number| DefaultNla::new(IFLA_NEW_IFINDEX, number.to_ne_bytes().to_vec()));
    attributes.extend(number.map(LinkAttribute::Other));
    change(index, attributes)
}

/// `ip link set INDEX up|down promisc on|off …`
pub(super) fn set_flags(index: u32, flags: u32, mask: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::from_bits_retain(flags);
    message.header.change_mask = LinkFlags::from_bits_retain(mask);
    Request::new(RouteNetlinkMessage::NewLink(message), 0)
}

/// As [`set_flags`], for all that can be set.
pub(super) fn set_all_flags(index: u32, flags: u32) -> Request {
    set_flags(index, flags, SETTABLE)
}

/// `ip link set INDEX addrgenmode MODE`
pub(super) fn set_address_generation(index: u32, mode: u8) -> Request {
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::from(mode));
    change(index, vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])])])
}

/// `ip link property add|del dev INDEX altname NAME`
pub(super) fn set_altname(index: u32, name: &str, is_wanted: bool) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![LinkAttribute::PropList(vec![Prop::AltIfName(name.to_owned())])];
    match is_wanted {
        true => Request::new(RouteNetlinkMessage::NewLinkProp(message), NLM_F_CREATE | NLM_F_EXCL),
        false => Request::new(RouteNetlinkMessage::DelLinkProp(message), 0),
    }
}
