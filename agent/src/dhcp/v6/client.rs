//! The states of a client (RFC 8415 §18.2) and what takes it from one to the next: messages and the time.

use std::net::Ipv6Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lease::{Lease, Unread};
use super::message::{Association, Kind, Message, fqdn, option, status};
use crate::dhcp::dice::Dice;
use crate::dhcp::{Machine, Moment};

/// What is asked of servers (option 6).
const WANTED: [u16; 2] = [option::DNS, option::DOMAINS];
/// The link's only association.
const ASSOCIATION: u32 = 1;
/// The first wait for an answer, and the longest of a request (SOL_TIMEOUT, REQ_TIMEOUT, CNF_TIMEOUT; REQ_MAX_RT of RFC 8415
/// §7.6).
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Requests for an offered address before looking for another server (REQ_MAX_RC).
const REQUESTS: u32 = 10;
/// Questions whether an address still belongs here, before the client goes on with it unheard.
const CONFIRMS: u32 = 3;
/// Before T2 and before the end, servers are asked no more and no less often than this (REN_TIMEOUT, REN_MAX_RT).
const ASK_AGAIN: Duration = Duration::from_secs(10);
const ASK_AT_LEAST: Duration = Duration::from_secs(600);
/// A server that is this willing is taken without waiting for others.
const MOST_WILLING: u8 = 255;

/// What a client wants done. All messages go to all servers on the link.
pub type Action = crate::dhcp::Action<Message, (), Lease>;

/// Whom servers know the client as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The client's DUID (RFC 8415 §11), as it is sent.
    pub duid: Vec<u8>,
    /// Option 39.
    pub hostname: Option<String>,
}

/// A client of one link.
#[derive(Debug, Clone)]
pub struct Client {
    identity: Identity,
    dice: Dice,
    state: State,
    /// When this state's exchange began; the elapsed time counts from there.
    began: Moment,
    /// When the last request was sent.
    sent: Moment,
    /// When [`Machine::tick`] is to be called next; `None`: never.
    due: Option<Moment>,
    xid: u32,
    tries: u32,
    refusals: u32,
    /// An address that we had, to ask for it again.
    had: Option<Ipv6Addr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// With the best offer so far, and how willing its server is.
    Soliciting(Option<(u8, Lease)>),
    Requesting(Lease),
    Confirming(Lease),
    Bound(Lease),
    Renewing(Lease),
    Rebinding(Lease),
}

impl Client {
    /// One that has no address. `seed` makes it unlike others.
    pub fn new(identity: Identity, seed: u64, now: Moment) -> Self {
        let mut dice = Dice(seed);
        let xid = dice.roll() as u32;
        Self {
            identity,
            dice,
            state: State::Soliciting(None),
            began: now,
            sent: now,
            due: Some(now),
            xid,
            tries: 0,
            refusals: 0,
            had: None,
        }
    }

    /// One that goes on with a lease where another left off.
    pub fn resume(identity: Identity, seed: u64, lease: Lease, now: Moment) -> Self {
        let mut client = Self::new(identity, seed, now);
        client.due = lease.renew_at();
        client.state = State::Bound(lease);
        client
    }

    /// One that had a lease and asks whether it still belongs here (RFC 8415 §18.2.3).
    pub fn reboot(identity: Identity, seed: u64, lease: Lease, now: Moment) -> Self {
        let mut client = Self::new(identity, seed, now);
        client.state = State::Confirming(lease);
        client
    }

    /// The message that gives a lease back (RFC 8415 §18.2.7). What the server answers changes nothing for us.
    pub fn release(identity: &Identity, lease: &Lease, seed: u64) -> Message {
        of_lease(Kind::Release, identity, Dice(seed).roll() as u32, lease)
    }

    fn start_over(&mut self, now: Moment) {
        self.state = State::Soliciting(None);
        self.due = Some(now);
        self.begin(now);
    }

    /// Begins an exchange: old answers are not for it.
    fn begin(&mut self, now: Moment) {
        self.xid = self.dice.roll() as u32;
        self.began = now;
        self.tries = 0;
    }

    fn send(&mut self, message: Message, now: Moment) -> Action {
        self.tries += 1;
        self.sent = now;
        self.due = Some(now + self.wait(self.tries));
        Action::Send { message, to: () }
    }

    fn solicit(&mut self, now: Moment) -> Action {
        let message = self.message(Kind::Solicit, None, self.had, now);
        self.send(message, now)
    }

