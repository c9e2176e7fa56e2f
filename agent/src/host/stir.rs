//! That something was changed in the host or in a guest: a reason to look at attachments there.
//!
//! One host socket hears of every network namespace that has a number in the host's, and keeps none of them alive. Every attach
//! causes a dozen events, so they are read in heaps by a thread of its own, some times a second; and a guest that causes events
//! all the time fills the socket's queue, which costs one look at everything now and then.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::thread;

use rtnetlink::MulticastGroup;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::mpsc;

use crate::host::kernel::Kernel;
use crate::host::link::{self, RTM_DELLINK, RTM_NEWLINK};
use crate::host::mark;
use crate::host::message::{attribute, messages, read_text, read_u32};
use crate::host::sys;

/// What tells of what attachments have.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Tc,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];
/// Of the socket's queue, in bytes.
const QUEUE: usize = 1 << 20;
/// Enough for the start of every event; of what comes after, nothing is read.
const BUFFER: usize = 8 << 10;
/// How long events are let come together.
const HEAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 150_000_000 };
/// Events that are read of one heap.
const MOST: usize = 4096;
/// Heaps that may wait for the engine; what does not fit is put to the next.
const HEAPS: usize = 4;

/// Where something was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stir {
    /// Events were lost: it may be anywhere.
    pub is_anywhere: bool,
    /// Addresses, routes, rules or queues of the host.
    pub in_host: bool,
    /// Links of the host.
    pub links: BTreeSet<StirredLink>,
    /// Guests, by the numbers of their namespaces.
    pub guests: BTreeSet<i32>,
}

/// A link of the host as an event told of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StirredLink {
    /// Its name.
    pub name: String,
    /// Its link group.
    pub group: u32,
    /// The number of the namespace where its other end is.
    pub guest: Option<i32>,
}

impl Stir {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is heard; the thread ends with this value.
#[derive(Debug)]
pub struct Stirs {
    heaps: mpsc::Receiver<Stir>,
    stop: OwnedFd,
}

impl Stirs {
    /// Where something was changed since the last call; `None` when nothing is heard any more.
    pub async fn next(&mut self) -> Option<Stir> {
        self.heaps.recv().await
    }
}

impl Drop for Stirs {
    fn drop(&mut self) {
        if let Err(error) = rustix::io::write(&self.stop, &1_u64.to_ne_bytes()) {
            tracing::error!(%error, "the thread that hears of changes was not told to end");
        }
    }
}

impl Kernel {
    /// Hears of changes in the host and in guests from now on. To be called in the host's network namespace.
    ///
    /// # Errors
    /// What socket(2) and setsockopt(2) say.
    pub fn stirs(&self) -> io::Result<Stirs> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE)?;
        socket.set_listen_all_namespaces(true)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        for group in GROUPS {
            socket.add_membership(group as u32)?;
        }
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let told = stop.try_clone()?;
        let (teller, heaps) = mpsc::channel(HEAPS);
        thread::Builder::new().name("stirs".to_owned()).spawn(move || {
            if let Err(error) = listen(&socket, &told, &teller) {
                tracing::error!(%error, "changes are no longer heard of; what was changed is found by looking at times");
            }
        })?;
        Ok(Stirs { heaps, stop })
    }
}

/// Until it is told to stop.
fn listen(socket: &Socket, stop: &OwnedFd, teller: &mpsc::Sender<Stir>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut heap = Stir::default();
    loop {
        let patience = if heap.is_empty() { None } else { Some(&HEAP) };
        if is_told(&mut [PollFd::new(socket, PollFlags::IN), PollFd::new(stop, PollFlags::IN)], patience)? {
            return Ok(());
        }
        // The rest of the heap comes meanwhile.
        if is_told(&mut [PollFd::new(stop, PollFlags::IN)], Some(&HEAP))? {
            return Ok(());
        }
        read(socket, &mut buffer, &mut heap)?;
        if heap.is_empty() {
            continue;
        }
        match teller.try_send(std::mem::take(&mut heap)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(unsent)) => heap = unsent,
            Err(mpsc::error::TrySendError::Closed(_)) => return Ok(()),
        }
    }
}

/// Waits for the first of these, and says whether it was the last.
fn is_told(ready: &mut [PollFd<'_>], patience: Option<&Timespec>) -> io::Result<bool> {
    match poll(ready, patience) {
        Ok(_) => Ok(ready.last().is_some_and(|stop| !stop.revents().is_empty())),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn read(socket: &Socket, buffer: &mut [u8], heap: &mut Stir) -> io::Result<()> {
    for _ in 0..MOST {
        match sys::receive_of_netns(socket, buffer) {
            Ok((_, Some(number))) => drop(heap.guests.insert(number)),
            Ok((length, None)) => heap.hear(&buffer[..length.min(buffer.len())]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => heap.is_anywhere = true,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Stir {
    /// A bridge tells of its ports with the messages of links.
    fn hear(&mut self, datagram: &[u8]) {
        // One that is cut has its beginning.
        for message in messages(datagram).filter_map(Result::ok) {
            if !matches!(message.kind, RTM_NEWLINK | RTM_DELLINK) {
                self.in_host = true;
                continue;
            }
            let attributes = message.body.get(link::BODY..).unwrap_or_default();
            let group = attribute(attributes, link::IFLA_GROUP).and_then(read_u32).unwrap_or_default();
            // Of somebody else's links, only one under the name of ours is of interest, and a bridge's word has no group.
            let is_noted = group == 0 || mark::is_ours(group);
            if let Some(name) = attribute(attributes, link::IFLA_IFNAME).filter(|_| is_noted) {
                let guest = attribute(attributes, link::IFLA_LINK_NETNSID).and_then(read_u32);
                let guest = guest.map(u32::cast_signed).filter(|number| *number >= 0);
                self.links.insert(StirredLink { name: read_text(name), group, guest });
            }
        }
    }
}
