//! That something changed in some guest: one host socket hears of every network namespace that has a number in the host's
//! (each that holds a veth of ours has), and keeps none of them alive.
//!
//! Root in a guest can cause such events at will, so their contents are not even read: they say "look again".

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use rtnetlink::MulticastGroup;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use tokio::sync::watch;
use tokio::time::Instant;

/// What tells how far a guest's network has come.
const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    // That a namespace is gone: from then on nothing is heard of its links.
    MulticastGroup::Nsid,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];
/// A guest that changes something all the time costs no more than this many looks in a `WINDOW`.
const LOOKS: u32 = 100;
/// Events that are taken off the queue for one look.
const EVENTS: u32 = 256;
const WINDOW: Duration = Duration::from_millis(100);

/// Who listens, for as long as somebody waits: every attach causes a dozen events, and what reads them for nobody is
/// missing where the attach is made.
#[derive(Debug, Clone, Default)]
pub(super) struct GuestWatch {
    listening: Arc<Mutex<Option<watch::Sender<u64>>>>,
}

impl GuestWatch {
    /// A number that changes with every change in any guest from now on. Needs a tokio runtime whose threads are in the
    /// host's network namespace.
    ///
    /// # Errors
    /// What socket(2) and setsockopt(2) say.
    pub(super) fn changes(&self) -> io::Result<watch::Receiver<u64>> {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(teller) = &*listening {
            return Ok(teller.subscribe());
        }
        let events = open()?;
        let (teller, changes) = watch::channel(0);
        *listening = Some(teller.clone());
        let watch = self.clone();
        tokio::spawn(async move {
            while !watch.is_over(&teller) {
                tokio::select! {
                    () = teller.closed() => {}
                    () = listen(&events, &teller) => {
                        // What waits now is told that nothing is heard any more; who comes next begins anew.
                        watch.end();
                        return;
                    }
                }
            }
        });
        Ok(changes)
    }

    /// Whether the last one who waited has gone; nobody can come while it is found out.
    fn is_over(&self, teller: &watch::Sender<u64>) -> bool {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = teller.receiver_count() == 0;
        if is_over {
            *listening = None;
        }
        is_over
    }

    fn end(&self) {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn open() -> io::Result<TokioSocket> {
    let mut events = TokioSocket::new(NETLINK_ROUTE)?;
    let socket = events.socket_mut();
    socket.set_listen_all_namespaces(true)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    for group in GROUPS {
        socket.add_membership(group as u32)?;
    }
    Ok(events)
}

/// Tells of changes until the socket fails.
async fn listen(events: &TokioSocket, teller: &watch::Sender<u64>) {
    let (mut looks, mut window_ends) = (0, Instant::now());
    loop {
        let mut heard = one(events).await;
        for _ in 0..EVENTS {
            match heard {
                Ok(()) => {}
                // Lost events are a change like others.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => {
                    tracing::error!(%error, "guests are no longer watched");
                    return;
                }
            }
            match one(events).now_or_never() {
                Some(next) => heard = next,
                None => break,
            }
        }
        teller.send_modify(|changes| *changes = changes.wrapping_add(1));

        let now = Instant::now();
        if now >= window_ends {
            (looks, window_ends) = (0, now + WINDOW);
        }
        looks += 1;
        if looks >= LOOKS {
            tokio::time::sleep_until(window_ends).await;
        }
    }
}

/// Takes one event off the queue; the rest of a longer datagram goes with it.
async fn one(events: &TokioSocket) -> io::Result<()> {
    let mut start = [0; 16];
    events.recv(&mut &mut start[..]).await
}
