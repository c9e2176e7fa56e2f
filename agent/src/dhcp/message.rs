//! Messages of DHCP (RFC 2131 §2) and their options (RFC 2132).
//!
//! What a server sends is read leniently: an option that is no good is as if it were not there, and the others stay.
//! Options that come in pieces are joined (RFC 3396), and those in the `file` and `sname` fields count (option 52).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use pipewright_api::net::MacAddr;

/// Length of the fixed part, in bytes.
const FIXED: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// What every server takes (BOOTP, RFC 951); some drop shorter ones.
const LEAST: usize = 300;
const ETHERNET: [u8; 2] = [1, 6];
const BROADCAST: u16 = 0x8000;

/// Numbers of options.
pub(crate) mod option {
    pub(crate) const PAD: u8 = 0;
    pub(crate) const MASK: u8 = 1;
    pub(crate) const ROUTERS: u8 = 3;
    pub(crate) const DNS: u8 = 6;
    pub(crate) const HOSTNAME: u8 = 12;
    pub(crate) const DOMAIN: u8 = 15;
    pub(crate) const MTU: u8 = 26;
    pub(crate) const BROADCAST: u8 = 28;
    pub(crate) const STATIC_ROUTES: u8 = 33;
    pub(crate) const NTP: u8 = 42;
    pub(crate) const ADDRESS: u8 = 50;
    pub(crate) const LEASE_TIME: u8 = 51;
    pub(crate) const OVERLOAD: u8 = 52;
    pub(crate) const KIND: u8 = 53;
    pub(crate) const SERVER: u8 = 54;
    pub(crate) const WANTED: u8 = 55;
    pub(crate) const TEXT: u8 = 56;
    pub(crate) const LARGEST: u8 = 57;
    pub(crate) const T1: u8 = 58;
    pub(crate) const T2: u8 = 59;
    pub(crate) const CLIENT_ID: u8 = 61;
    pub(crate) const SEARCH: u8 = 119;
    pub(crate) const CLASSLESS_ROUTES: u8 = 121;
    pub(crate) const END: u8 = 255;
}

/// What a message is for (option 53).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Is there a server?
    Discover,
    /// A server has an address.
    Offer,
    /// The client wants it, or wants to keep it.
    Request,
    /// The client does not take it: somebody else uses it.
    Decline,
    /// It is the client's.
    Ack,
    /// It is not.
    Nak,
    /// The client needs it no more.
    Release,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Discover, Self::Offer, Self::Request, Self::Decline, Self::Ack, Self::Nak, Self::Release];

    fn number(self) -> u8 {
        // The order of the enum is that of RFC 2132 §9.6, which begins with 1.
        self as u8 + 1
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is for.
    pub kind: Kind,
    /// From a server (`op` 2).
    pub is_reply: bool,
    /// Joins questions and answers.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The client hears only broadcasts.
    pub broadcast: bool,
    /// The client's address, when it has one that it can be reached at.
    pub ciaddr: Ipv4Addr,
    /// The client's address as the server gives it.
    pub yiaddr: Ipv4Addr,
    /// The client's MAC address.
    pub mac: MacAddr,
    /// Options but for 53, by number.
    pub options: BTreeMap<u8, Vec<u8>>,
}

impl Message {
    /// A client's message.
    pub fn of_client(kind: Kind, mac: MacAddr, xid: u32) -> Self {
        Self {
            kind,
            is_reply: false,
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            mac,
            options: BTreeMap::new(),
        }
    }

    /// With an option, up to 255 bytes of it.
    #[must_use]
    pub fn with(mut self, number: u8, value: impl Into<Vec<u8>>) -> Self {
        let mut value = value.into();
        value.truncate(255);
        self.options.insert(number, value);
        self
    }

