//! Links: the requests that make and change them, and what the kernel says of one.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};

use pipewright_api::net::{LinkName, MacAddr};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};

use crate::host::hardware::Hardware;
use crate::host::mark;
use crate::host::message::{attribute, attributes, read_text, read_u16, read_u32};
use crate::host::netlink::{KernelError, Reply, Request, Requests};
use crate::step::Veth;

/// Message types of linux/rtnetlink.h.
pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
/// Size of `struct ifinfomsg`, in bytes.
pub(super) const BODY: usize = 16;
/// Attributes of linux/if_link.h.
const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
pub(super) const IFLA_GROUP: u16 = 27;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_CARRIER: u16 = 33;
pub(super) const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_PERM_ADDRESS: u16 = 54;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_IPOIB_PKEY: u16 = 1;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const IFLA_BR_VLAN_DEFAULT_PVID: u16 = 39;
const IFF_UP: u32 = 1;

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkFacts {
    /// Its number, not to be relied on for longer than an operation.
    pub index: u32,
    /// Its name; not always a [`LinkName`], which is stricter than the kernel.
    pub name: String,
    /// `bridge`, `veth`, `tun`, `openvswitch` …; empty for hardware and the loopback.
    pub kind: String,
    /// `None` when it has none, or one that is not of a single station.
    pub mac: Option<MacAddr>,
    /// The address that its hardware came with, for hardware.
    pub permanent_mac: Option<MacAddr>,
    /// What its frames look like.
    pub hardware: Hardware,
    /// The link that it is on (macvlan, 802.1Q …), if that is in the same namespace.
    pub parent: Option<u32>,
    /// Its tag, of an 802.1Q sub-interface.
    pub vlan: Option<u16>,
    /// Its partition, of an IPoIB link.
    pub pkey: Option<u16>,
    /// Of a bridge that filters VLANs, the one of ports that are told none; 0 for none.
    pub filtering: Option<u16>,
    /// Bytes.
    pub mtu: u32,
    /// Its link group, which marks what is ours.
    pub group: u32,
    /// What somebody noted of it; empty for nothing.
    pub alias: String,
    /// The number of the namespace that its other end, or the link that it is on, is in; `None` for this one.
    pub netns_id: Option<i32>,
    /// The bridge, bond or Open vSwitch datapath that it is plugged into.
    pub master: Option<u32>,
    /// Whether frames pass (RFC 2863).
    pub operstate: Operstate,
    /// Administratively up (IFF_UP).
    pub up: bool,
    /// The other end is up.
    pub carrier: bool,
    /// For how many it takes frames to all MAC addresses.
    pub promiscuity: u32,
}

/// State of a link in operation (RFC 2863 §3.1.14, as in linux/if.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operstate {
    /// The driver does not say.
    Unknown,
    /// Its hardware is missing.
    NotPresent,
    /// No frames pass.
    Down,
    /// The link below is down.
    LowerLayerDown,
    /// In a test.
    Testing,
    /// Waits for something else, such as 802.1X.
    Dormant,
    /// Frames pass.
    Up,
}

impl From<u8> for Operstate {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::NotPresent,
            2 => Self::Down,
            3 => Self::LowerLayerDown,
            4 => Self::Testing,
            5 => Self::Dormant,
            6 => Self::Up,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Operstate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::NotPresent => "notpresent",
            Self::Down => "down",
            Self::LowerLayerDown => "lowerlayerdown",
            Self::Testing => "testing",
            Self::Dormant => "dormant",
            Self::Up => "up",
        })
    }
}

