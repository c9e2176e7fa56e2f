//! The states of a client (RFC 2131 figure 5) and what takes it from one to the next: messages and the time.

use std::net::Ipv4Addr;
use std::time::Duration;

use pipewright_api::net::MacAddr;
use serde::{Deserialize, Serialize};

use super::dice::Dice;
use super::lease::Lease;
use super::message::{Kind, Message, option};
use super::{Machine, Moment};

/// What is asked of servers (option 55).
const WANTED: [u8; 13] = [
    option::MASK,
    // Before routers, as RFC 3442 wants it.
    option::CLASSLESS_ROUTES,
    option::ROUTERS,
    option::STATIC_ROUTES,
    option::DNS,
    option::DOMAIN,
    option::SEARCH,
    option::MTU,
    option::BROADCAST,
    option::NTP,
    option::LEASE_TIME,
    option::T1,
    option::T2,
];
/// The largest message that we take (option 57), in bytes: a frame of Ethernet without the headers of IPv4 and UDP.
const LARGEST: u16 = 1472;
/// The first wait for an answer, and the longest (RFC 2131 §4.1).
const FIRST_WAIT: Duration = Duration::from_secs(4);
const LONGEST_WAIT: Duration = Duration::from_secs(64);
/// Waits are longer or shorter by up to this much, so that clients that began together do not go on together.
const JITTER: Duration = Duration::from_secs(1);
/// Before T2 and before the end, servers are asked no more often than this (RFC 2131 §4.4.5).
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// Between declining an address and looking for another one (RFC 2131 §3.1.5).
const AFTER_DECLINE: Duration = Duration::from_secs(10);
/// Requests for an offered address before looking for another server.
const REQUESTS: u32 = 4;
/// Requests for an address that we had before we go on with it unheard.
const REBOOTS: u32 = 2;

/// Whom servers know the client as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The link's MAC address.
    pub mac: MacAddr,
    /// Option 61, as it is sent.
    pub client_id: Vec<u8>,
    /// Option 12.
    pub hostname: Option<String>,
    /// Answers must be broadcast: the link shares its MAC address, so those to it alone go astray.
    pub broadcast: bool,
}

/// What a client wants done.
pub type Action = super::Action<Message, To, Lease>;

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// To every server on the link.
    All,
    /// To one.
    One {
        /// Its address.
        server: Ipv4Addr,
        /// Where frames to it go.
        mac: [u8; 6],
    },
}

/// A client of one link.
#[derive(Debug, Clone)]
pub struct Client {
    identity: Identity,
    dice: Dice,
    state: State,
    /// When this state's exchange began; `secs` counts from there.
    began: Moment,
    /// When the last request was sent.
    sent: Moment,
    /// When [`Machine::tick`] is to be called next; `None`: never.
    due: Option<Moment>,
    xid: u32,
    tries: u32,
    naks: u32,
    /// An address that we had, to ask for it again.
    had: Option<Ipv4Addr>,
}

/// The states. `INIT` of the RFC is `Selecting` before the first message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Selecting,
    Requesting(Lease),
    Rebooting(Lease),
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
            state: State::Selecting,
            began: now,
            sent: now,
            due: Some(now),
            xid,
            tries: 0,
            naks: 0,
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

    /// One that had a lease and asks whether it still holds (INIT-REBOOT).
    pub fn reboot(identity: Identity, seed: u64, lease: Lease, now: Moment) -> Self {
        let mut client = Self::new(identity, seed, now);
        client.state = State::Rebooting(lease);
        client
    }

    /// The message that gives a lease back (RFC 2131 §4.4.6). No answer comes.
    pub fn release(identity: &Identity, lease: &Lease, seed: u64) -> (Message, To) {
        let message = Message::of_client(Kind::Release, identity.mac, Dice(seed).roll() as u32)
            .with(option::SERVER, lease.server.octets())
            .with(option::CLIENT_ID, identity.client_id.clone());
        let to = To::One { server: lease.server, mac: lease.server_mac };
        (Message { ciaddr: lease.ip, ..message }, to)
    }

    fn start_over(&mut self, now: Moment) {
        self.state = State::Selecting;
        self.due = Some(now);
        self.begin(now);
    }

    /// Begins an exchange: old answers are not for it.
    fn begin(&mut self, now: Moment) {
        self.xid = self.dice.roll() as u32;
        self.began = now;
        self.tries = 0;
    }

    fn discover(&mut self, now: Moment) -> Action {
        let message = self.message(Kind::Discover, now);
        let message = match self.had {
            Some(had) => message.with(option::ADDRESS, had.octets()),
            None => message,
        };
        self.sent_one(now);
        Action::Send { message, to: To::All }
    }

    fn request(&mut self, offer: &Lease, now: Moment) -> Action {
        let message = self
            .message(Kind::Request, now)
            .with(option::ADDRESS, offer.ip.octets())
            .with(option::SERVER, offer.server.octets());
        self.sent_one(now);
        Action::Send { message, to: To::All }
    }

    fn confirm(&mut self, lease: &Lease, now: Moment) -> Action {
        let message = self.message(Kind::Request, now).with(option::ADDRESS, lease.ip.octets());
        self.sent_one(now);
        Action::Send { message, to: To::All }
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
        let until = if is_late { lease.ends_at() } else { lease.rebind_at() };
        let message = Message { ciaddr: lease.ip, broadcast: false, ..self.message(Kind::Request, now) };
        self.tries += 1;
        self.sent = now;
        self.due = until.map(|until| (now + (until.saturating_sub(now) / 2).max(ASK_AGAIN)).min(until));
        if is_late {
            self.state = State::Rebinding(lease);
            return Action::Send { message, to: To::All };
        }
        let to = To::One { server: lease.server, mac: lease.server_mac };
        self.state = State::Renewing(lease);
        Action::Send { message, to }
    }

    fn message(&self, kind: Kind, now: Moment) -> Message {
        let mut message = Message::of_client(kind, self.identity.mac, self.xid)
            .with(option::CLIENT_ID, self.identity.client_id.clone())
            .with(option::LARGEST, LARGEST.to_be_bytes())
            .with(option::WANTED, WANTED);
        if let Some(hostname) = &self.identity.hostname {
            message = message.with(option::HOSTNAME, hostname.as_bytes());
        }
        message.secs = u16::try_from(now.saturating_sub(self.began).as_secs()).unwrap_or(u16::MAX);
        message.broadcast = self.identity.broadcast;
        message
    }

    fn sent_one(&mut self, now: Moment) {
        self.tries += 1;
        self.sent = now;
        self.due = Some(now + self.wait(self.tries));
    }

    /// How long to wait after the n-th try: 4, 8, 16, 32, 64 s, a second more or less.
    fn wait(&mut self, tries: u32) -> Duration {
        let doubled = FIRST_WAIT.saturating_mul(1 << tries.saturating_sub(1).min(16));
        let more = self.dice.up_to(2 * JITTER);
        doubled.min(LONGEST_WAIT) - JITTER + more
    }
}

