//! What happens to the host's links: one socket, read by one thread, for everybody who waits.
//!
//! Whoever waits registers before making the request that leads to the event, or looks at the state after registering;
//! so nothing is missed. When the kernel had to drop events (ENOBUFS), the links are listed and everybody is told anew.
//!
//! While nobody waits, what follows an event is read with it: who makes a link causes half a dozen, and would wake the thread, often
//! on another processor, for each.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use tokio::sync::broadcast;

use crate::host::deleter::Queue;
use crate::host::link::{self, LinkFacts, Operstate, RTM_DELLINK, RTM_NEWLINK};
use crate::host::message::messages;
use crate::host::netlink::{KernelError, Requests};

/// `RTMGRP_LINK` of linux/rtnetlink.h.
const LINKS: u32 = 1;
/// Of the socket's queue, in bytes: some thousand events.
const QUEUE: usize = 8 << 20;
/// What comes after an event that nobody waits for is read so much later.
const LULL: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Events that a subscriber may lag behind before it is told that it lost some.
const BACKLOG: usize = 1024;

/// A change of a link of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkEvent {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Its link group.
    pub group: u32,
    /// What happened.
    pub kind: LinkChange,
    /// Whether frames pass; as it was last, for a link that is gone.
    pub operstate: Operstate,
}

/// What happened to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkChange {
    /// It is new, or something about it changed.
    New,
    /// It is gone.
    Deleted,
}

/// What somebody who waits for one link is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Its state.
    State(Operstate),
    /// It is gone.
    Gone,
    /// What would have led to the event was refused.
    Refused(KernelError),
}

/// Which link somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    Named(String),
    Numbered(u32),
}

/// The thread that listens; it ends with this value.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Rung when somebody waits, and at the end.
    bell: OwnedFd,
    deletions: Arc<Queue>,
    events: broadcast::Sender<LinkEvent>,
    /// Only of links that are gone: who waits for those is not to be woken by every attach.
    losses: broadcast::Sender<LinkEvent>,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    entries: HashMap<u64, (Which, mpsc::Sender<Seen>)>,
    /// The thread looks away.
    is_lull: bool,
    is_over: bool,
}

/// A place in the list of those who wait; it ends with this value.
#[derive(Debug)]
pub(super) struct Waiter {
    id: u64,
    shared: Arc<Shared>,
    seen: mpsc::Receiver<Seen>,
    teller: mpsc::Sender<Seen>,
}

impl Waiter {
    /// The next thing seen; `None` when nothing was until then.
    pub(super) fn next(&self, until: Instant) -> Option<Seen> {
        self.seen.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// Lets somebody else tell the waiter, too.
    pub(super) fn teller(&self) -> mpsc::Sender<Seen> {
        self.teller.clone()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.shared.waiting().entries.remove(&self.id);
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A list of senders is whole at every moment.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        if let Err(error) = rustix::io::write(&self.bell, &1_u64.to_ne_bytes()) {
            tracing::error!(%error, "the thread that listens to links was not woken");
        }
    }

    fn tell(&self, event: LinkEvent) {
        if event.kind == LinkChange::Deleted {
            self.deletions.is_gone(event.index);
        }
        let seen = match event.kind {
            LinkChange::New => Seen::State(event.operstate),
            LinkChange::Deleted => Seen::Gone,
        };
        for (which, teller) in self.waiting().entries.values() {
            let is_meant = match which {
                Which::Named(name) => *name == event.name,
                Which::Numbered(index) => *index == event.index,
            };
            if is_meant {
                // A waiter that has just gone away is removed by itself.
                let _gone = teller.send(seen.clone());
            }
        }
        // Nobody subscribed is fine, too.
        if event.kind == LinkChange::Deleted {
            let _unheard = self.losses.send(event.clone());
        }
        let _unheard = self.events.send(event);
    }
}

impl Watch {
    /// Begins to listen in the calling thread's network namespace. `deletions` hears of links that are gone.
    ///
    /// # Errors
    /// What socket(2) and bind(2) say; the kernel's refusal to list the links.
    pub(super) fn start(deletions: Arc<Queue>) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE)?;
        socket.set_non_blocking(true)?;
        socket.bind(&SocketAddr::new(0, LINKS))?;

        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            deletions,
            events: broadcast::Sender::new(BACKLOG),
            losses: broadcast::Sender::new(BACKLOG),
        });
        let mut listener =
            Listener { socket, requests: Requests::open()?, known: HashMap::new(), shared: shared.clone() };
        listener.look_at_all()?;
        thread::Builder::new().name("link-events".to_owned()).spawn(move || listener.listen())?;
        Ok(Self { shared })
    }

    /// Waits for what happens to a link from now on.
    pub(super) fn follow(&self, which: Which) -> Waiter {
        let (teller, seen) = mpsc::channel();
        let mut waiting = self.shared.waiting();
        waiting.last += 1;
        let id = waiting.last;
        waiting.entries.insert(id, (which, teller.clone()));
        let is_lull = std::mem::take(&mut waiting.is_lull);
        drop(waiting);
        if is_lull {
            self.shared.ring();
        }
        Waiter { id, shared: self.shared.clone(), seen, teller }
    }

    /// All links that go from now on.
    pub(super) fn subscribe_to_losses(&self) -> broadcast::Receiver<LinkEvent> {
        self.shared.losses.subscribe()
    }

    /// All changes from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<LinkEvent> {
        self.shared.events.subscribe()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.waiting().is_over = true;
        self.shared.ring();
    }
}

