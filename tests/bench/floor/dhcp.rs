//! The guest's side of a link: what is known goes in one send; what a DHCP server has to say takes four packets before.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use pipewright_agent::dhcp::message::{Kind, Message};
use pipewright_agent::dhcp::packet;
use pipewright_agent::host::sys;
use pipewright_api::net::MacAddr;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::kernel::{Kernel, Link, Setting, packet_socket};

const ETHERTYPE_IPV4: u16 = 0x0800;
const EVERYBODY: [u8; 6] = [0xff; 6];
/// The bridge forwards a moment after the link is up, and nothing in the guest tells when: asked again until then.
const AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
const TRIES: usize = 3000;
/// Numbers of options (RFC 2132).
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const ADDRESS: u8 = 50;
const SERVER: u8 = 54;
const WANTED: u8 = 55;

/// Up, address, default route.
pub(crate) fn configure(kernel: &mut Kernel, link: &Link, netns: &File) -> Result<()> {
    let (address, prefix) = match link.address {
        Some(known) => known,
        None => return lease(kernel, link, netns),
    };
    let (inside, ()) = kernel.enter(link, netns, |_| Ok(()))?;
    let mut settings = vec![Setting::Up, Setting::Address(address, prefix)];
    settings.extend(link.gateway.map(Setting::DefaultRoute));
    kernel.set(&inside, &settings)
}

fn lease(kernel: &mut Kernel, link: &Link, netns: &File) -> Result<()> {
    let (inside, line) = kernel.enter(link, netns, |index| Line::open(index, link.mac))?;
    kernel.set(&inside, &[Setting::Up])?;
    // On a link that is down, it would hear nothing but that.
    sys::bind_packet(&line.socket, line.index, ETHERTYPE_IPV4)?;
    let discover = line.message(Kind::Discover);
    let offer = line.ask(&discover, Kind::Offer)?;
    let server = offer.address(SERVER).context("an offer of nobody")?;
    let request =
        line.message(Kind::Request).with(ADDRESS, offer.yiaddr.octets()).with(SERVER, server.octets());
    let lease = line.ask(&request, Kind::Ack)?;
    line.close();
    let mask = lease.address(MASK).context("a lease without a mask")?;
    let router = *lease.addresses(ROUTER).first().context("a lease without a router")?;
    let prefix = u8::try_from(mask.to_bits().leading_ones())?;
    kernel.set(&inside, &[Setting::Address(lease.yiaddr, prefix), Setting::DefaultRoute(router)])
}

/// A packet socket of one link.
struct Line {
    socket: OwnedFd,
    index: u32,
    mac: MacAddr,
    xid: u32,
}

impl Line {
    fn open(index: u32, mac: [u8; 6]) -> Result<Self> {
        let socket = packet_socket()?;
        let [.., a, b, c, d] = mac;
        Ok(Self { socket, index, mac: mac.try_into()?, xid: u32::from_be_bytes([a, b, c, d]) })
    }

    fn message(&self, kind: Kind) -> Message {
        Message::of_client(kind, self.mac, self.xid).with(WANTED, [MASK, ROUTER])
    }

    /// Sends it to everybody until there is an answer of that kind.
    fn ask(&self, message: &Message, wanted: Kind) -> Result<Message> {
        let frame = packet::wrap(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, &message.encode());
        let mut buffer = [0; 2048];
        for _ in 0..TRIES {
            sys::send_frame(&self.socket, self.index, ETHERTYPE_IPV4, EVERYBODY, &frame)?;
            while poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&AGAIN))? > 0 {
                let (length, _) = sys::receive_frame(&self.socket, &mut buffer)?;
                let answer = packet::unwrap(&buffer[..length]).and_then(Message::decode);
                let Some(answer) = answer.filter(|answer| answer.xid == self.xid) else { continue };
                ensure!(answer.kind != Kind::Nak, "the server refuses");
                if answer.kind == wanted {
                    return Ok(answer);
                }
            }
        }
        anyhow::bail!("no server answered")
    }

    /// Closing a packet socket waits for an RCU grace period: that is nobody's time.
    fn close(self) {
        std::thread::spawn(move || drop(self.socket));
    }
}