impl LinkFacts {
    /// Reads the body of an RTM_NEWLINK or RTM_DELLINK; `None` when it is of another family: a bridge announces its ports
    /// with the same message types, and the end of a port is not the end of its link.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        if *body.first()? != libc::AF_UNSPEC as u8 {
            return None;
        }
        let mut facts = Self {
            index: read_u32(body.get(4..)?)?,
            name: String::new(),
            kind: String::new(),
            mac: None,
            permanent_mac: None,
            hardware: read_u16(body.get(2..)?)?.into(),
            parent: None,
            vlan: None,
            pkey: None,
            filtering: None,
            mtu: 0,
            group: 0,
            alias: String::new(),
            netns_id: None,
            master: None,
            operstate: Operstate::Unknown,
            up: read_u32(body.get(8..)?)? & IFF_UP != 0,
            carrier: false,
            promiscuity: 0,
        };
        for (kind, value) in attributes(body.get(BODY..)?) {
            match kind {
                IFLA_IFNAME => facts.name = read_text(value),
                IFLA_ADDRESS => facts.mac = read_mac(value),
                IFLA_PERM_ADDRESS => facts.permanent_mac = read_mac(value),
                IFLA_LINK => facts.parent = read_u32(value).filter(|&index| index != 0),
                IFLA_LINK_NETNSID => facts.netns_id = read_u32(value).map(u32::cast_signed),
                IFLA_MTU => facts.mtu = read_u32(value)?,
                IFLA_IFALIAS => facts.alias = read_text(value),
                IFLA_GROUP => facts.group = read_u32(value)?,
                IFLA_PROMISCUITY => facts.promiscuity = read_u32(value)?,
                IFLA_MASTER => facts.master = read_u32(value),
                IFLA_OPERSTATE => facts.operstate = (*value.first()?).into(),
                IFLA_CARRIER => facts.carrier = value.first() == Some(&1),
                IFLA_LINKINFO => {
                    facts.kind = attribute(value, IFLA_INFO_KIND).map(read_text).unwrap_or_default();
                    let data = attribute(value, IFLA_INFO_DATA).unwrap_or_default();
                    match facts.kind.as_str() {
                        "vlan" => facts.vlan = attribute(data, IFLA_VLAN_ID).and_then(read_u16),
                        "ipoib" => facts.pkey = attribute(data, IFLA_IPOIB_PKEY).and_then(read_u16),
                        "bridge" if attribute(data, IFLA_BR_VLAN_FILTERING) == Some(&[1]) => {
                            facts.filtering = attribute(data, IFLA_BR_VLAN_DEFAULT_PVID).and_then(read_u16);
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        facts.parent = facts.parent.filter(|_| facts.netns_id.is_none());
        Some(facts)
    }

    pub(super) fn of_replies(replies: &[Reply]) -> Option<Self> {
        replies.iter().filter(|reply| reply.kind == RTM_NEWLINK).find_map(|reply| Self::read(&reply.body))
    }

    /// `bridge`, or what to call a link without a kind.
    pub fn kind_or_plain(&self) -> &str {
        match self.kind.as_str() {
            "" => "plain link",
            kind => kind,
        }
    }
}

/// The link of that name; `None` when there is none.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn find(requests: &mut Requests, name: &str) -> Result<Option<LinkFacts>, KernelError> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    get(requests, message)
}

/// The link of that number; `None` when there is none.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn at(requests: &mut Requests, index: u32) -> Result<Option<LinkFacts>, KernelError> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    get(requests, message)
}

fn get(requests: &mut Requests, mut message: LinkMessage) -> Result<Option<LinkFacts>, KernelError> {
    message.attributes.push(without_statistics());
    match requests.request(&Request::new(RouteNetlinkMessage::GetLink(message), 0)) {
        Ok(replies) => Ok(LinkFacts::of_replies(&replies)),
        Err(error) if error.errno == libc::ENODEV => Ok(None),
        Err(error) => Err(error),
    }
}

/// The number of a link; ENODEV says which is missing.
pub(super) fn index(requests: &Requests, name: &LinkName) -> Result<u32, KernelError> {
    rustix::net::netdevice::name_to_index(requests, name.as_str()).map_err(|errno| match errno {
        rustix::io::Errno::NODEV => KernelError::new(libc::ENODEV, format!("link {name} does not exist")),
        other => other.into(),
    })
}

/// All links, or those in a bridge.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn list(requests: &mut Requests, master: Option<u32>) -> Result<Vec<LinkFacts>, KernelError> {
    let mut message = LinkMessage::default();
    message.attributes = vec![without_statistics()];
    message.attributes.extend(master.map(LinkAttribute::Controller));
    let replies = requests.dump(RouteNetlinkMessage::GetLink(message))?;
    let links = replies.iter().filter_map(|reply| LinkFacts::read(&reply.body));
    // A kernel that does not know the filter lists everything.
    Ok(links.filter(|link| master.is_none() || link.master == master).collect())
}