struct Listener {
    socket: Socket,
    /// A dump on the socket of the events would have to be told from them.
    requests: Requests,
    /// Name, group and state of each link, to tell of those that went while events were dropped.
    known: HashMap<u32, (String, u32, Operstate)>,
    shared: Arc<Shared>,
}

impl Listener {
    fn listen(mut self) {
        let mut buffer = vec![0; 64 << 10];
        let mut has_heard = false;
        loop {
            let is_lull = {
                let mut waiting = self.shared.waiting();
                if waiting.is_over {
                    return;
                }
                waiting.is_lull = has_heard && waiting.entries.is_empty();
                waiting.is_lull
            };
            if let Err(error) = self.rest(is_lull) {
                tracing::error!(%error, "links of the host are no longer watched");
                return;
            }
            has_heard = self.read_all(&mut buffer).unwrap_or_else(|error| {
                tracing::error!(%error, "events of links were lost");
                false
            });
        }
    }

    /// Waits for an event, or through a lull, but not when somebody rings.
    fn rest(&self, is_lull: bool) -> io::Result<()> {
        let mut ready =
            [PollFd::new(&self.shared.bell, PollFlags::IN), PollFd::new(&self.socket, PollFlags::IN)];
        let polled = match is_lull {
            true => poll(&mut ready[..1], Some(&LULL)),
            false => poll(&mut ready, None),
        };
        match polled {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        match rustix::io::read(&self.shared.bell, &mut [0; 8]) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads until nothing is left, and says whether there was anything.
    fn read_all(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let mut has_heard = false;
        loop {
            match self.socket.recv_from(&mut &mut *buffer, libc::MSG_TRUNC) {
                Ok((_, from)) if from.port_number() != 0 => {}
                Ok((length, _)) if length <= buffer.len() => {
                    self.hear(&buffer[..length]);
                    has_heard = true;
                }
                // A link whose message has no room, or events that had none: look for ourselves.
                Ok(_) => self.look_at_all()?,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.look_at_all()?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(has_heard),
                Err(error) => return Err(error),
            }
        }
    }

    fn hear(&mut self, datagram: &[u8]) {
        for message in messages(datagram).filter_map(Result::ok) {
            match (message.kind, LinkFacts::read(message.body)) {
                (RTM_NEWLINK, Some(link)) => self.is_there(link),
                (RTM_DELLINK, Some(link)) => {
                    self.known.remove(&link.index);
                    self.tell(link.index, link.name, link.group, LinkChange::Deleted, link.operstate);
                }
                _ => {}
            }
        }
    }

    fn is_there(&mut self, link: LinkFacts) {
        self.known.insert(link.index, (link.name.clone(), link.group, link.operstate));
        self.tell(link.index, link.name, link.group, LinkChange::New, link.operstate);
    }

    fn look_at_all(&mut self) -> io::Result<()> {
        let links = link::list(&mut self.requests, None)?;
        let gone = |index: &u32| !links.iter().any(|link| link.index == *index);
        let gone: Vec<u32> = self.known.keys().copied().filter(gone).collect();
        for index in gone {
            if let Some((name, group, operstate)) = self.known.remove(&index) {
                self.tell(index, name, group, LinkChange::Deleted, operstate);
            }
        }
        links.into_iter().for_each(|link| self.is_there(link));
        Ok(())
    }

    fn tell(&self, index: u32, name: String, group: u32, kind: LinkChange, operstate: Operstate) {
        self.shared.tell(LinkEvent { name, index, group, kind, operstate });
    }
}
