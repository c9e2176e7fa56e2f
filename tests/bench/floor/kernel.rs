//! The fewest netlink messages for a whole attach: four, in two sends.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
    State,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rustix::net::{SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

/// A link to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Link {
    /// The host's end.
    pub(crate) host_end: String,
    /// The file of the guest's namespace.
    pub(crate) netns: String,
    /// The guest's end.
    pub(crate) ifname: String,
    /// Of the guest's end.
    pub(crate) mac: [u8; 6],
    /// Of the guest's end, with the length of its prefix; `None`: what a DHCP server says, and its router.
    pub(crate) address: Option<(Ipv4Addr, u8)>,
    /// The guest's default gateway, if it gets one.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// The bridge or the NIC.
    pub(crate) uplink: String,
    pub(crate) plug: Plug,
}

/// What is made of an uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Plug {
    /// A veth pair in a linux bridge.
    LinuxBridge,
    /// A veth pair in a VLAN of Open vSwitch.
    Ovs { tag: u16 },
    /// A macvlan on a NIC.
    Macvlan,
}

/// What is done in a guest.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Setting {
    Up,
    Address(Ipv4Addr, u8),
    DefaultRoute(Ipv4Addr),
}

/// A link in its guest, and a way to it.
#[derive(Debug)]
pub(crate) struct Inside {
    socket: Socket,
    pub(crate) index: u32,
}

/// Warm sockets of a process that does nothing else.
#[derive(Debug)]
pub(crate) struct Kernel {
    home: std::fs::File,
    socket: Socket,
    buffer: Vec<u8>,
}

impl Kernel {
    pub(crate) fn open() -> Result<Self> {
        Ok(Self {
            home: std::fs::File::open("/proc/self/ns/net")?,
            socket: socket()?,
            buffer: vec![0; 64 << 10],
        })
    }

    /// One message: a veth pair with both ends whole, the host's end up and, for a linux bridge, plugged in; or a macvlan.
    pub(crate) fn plug(&mut self, link: &Link, netns: &std::fs::File) -> Result<()> {
        let uplink = || rustix::net::netdevice::name_to_index(&self.socket, &link.uplink);
        let message = match link.plug {
            Plug::LinuxBridge => veth(link, netns, Some(uplink()?)),
            Plug::Ovs { .. } => veth(link, netns, None),
            Plug::Macvlan => macvlan(link, netns, uplink()?),
        };
        let bytes = request(RouteNetlinkMessage::NewLink(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
        exchange(&self.socket, &bytes, 1, &mut self.buffer).context("link")
    }

    /// Opens what is asked of the kernel in the guest, and what else is to be opened there.
    pub(crate) fn enter<T>(
        &self,
        link: &Link,
        netns: &std::fs::File,
        open: impl FnOnce(u32) -> Result<T>,
    ) -> Result<(Inside, T)> {
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
        let opened = socket().and_then(|socket| {
            let index = rustix::net::netdevice::name_to_index(&socket, &link.ifname)?;
            Ok((Inside { socket, index }, open(index)?))
        });
        move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network))?;
        opened
    }

    /// All of it in one send.
    pub(crate) fn set(&mut self, inside: &Inside, settings: &[Setting]) -> Result<()> {
        let bytes: Vec<u8> = settings.iter().flat_map(|setting| setting.request(inside.index)).collect();
        exchange(&inside.socket, &bytes, settings.len(), &mut self.buffer).context("guest")
    }

