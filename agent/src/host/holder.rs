//! Who on the network has an address that a guest is about to use.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use pipewright_api::net::{InterfaceAddr, LinkName, MacAddr};
use pipewright_api::spec::DuplicateCheck;
use rtnetlink::packet_route::AddressFamily as RouteFamily;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::dhcp::dice::Dice;
use crate::dhcp::given::Lifetimes;
use crate::host::address::{Address, Detection};
use crate::host::dhcp::seed;
use crate::host::guest_events::{GuestEvents, IPV6_ADDRESSES};
use crate::host::kernel::Kernel;
use crate::host::netlink::{KernelError, Requests};
use crate::host::netns::Netns;
use crate::host::take::{Run, refusal, unless};
use crate::host::{address, arp, link, ndp, sys};
use crate::step::{Awaited, AwaitedAddress, Probe, Step, StepError};

/// Probes of one check.
const PROBES: u32 = 3;
/// PROBE_WAIT, PROBE_MIN, PROBE_MAX and ANNOUNCE_WAIT of RFC 5227 §1.1.
const PROBE_WAIT: Duration = Duration::from_secs(1);
const PROBE_MIN: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(2);
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
/// Between two probes of a quick check, and after the last, twice.
const QUICK: Duration = Duration::from_millis(100);
/// How long the kernel's own check may take: it waits up to a second before, and a second after each question.
const DETECTION: Duration = Duration::from_secs(10);
/// How long routers may take: the kernel asks them three times, 4 s apart, and checks what it makes of the answer.
const ROUTERS: Duration = Duration::from_secs(20);
/// How long the holder of an IPv6 address may take to tell who it is.
const ANSWER: Duration = Duration::from_millis(500);
/// More than a packet of neighbour discovery.
const BUFFER: usize = 2048;

/// Somebody has the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    /// The address.
    pub(super) address: IpAddr,
    /// Whose it is, if that is known.
    pub(super) mac: Option<MacAddr>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mac {
            Some(mac) => write!(f, "{} is in use by {mac}", self.address),
            None => write!(f, "{} is in use by another host", self.address),
        }
    }
}

impl Holder {
    fn refuse(self, ifname: &LinkName) -> StepError {
        StepError::AddressInUse { ifname: ifname.to_string(), address: self.address, holder: self.mac }
    }
}

impl Run {
    pub(super) fn probe_addresses(&mut self, step: &Step, probe: &Probe) -> Result<(), StepError> {
        let Some(guest) = &self.guest else { return Err(StepError::GuestGone) };
        let index = link::index(&guest.requests, &probe.ifname).map_err(|error| refusal(step, error))?;
        let found = find(index, probe.mac, &probe.addresses, probe.check);
        let (holder, socket) = found.map_err(|error| refusal(step, error.into()))?;
        self.close_later.push(socket);
        holder.map_or(Ok(()), |holder| Err(holder.refuse(&probe.ifname)))
    }

    /// Waits until IPv6 addresses can be used.
    pub(super) fn await_addresses(&mut self, step: &Step, awaited: &AwaitedAddress) -> Result<(), StepError> {
        let Some(guest) = &mut self.guest else { return Err(StepError::GuestGone) };
        let AwaitedAddress { ifname, what } = awaited;
        let index = link::index(&guest.requests, ifname).map_err(|error| refusal(step, error))?;
        match await_usable(&mut guest.requests, index, what).map_err(|error| refusal(step, error))? {
            Awaits::Usable => Ok(()),
            Awaits::Held(holder) => Err(holder.refuse(ifname)),
            Awaits::TooLong => Err(match what {
                Awaited::These(addresses) => StepError::NotAsAsked {
                    object: ifname.to_string(),
                    what: "a tentative address among",
                    found: addresses.iter().map(Ipv6Addr::to_string).collect::<Vec<_>>().join(" "),
                    expected: format!("usable ones within {} s", DETECTION.as_secs()),
                },
                Awaited::Autoconfigured => StepError::NoLease {
                    ifname: ifname.to_string(),
                    seconds: ROUTERS.as_secs(),
                    seen: "no router advertised a prefix to take one from".to_owned(),
                },
            }),
        }
    }
}