impl Machine for Client {
    type Message = Message;
    type To = To;
    type From = [u8; 6];
    type Lease = Lease;

    fn due(&self) -> Option<Moment> {
        self.due
    }

    fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Selecting | State::Requesting(_) => None,
            State::Rebooting(lease)
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
            State::Selecting => vec![self.discover(now)],
            State::Requesting(_) if self.tries >= REQUESTS => {
                self.start_over(now);
                vec![self.discover(now)]
            }
            State::Requesting(offer) => vec![self.request(&offer, now)],
            State::Rebooting(lease) if self.tries >= REBOOTS => {
                // "The client may choose to use the previously allocated address" (RFC 2131 §3.2).
                self.due = lease.renew_at();
                self.state = State::Bound(lease);
                Vec::new()
            }
            State::Rebooting(lease) => vec![self.confirm(&lease, now)],
            State::Bound(lease) | State::Renewing(lease) | State::Rebinding(lease) => {
                vec![self.ask_for_more(lease, now)]
            }
        }
    }

    fn hear(&mut self, message: &Message, from: [u8; 6], now: Moment) -> Vec<Action> {
        if !message.is_reply || message.xid != self.xid || message.mac != self.identity.mac {
            return Vec::new();
        }
        match (self.state.clone(), message.kind) {
            (State::Selecting, Kind::Offer) if self.tries > 0 => match Lease::read(message, from, now) {
                Ok(offer) => {
                    self.tries = 0;
                    let send = self.request(&offer, now);
                    self.state = State::Requesting(offer);
                    vec![send]
                }
                Err(why) => vec![Action::Ignored(why)],
            },
            (State::Requesting(offer), Kind::Ack | Kind::Nak)
                if message.address(option::SERVER).is_some_and(|server| server != offer.server) =>
            {
                Vec::new()
            }
            (State::Renewing(lease), Kind::Nak)
                if message.address(option::SERVER).is_some_and(|server| server != lease.server) =>
            {
                Vec::new()
            }
            (
                State::Requesting(_) | State::Rebooting(_) | State::Renewing(_) | State::Rebinding(_),
                Kind::Ack,
            ) => match Lease::read(message, from, self.sent) {
                Ok(lease) => {
                    self.naks = 0;
                    self.due = lease.renew_at();
                    self.state = State::Bound(lease.clone());
                    vec![Action::Bound(lease)]
                }
                Err(why) => vec![Action::Ignored(why)],
            },
            (
                State::Requesting(_) | State::Rebooting(_) | State::Renewing(_) | State::Rebinding(_),
                Kind::Nak,
            ) => {
                self.had = None;
                self.naks += 1;
                self.start_over(now);
                // A server that offers and then refuses must not be asked without end.
                if self.naks > 1 {
                    self.due = Some(now + self.wait(self.naks - 1));
                }
                vec![Action::Refused(message.text(option::TEXT))]
            }
            (State::Bound(_), _)
            | (State::Selecting, Kind::Offer | Kind::Ack | Kind::Nak)
            | (_, Kind::Discover | Kind::Offer | Kind::Request | Kind::Decline | Kind::Release) => Vec::new(),
        }
    }

    fn decline(&mut self, now: Moment) -> Vec<Action> {
        let State::Bound(lease) = self.state.clone() else { return Vec::new() };
        self.begin(now);
        let message = Message::of_client(Kind::Decline, self.identity.mac, self.xid)
            .with(option::ADDRESS, lease.ip.octets())
            .with(option::SERVER, lease.server.octets())
            .with(option::CLIENT_ID, self.identity.client_id.clone());
        self.had = None;
        self.start_over(now);
        self.due = Some(now + AFTER_DECLINE);
        vec![Action::Send { message, to: To::All }]
    }
}