    /// Asks until frames pass a link of the host: it is soon.
    pub(crate) fn await_forwarding(&mut self, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        let bytes = request(RouteNetlinkMessage::GetLink(message), 0);
        loop {
            self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
            let (length, _) = self.socket.recv_from(&mut &mut self.buffer[..], 0)?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&self.buffer[..length])?;
            let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = answer.payload else {
                bail!("no link {name}");
            };
            if link.attributes.contains(&LinkAttribute::OperState(State::Up)) {
                return Ok(());
            }
        }
    }

    /// `ip link del NAME`
    pub(crate) fn delete(&mut self, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        let bytes = request(RouteNetlinkMessage::DelLink(message), NLM_F_ACK);
        exchange(&self.socket, &bytes, 1, &mut self.buffer).with_context(|| format!("delete {name}"))
    }

    /// `ip link show`: what a list by netlink costs at least.
    pub(crate) fn dump(&mut self) -> Result<()> {
        let bytes = request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP);
        exchange(&self.socket, &bytes, 1, &mut self.buffer).context("dump")
    }
}

fn veth(link: &Link, netns: &std::fs::File, bridge: Option<u32>) -> LinkMessage {
    let both = |name: &str| {
        vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Mtu(1500),
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
        ]
    };
    let mut peer = LinkMessage::default();
    peer.attributes = both(&link.ifname);
    peer.attributes.push(LinkAttribute::Address(link.mac.to_vec()));
    peer.attributes.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
    let mut host = up();
    host.attributes = both(&link.host_end);
    host.attributes.extend(bridge.map(LinkAttribute::Controller));
    host.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    host
}

/// Born in the guest.
fn macvlan(link: &Link, netns: &std::fs::File, nic: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(link.ifname.clone()),
        LinkAttribute::Mtu(1500),
        LinkAttribute::Address(link.mac.to_vec()),
        LinkAttribute::NetNsFd(netns.as_raw_fd()),
        LinkAttribute::Link(nic),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)])),
        ]),
    ];
    message
}

impl Setting {
    fn request(self, index: u32) -> Vec<u8> {
        const NEW: u16 = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self {
            Self::Up => {
                let mut set_up = up();
                set_up.header.index = index;
                request(RouteNetlinkMessage::NewLink(set_up), NLM_F_ACK)
            }
            Self::Address(address, prefix) => {
                let mut message = AddressMessage::default();
                message.header.family = AddressFamily::Inet;
                message.header.prefix_len = prefix;
                message.header.index = index;
                message.attributes =
                    vec![AddressAttribute::Local(address.into()), AddressAttribute::Address(address.into())];
                request(RouteNetlinkMessage::NewAddress(message), NEW)
            }
            Self::DefaultRoute(gateway) => {
                let route = rtnetlink::RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
                request(RouteNetlinkMessage::NewRoute(route), NEW)
            }
        }
    }
}

/// One that receives nothing until it is bound, in the calling thread's namespace.
pub(crate) fn packet_socket() -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(rustix::net::AddressFamily::PACKET, SocketType::DGRAM, flags, None)?)
}

pub(crate) fn open_netns(path: &str) -> Result<std::fs::File> {
    std::fs::File::open(Path::new(path)).with_context(|| path.to_owned())
}

fn socket() -> Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

fn up() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

fn request(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len().next_multiple_of(4)];
    message.serialize(&mut bytes);
    bytes
}

/// Sends, and reads until so many messages of the kernel were the last of their answer.
fn exchange(socket: &Socket, bytes: &[u8], answers: usize, buffer: &mut [u8]) -> Result<()> {
    const NLMSG_ERROR: u16 = 2;
    const NLMSG_DONE: u16 = 3;
    socket.send_to(bytes, &SocketAddr::new(0, 0), 0)?;
    let mut left = answers;
    while left > 0 {
        let (length, _) = socket.recv_from(&mut &mut *buffer, 0)?;
        let mut rest = &buffer[..length];
        while let Some(header) = rest.get(..20) {
            let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
            let size = u32::from_ne_bytes(word(0)) as usize;
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            if kind == NLMSG_ERROR || kind == NLMSG_DONE {
                let errno = -i32::from_ne_bytes(word(16));
                if errno != 0 {
                    bail!(std::io::Error::from_raw_os_error(errno));
                }
                left = left.saturating_sub(1);
            }
            ensure!(size >= 16, "a netlink message of {size} bytes");
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Ok(())
}