    fn request(&mut self, offer: Lease, now: Moment) -> Action {
        if !matches!(self.state, State::Requesting(_)) {
            self.begin(now);
        }
        let message = self.message(Kind::Request, Some(&offer.server), Some(offer.ip), now);
        self.state = State::Requesting(offer);
        self.send(message, now)
    }

    fn confirm(&mut self, lease: &Lease, now: Moment) -> Action {
        let message = self.message(Kind::Confirm, None, Some(lease.ip), now);
        self.send(message, now)
    }

    /// Between T1 and T2 the lease's own server is asked, then every one.
    fn ask_for_more(&mut self, lease: Lease, now: Moment) -> Action {
        let is_late = lease.rebind_at().is_some_and(|t2| now >= t2);
        let is_new = match &self.state {
            State::Renewing(_) => is_late,
            State::Rebinding(_) => false,
            _ => true,
        };
        if is_new {
            self.begin(now);
        }
        let (kind, server, until) = match is_late {
            true => (Kind::Rebind, None, lease.ends_at()),
            false => (Kind::Renew, Some(lease.server.as_slice()), lease.rebind_at()),
        };
        let message = self.message(kind, server, Some(lease.ip), now);
        let action = self.send(message, now);
        let rest = |until: Moment| (until.saturating_sub(now) / 2).clamp(ASK_AGAIN, ASK_AT_LEAST);
        self.due = until.map_or(Some(now + ASK_AT_LEAST), |until| Some((now + rest(until)).min(until)));
        self.state = if is_late { State::Rebinding(lease) } else { State::Renewing(lease) };
        action
    }

    fn message(&self, kind: Kind, server: Option<&[u8]>, address: Option<Ipv6Addr>, now: Moment) -> Message {
        let hundredths = now.saturating_sub(self.began).as_millis() / 10;
        let elapsed = u16::try_from(hundredths).unwrap_or(u16::MAX);
        let mut message = Message::new(kind, self.xid).with(option::CLIENT_ID, self.identity.duid.clone());
        if let Some(server) = server {
            message = message.with(option::SERVER_ID, server);
        }
        message = message
            .with(option::ELAPSED, elapsed.to_be_bytes())
            .with(option::IA_NA, Association::of_client(ASSOCIATION, address).encode());
        if kind == Kind::Confirm {
            return message;
        }
        if let Some(hostname) = &self.identity.hostname {
            message = message.with(option::FQDN, fqdn(hostname));
        }
        message.with(option::WANTED, WANTED.map(u16::to_be_bytes).concat())
    }

    /// How long to wait after the n-th try: 1, 2, 4 … 30 s, up to a tenth more.
    fn wait(&mut self, tries: u32) -> Duration {
        let doubled = FIRST_WAIT.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(LONGEST_WAIT);
        doubled + self.dice.up_to(doubled / 10)
    }

    fn bind(&mut self, lease: Lease) -> Vec<Action> {
        self.refusals = 0;
        self.due = lease.renew_at();
        self.state = State::Bound(lease.clone());
        vec![Action::Bound(lease)]
    }

    fn refused(&mut self, text: Option<String>, now: Moment) -> Vec<Action> {
        self.had = None;
        self.refusals += 1;
        self.start_over(now);
        // A server that offers and then refuses must not be asked without end.
        if self.refusals > 1 {
            self.due = Some(now + self.wait(self.refusals));
        }
        vec![Action::Refused(text)]
    }

    fn hear_reply(&mut self, message: &Message, from: Ipv6Addr, now: Moment) -> Vec<Action> {
        let read = Lease::read(message, ASSOCIATION, from, self.sent);
        match (self.state.clone(), read) {
            (State::Soliciting(_) | State::Bound(_), _) => Vec::new(),
            (State::Requesting(offer), _) if message.option(option::SERVER_ID) != Some(&offer.server) => {
                Vec::new()
            }
            (State::Confirming(lease), _) => match status(&message.options) {
                (status::SUCCESS, _) => {
                    self.due = lease.renew_at();
                    self.state = State::Bound(lease);
                    Vec::new()
                }
                (_, text) => self.refused(text, now),
            },
            (State::Requesting(_) | State::Renewing(_) | State::Rebinding(_), Ok(lease)) => self.bind(lease),
            // The server lost it, and may give it anew (RFC 8415 §18.2.10.1).
            (State::Renewing(lease) | State::Rebinding(lease), Err(Unread::Unknown)) => {
                let server = message.option(option::SERVER_ID).map(<[u8]>::to_vec);
                let server = server.unwrap_or_else(|| lease.server.clone());
                vec![self.request(Lease { server, ..lease }, now)]
            }
            (State::Requesting(_), Err(Unread::Unknown)) => self.refused(None, now),
            (_, Err(Unread::Refused(text))) => self.refused(text, now),
            (_, Err(Unread::Ignored(why))) => vec![Action::Ignored(why)],
        }
    }
}