    /// An option that is one address.
    pub fn address(&self, number: u8) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.options.get(&number)?.as_slice().try_into().ok()?;
        Some(bytes.into())
    }

    /// An option that is a list of addresses.
    pub fn addresses(&self, number: u8) -> Vec<Ipv4Addr> {
        let bytes = self.options.get(&number).map(Vec::as_slice).unwrap_or_default();
        bytes.chunks_exact(4).map(|four| Ipv4Addr::new(four[0], four[1], four[2], four[3])).collect()
    }

    /// An option that is a time in seconds.
    pub fn time(&self, number: u8) -> Option<Duration> {
        let bytes: [u8; 4] = self.options.get(&number)?.as_slice().try_into().ok()?;
        Some(Duration::from_secs(u32::from_be_bytes(bytes).into()))
    }

    /// An option that is a number of two bytes.
    pub fn number(&self, number: u8) -> Option<u16> {
        Some(u16::from_be_bytes(self.options.get(&number)?.as_slice().try_into().ok()?))
    }

    /// An option that is text, without what a terminal or a log would obey.
    pub fn text(&self, number: u8) -> Option<String> {
        let text = String::from_utf8_lossy(self.options.get(&number)?);
        let text: String = text.trim_end_matches('\0').chars().filter(|c| !c.is_control()).collect();
        Some(text).filter(|text| !text.is_empty())
    }

    /// As it goes into a UDP datagram.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[0] = if self.is_reply { 2 } else { 1 };
        bytes[1..3].copy_from_slice(&ETHERNET);
        bytes[4..8].copy_from_slice(&self.xid.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.secs.to_be_bytes());
        bytes[10..12].copy_from_slice(&(if self.broadcast { BROADCAST } else { 0 }).to_be_bytes());
        bytes[12..16].copy_from_slice(&self.ciaddr.octets());
        bytes[16..20].copy_from_slice(&self.yiaddr.octets());
        bytes[28..34].copy_from_slice(&self.mac.octets());
        bytes.extend(MAGIC);
        bytes.extend([option::KIND, 1, self.kind.number()]);
        for (number, value) in &self.options {
            // An option that is longer than its length byte can say comes in pieces (RFC 3396 §7). One without a value is
            // none: `chunks` gives no piece of it.
            for piece in value.chunks(255) {
                bytes.extend([*number, piece.len() as u8]);
                bytes.extend(piece);
            }
        }
        bytes.push(option::END);
        bytes.resize(bytes.len().max(LEAST), option::PAD);
        bytes
    }

    /// Reads the payload of a UDP datagram; `None` for what is no message of DHCP over Ethernet.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let fixed = bytes.get(..FIXED)?;
        let rest = bytes[FIXED..].strip_prefix(&MAGIC)?;
        if fixed[1..3] != ETHERNET {
            return None;
        }
        let mut options = BTreeMap::new();
        read_options(rest, &mut options);
        // Which of `file` (1) and `sname` (2) hold options, too, in that order (RFC 3396 §5).
        let overload = options.remove(&option::OVERLOAD).and_then(|value| value.first().copied());
        let overload = overload.unwrap_or(0);
        if overload & 1 != 0 {
            read_options(&fixed[108..236], &mut options);
        }
        if overload & 2 != 0 {
            read_options(&fixed[44..108], &mut options);
        }
        let kind = options.remove(&option::KIND)?;
        let address = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
        Some(Self {
            kind: Kind::from_number(*kind.first()?)?,
            is_reply: fixed[0] == 2,
            xid: u32::from_be_bytes(fixed[4..8].try_into().ok()?),
            secs: u16::from_be_bytes(fixed[8..10].try_into().ok()?),
            broadcast: u16::from_be_bytes(fixed[10..12].try_into().ok()?) & BROADCAST != 0,
            ciaddr: address(12),
            yiaddr: address(16),
            mac: MacAddr::try_from(<[u8; 6]>::try_from(&fixed[28..34]).ok()?).ok()?,
            options,
        })
    }
}

/// Reads options up to the end mark or to the first that is cut short.
fn read_options(mut bytes: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) {
    while let Some((&number, rest)) = bytes.split_first() {
        match number {
            option::PAD => bytes = rest,
            option::END => return,
            _ => {
                let Some((&length, rest)) = rest.split_first() else { return };
                let Some((value, rest)) = rest.split_at_checked(length.into()) else { return };
                options.entry(number).or_default().extend(value);
                bytes = rest;
            }
        }
    }
}