/// `ip link add HOST … type veth peer name GUEST … netns FD`: both ends whole, or none.
pub(super) fn create_veth(veth: &Veth, netns: impl AsFd, bridge: Option<u32>) -> Request {
    let both = |name: &LinkName, mac: MacAddr| {
        vec![
            LinkAttribute::IfName(name.to_string()),
            LinkAttribute::Address(mac.octets().to_vec()),
            LinkAttribute::Mtu(veth.mtu.get()),
            LinkAttribute::Group(mark::group(veth.id)),
            // More than one queue costs two RCU grace periods.
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
        ]
    };
    let mut peer = LinkMessage::default();
    peer.attributes = both(&veth.guest_end, veth.guest_mac);
    // The kernel refuses (ENOTCONN) to set this end up here.
    peer.attributes.push(LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()));

    let mut host = LinkMessage::default();
    if veth.is_born_up() {
        host = up(host);
    }
    host.attributes = both(&veth.host_end, veth.host_mac);
    host.attributes.extend(bridge.map(LinkAttribute::Controller));
    host.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    Request::new(RouteNetlinkMessage::NewLink(host), NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO)
}

/// The number of a link that a request with NLM_F_ECHO made. Kernels before 6.2 do not echo, so it is looked up there.
pub(super) fn created_index(
    requests: &Requests,
    name: &LinkName,
    replies: &[Reply],
) -> Result<u32, KernelError> {
    match LinkFacts::of_replies(replies) {
        Some(link) => Ok(link.index),
        None => index(requests, name),
    }
}

/// Of [`change`]: `addrgenmode none`. A port of a bridge needs no link-local address, and with a thousand of them
/// each link that comes or goes walks a thousand routes. It must come before the link has carrier.
pub(super) fn without_link_local() -> LinkAttribute {
    let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![none])])
}

/// `ip link add NAME address MAC group PIPEWRIGHT up type bridge`
pub(super) fn create_bridge(name: &LinkName, mac: MacAddr) -> Request {
    let mut message = up(LinkMessage::default());
    message.attributes = vec![
        LinkAttribute::IfName(name.to_string()),
        LinkAttribute::Address(mac.octets().to_vec()),
        LinkAttribute::Group(mark::BRIDGE),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
    ];
    Request::new(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// `ip link set NAME up`
pub(super) fn set_up(name: &LinkName) -> Request {
    let mut message = up(LinkMessage::default());
    message.attributes = vec![LinkAttribute::IfName(name.to_string())];
    Request::new(RouteNetlinkMessage::NewLink(message), 0)
}

/// `ip link set NAME down`
pub(super) fn set_down(name: &LinkName) -> Request {
    let mut message = LinkMessage::default();
    message.header.change_mask = LinkFlags::Up;
    message.attributes = vec![LinkAttribute::IfName(name.to_string())];
    Request::new(RouteNetlinkMessage::NewLink(message), 0)
}

/// `ip link set INDEX master BRIDGE`; 0 is `nomaster`.
pub(super) fn set_master(index: u32, bridge: u32) -> Request {
    change(index, vec![LinkAttribute::Controller(bridge)])
}

/// `ip link set INDEX type bridge vlan_filtering 0|1`
pub(super) fn set_filtering(index: u32, is_on: bool) -> Request {
    let info = vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::VlanFiltering(is_on)])),
    ];
    change(index, vec![LinkAttribute::LinkInfo(info)])
}

/// `ip link set INDEX group GROUP`
pub(super) fn set_group(index: u32, group: u32) -> Request {
    change(index, vec![LinkAttribute::Group(group)])
}

/// `ip link set INDEX mtu BYTES`
pub(super) fn set_mtu(index: u32, bytes: u32) -> Request {
    change(index, vec![LinkAttribute::Mtu(bytes)])
}

/// `ip link del INDEX`
pub(super) fn delete(index: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    Request::new(RouteNetlinkMessage::DelLink(message), 0)
}

/// `ip link del group GROUP`
pub(super) fn delete_group(group: u32) -> Request {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::Group(group)];
    Request::new(RouteNetlinkMessage::DelLink(message), 0)
}

/// `ip link set INDEX …`
pub(super) fn change(index: u32, attributes: Vec<LinkAttribute>) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = attributes;
    Request::new(RouteNetlinkMessage::NewLink(message), 0)
}

pub(super) fn up(mut message: LinkMessage) -> LinkMessage {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

/// Counters of every queue are most of a link's message.
pub(super) fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

fn read_mac(value: &[u8]) -> Option<MacAddr> {
    <[u8; 6]>::try_from(value).ok().and_then(|mac| MacAddr::try_from(mac).ok())
}