/// How a wait for addresses ended.
enum Awaits {
    Usable,
    Held(Holder),
    TooLong,
}

/// Waits until the kernel has checked addresses, in the calling thread's network namespace.
fn await_usable(requests: &mut Requests, index: u32, what: &Awaited) -> Result<Awaits, KernelError> {
    let patience = match what {
        Awaited::These(_) => DETECTION,
        Awaited::Autoconfigured => ROUTERS,
    };
    let until = Instant::now() + patience;
    let events = GuestEvents::open(IPV6_ADDRESSES)?;
    loop {
        let there = address::list(requests, RouteFamily::Inet6, index)?;
        let is_usable = |address: &Address| !address.tentative && !address.duplicate;
        match what {
            Awaited::Autoconfigured if there.iter().any(|a| a.is_from_router() && is_usable(a)) => {
                return Ok(Awaits::Usable);
            }
            Awaited::Autoconfigured => {}
            Awaited::These(addresses) => {
                let find = |wanted: &Ipv6Addr| there.iter().find(|a| a.net.addr() == IpAddr::V6(*wanted));
                // One whose lifetime is limited is not marked as a duplicate, it is removed.
                let is_held = |wanted: &&Ipv6Addr| find(wanted).is_none_or(|address| address.duplicate);
                if let Some(held) = addresses.iter().find(is_held) {
                    return Ok(Awaits::Held(Holder { address: (*held).into(), mac: ask(index, *held)? }));
                }
                if addresses.iter().filter_map(find).all(is_usable) {
                    return Ok(Awaits::Usable);
                }
            }
        }
        if !events.wait(until)? {
            return Ok(Awaits::TooLong);
        }
    }
}

impl Kernel {
    /// Gives an IPv6 address to a guest's link, if nobody else on the network has it; the holder if somebody has. Without a
    /// check nothing is done.
    ///
    /// # Errors
    /// What the link says, such as ENODEV.
    pub(super) async fn claim(
        &self,
        guest: &Netns,
        ifname: &LinkName,
        address: InterfaceAddr,
        left: Lifetimes,
        check: DuplicateCheck,
    ) -> io::Result<Option<Holder>> {
        let IpAddr::V6(ip) = address.addr() else { return Ok(None) };
        if check == DuplicateCheck::Off {
            return Ok(None);
        }
        let ifname = ifname.clone();
        let visit = move || {
            let mut requests = Requests::open()?;
            let index = link::index(&requests, &ifname)?;
            requests.request(&address::lease(index, address, left, Detection::With))?;
            match await_usable(&mut requests, index, &Awaited::These(vec![ip]))? {
                Awaits::Usable => Ok(None),
                Awaits::Held(holder) => {
                    let removed = requests.request(&address::remove(index, address)).map(drop);
                    unless(libc::EADDRNOTAVAIL, removed)?;
                    Ok(Some(holder))
                }
                Awaits::TooLong => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
            }
        };
        self.in_guest(guest, visit).await
    }

    /// Asks the network of a guest's link whether somebody has an address. The guest's namespace is held for as long.
    ///
    /// # Errors
    /// What the link says, such as ENODEV and ENETDOWN.
    pub(super) async fn find_holder(
        &self,
        guest: &Netns,
        ifname: &LinkName,
        mac: MacAddr,
        address: Ipv4Addr,
        check: DuplicateCheck,
    ) -> io::Result<Option<Holder>> {
        if check == DuplicateCheck::Off {
            return Ok(None);
        }
        let ifname = ifname.clone();
        let visit = move || {
            let socket = packet_socket()?;
            let index = rustix::net::netdevice::name_to_index(&socket, ifname.as_str())?;
            drop(socket);
            find(index, mac, &[address], check).map(|(holder, _socket)| holder)
        };
        self.in_guest(guest, visit).await
    }
}