impl Machine for Client {
    type Message = Message;
    type To = ();
    type From = Ipv6Addr;
    type Lease = Lease;

    fn due(&self) -> Option<Moment> {
        self.due
    }

    fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Soliciting(_) | State::Requesting(_) => None,
            State::Confirming(lease)
            | State::Bound(lease)
            | State::Renewing(lease)
            | State::Rebinding(lease) => Some(lease),
        }
    }

    fn is_at_rest(&self) -> bool {
        matches!(self.state, State::Bound(_))
    }

    fn ends_at(&self) -> Option<Moment> {
        self.lease().and_then(Lease::ends_at)
    }

    fn end(&mut self, now: Moment) {
        self.had = self.lease().map(|lease| lease.ip);
        self.start_over(now);
    }

    fn go_on(&mut self, now: Moment) -> Vec<Action> {
        match self.state.clone() {
            State::Soliciting(Some((_, offer))) => vec![self.request(offer, now)],
            State::Soliciting(None) => vec![self.solicit(now)],
            State::Requesting(_) if self.tries >= REQUESTS => {
                self.start_over(now);
                vec![self.solicit(now)]
            }
            State::Requesting(offer) => vec![self.request(offer, now)],
            State::Confirming(lease) if self.tries >= CONFIRMS => {
                // "The client SHOULD continue to use any leases" (RFC 8415 §18.2.3).
                self.due = lease.renew_at();
                self.state = State::Bound(lease);
                Vec::new()
            }
            State::Confirming(lease) => vec![self.confirm(&lease, now)],
            State::Bound(lease) | State::Renewing(lease) | State::Rebinding(lease) => {
                vec![self.ask_for_more(lease, now)]
            }
        }
    }

    fn hear(&mut self, message: &Message, from: Ipv6Addr, now: Moment) -> Vec<Action> {
        let is_ours = message.option(option::CLIENT_ID) == Some(&self.identity.duid);
        if message.xid != self.xid & 0x00ff_ffff || !is_ours || self.tries == 0 {
            return Vec::new();
        }
        match (message.kind, &self.state) {
            (Kind::Reply, _) => self.hear_reply(message, from, now),
            (Kind::Advertise, State::Soliciting(best)) => {
                let best = best.as_ref().map(|(willing, _)| *willing);
                let willing = message.preference();
                match Lease::read(message, ASSOCIATION, from, self.sent) {
                    // Others may still answer the first question (RFC 8415 §18.2.1).
                    Ok(offer) if willing < MOST_WILLING && self.tries == 1 => {
                        if best.is_none_or(|best| willing > best) {
                            self.state = State::Soliciting(Some((willing, offer)));
                        }
                        Vec::new()
                    }
                    Ok(offer) => vec![self.request(offer, now)],
                    Err(Unread::Ignored(why)) => vec![Action::Ignored(why)],
                    Err(Unread::Refused(_) | Unread::Unknown) => {
                        vec![Action::Ignored("it has no address for this link")]
                    }
                }
            }
            (
                Kind::Advertise
                | Kind::Solicit
                | Kind::Request
                | Kind::Confirm
                | Kind::Renew
                | Kind::Rebind
                | Kind::Release
                | Kind::Decline,
                _,
            ) => Vec::new(),
        }
    }

    fn decline(&mut self, now: Moment) -> Vec<Action> {
        let State::Bound(lease) = self.state.clone() else { return Vec::new() };
        self.begin(now);
        let message = of_lease(Kind::Decline, &self.identity, self.xid, &lease);
        self.had = None;
        self.start_over(now);
        vec![Action::Send { message, to: () }]
    }
}

/// A message that ends a lease.
fn of_lease(kind: Kind, identity: &Identity, xid: u32, lease: &Lease) -> Message {
    Message::new(kind, xid)
        .with(option::CLIENT_ID, identity.duid.clone())
        .with(option::SERVER_ID, lease.server.clone())
        .with(option::ELAPSED, [0, 0])
        .with(option::IA_NA, Association::of_client(ASSOCIATION, Some(lease.ip)).encode())
}