/// When a check asks, from its beginning on, and when it ends.
fn times(check: DuplicateCheck, dice: &mut Dice) -> (Vec<Duration>, Duration) {
    let mut asks = Vec::new();
    let mut last = Duration::ZERO;
    for number in 0..PROBES {
        last += match (check, number) {
            (DuplicateCheck::Off, _) => return (Vec::new(), Duration::ZERO),
            (DuplicateCheck::Quick, 0) => Duration::ZERO,
            (DuplicateCheck::Quick, _) => QUICK,
            (DuplicateCheck::Full, 0) => dice.up_to(PROBE_WAIT),
            (DuplicateCheck::Full, _) => PROBE_MIN + dice.up_to(PROBE_MAX - PROBE_MIN),
        };
        asks.push(last);
    }
    let rest = if check == DuplicateCheck::Full { ANNOUNCE_WAIT } else { 2 * QUICK };
    (asks, last + rest)
}

/// Probes for IPv4 addresses on a link of the calling thread's network namespace (RFC 5227 §2.1). The socket is handed
/// back because closing it takes long.
fn find(
    index: u32,
    own: MacAddr,
    addresses: &[Ipv4Addr],
    check: DuplicateCheck,
) -> io::Result<(Option<Holder>, OwnedFd)> {
    let socket = packet_socket()?;
    sys::bind_packet(&socket, index, arp::ETHERTYPE)?;
    let begin = Instant::now();
    let (asks, end) = times(check, &mut Dice(seed()));
    let listen_until = |time: Duration| {
        let tells = |packet: &[u8], _from| {
            addresses.iter().find_map(|&address| Some((address, arp::holder(packet, own, address)?)))
        };
        let heard = listen(&socket, begin + time, tells)?;
        Ok::<_, io::Error>(
            heard.map(|(address, mac)| Holder { address: address.into(), mac: MacAddr::try_from(mac).ok() }),
        )
    };
    let mut holder = None;
    for ask in asks {
        holder = listen_until(ask)?;
        if holder.is_some() {
            break;
        }
        for &address in addresses {
            let probe = arp::probe(own, address);
            sys::send_frame(&socket, index, arp::ETHERTYPE, arp::EVERYBODY, &probe)?;
        }
    }
    if holder.is_none() {
        holder = listen_until(end)?;
    }
    Ok((holder, socket))
}

/// Asks who has an IPv6 address that the kernel found to be taken.
fn ask(index: u32, address: Ipv6Addr) -> io::Result<Option<MacAddr>> {
    let socket = packet_socket()?;
    sys::bind_packet(&socket, index, ndp::ETHERTYPE)?;
    let (question, to) = ndp::solicitation(address);
    sys::send_frame(&socket, index, ndp::ETHERTYPE, to, &question)?;
    let says_so = |packet: &[u8], from: [u8; 6]| ndp::is_advertised(packet, address).then_some(from);
    let mac = listen(&socket, Instant::now() + ANSWER, says_so)?;
    Ok(mac.and_then(|mac| MacAddr::try_from(mac).ok()))
}

fn packet_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Without a protocol it receives nothing until it is bound.
    Ok(rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?)
}

/// Listens until a packet tells something, or until then.
fn listen<T>(
    socket: &OwnedFd,
    until: Instant,
    tells: impl Fn(&[u8], [u8; 6]) -> Option<T>,
) -> io::Result<Option<T>> {
    let mut buffer = [0; BUFFER];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let time = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&time)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match sys::receive_frame(socket, &mut buffer) {
            Ok((length, from)) => {
                if let Some(told) = buffer.get(..length).and_then(|packet| tells(packet, from)) {
                    return Ok(Some(told));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_check_keeps_the_times_of_the_rfc_and_a_quick_one_is_over_soon() {
        for seed in 0..100 {
            let (asks, end) = times(DuplicateCheck::Full, &mut Dice(seed));
            assert!(asks.len() == 3 && asks[0] <= PROBE_WAIT && end == asks[2] + ANNOUNCE_WAIT);
            assert!(asks.windows(2).all(|two| (PROBE_MIN..=PROBE_MAX).contains(&(two[1] - two[0]))));
        }
        let (asks, end) = times(DuplicateCheck::Quick, &mut Dice(1));
        assert_eq!((asks.len(), asks[0], end), (3, Duration::ZERO, 4 * QUICK));
        assert_eq!(times(DuplicateCheck::Off, &mut Dice(1)), (Vec::new(), Duration::ZERO));
    }
}
