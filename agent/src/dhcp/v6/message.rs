//! Messages of DHCPv6 (RFC 8415 §8) and their options (§21).
//!
//! What a server sends is read leniently: an option that is no good is as if it were not there, and the others stay.

use std::net::Ipv6Addr;
use std::time::Duration;

/// Where clients listen, where servers do, and the group of all servers (RFC 8415 §7).
pub const CLIENT_PORT: u16 = 546;
/// Where servers listen.
pub const SERVER_PORT: u16 = 547;
/// All servers and relay agents on the link.
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// Numbers of options.
pub(crate) mod option {
    pub(crate) const CLIENT_ID: u16 = 1;
    pub(crate) const SERVER_ID: u16 = 2;
    pub(crate) const IA_NA: u16 = 3;
    pub(crate) const ADDRESS: u16 = 5;
    pub(crate) const WANTED: u16 = 6;
    pub(crate) const PREFERENCE: u16 = 7;
    pub(crate) const ELAPSED: u16 = 8;
    pub(crate) const STATUS: u16 = 13;
    pub(crate) const DNS: u16 = 23;
    pub(crate) const DOMAINS: u16 = 24;
    pub(crate) const FQDN: u16 = 39;
}

/// Status codes (RFC 8415 §21.13).
pub(crate) mod status {
    pub(crate) const SUCCESS: u16 = 0;
    pub(crate) const NO_BINDING: u16 = 3;
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Is there a server?
    Solicit,
    /// A server has an address.
    Advertise,
    /// The client wants it.
    Request,
    /// Does the client's address belong here?
    Confirm,
    /// The client wants to keep it, by its own server.
    Renew,
    /// The client wants to keep it, by any server.
    Rebind,
    /// A server's answer to all but the first.
    Reply,
    /// The client needs it no more.
    Release,
    /// The client does not take it: somebody else uses it.
    Decline,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Solicit,
        Self::Advertise,
        Self::Request,
        Self::Confirm,
        Self::Renew,
        Self::Rebind,
        Self::Reply,
        Self::Release,
        Self::Decline,
    ];

    fn number(self) -> u8 {
        // The order of the enum is that of RFC 8415 §7.3, which begins with 1.
        self as u8 + 1
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is for.
    pub kind: Kind,
    /// Joins questions and answers; 24 bits.
    pub xid: u32,
    /// Options by number, in the order of the message.
    pub options: Vec<(u16, Vec<u8>)>,
}

/// An identity association for an address (RFC 8415 §21.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    /// Which of the client's; it chose the number.
    pub id: u32,
    /// After which time to ask the same server for more; zero leaves it to the client.
    pub t1: u32,
    /// After which time to ask every server for more.
    pub t2: u32,
    /// What is in it.
    pub options: Vec<(u16, Vec<u8>)>,
}

/// An address with its lifetimes (RFC 8415 §21.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leased {
    /// The address.
    pub address: Ipv6Addr,
    /// How long it is used for new connections, in seconds.
    pub preferred: u32,
    /// How long it is used at all, in seconds.
    pub valid: u32,
}

impl Message {
    /// One without options.
    pub fn new(kind: Kind, xid: u32) -> Self {
        Self { kind, xid: xid & 0x00ff_ffff, options: Vec::new() }
    }

    /// With an option.
    #[must_use]
    pub fn with(mut self, number: u16, value: impl Into<Vec<u8>>) -> Self {
        self.options.push((number, value.into()));
        self
    }

    /// The first option of a number.
    pub fn option(&self, number: u16) -> Option<&[u8]> {
        find(&self.options, number)
    }

    /// How willing the server is: 0 to 255.
    pub fn preference(&self) -> u8 {
        self.option(option::PREFERENCE).and_then(|value| value.first().copied()).unwrap_or(0)
    }

    /// The client's association of that number.
    pub fn association(&self, id: u32) -> Option<Association> {
        let all = self.options.iter().filter(|(number, _)| *number == option::IA_NA);
        all.filter_map(|(_, value)| Association::decode(value)).find(|association| association.id == id)
    }

    /// Servers for names.
    pub fn dns_servers(&self) -> Vec<Ipv6Addr> {
        let bytes = self.option(option::DNS).unwrap_or_default();
        bytes.as_chunks::<16>().0.iter().map(|bytes| Ipv6Addr::from(*bytes)).collect()
    }

    /// The first of the domains to search in; empty when there is none.
    pub fn domain(&self) -> String {
        self.option(option::DOMAINS).and_then(name).unwrap_or_default()
    }

    /// As it goes into a UDP datagram.
    pub fn encode(&self) -> Vec<u8> {
        let [_, a, b, c] = self.xid.to_be_bytes();
        let mut bytes = vec![self.kind.number(), a, b, c];
        write_options(&self.options, &mut bytes);
        bytes
    }

    /// Reads the payload of a UDP datagram; `None` for what is no message between a client and a server.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let ([kind, a, b, c], rest) = bytes.split_first_chunk()?;
        let kind = Kind::ALL.into_iter().find(|known| known.number() == *kind)?;
        Some(Self { kind, xid: u32::from_be_bytes([0, *a, *b, *c]), options: read_options(rest) })
    }
}

impl Association {
    /// One of the client's, perhaps with an address. Its times are the server's to choose.
    pub fn of_client(id: u32, address: Option<Ipv6Addr>) -> Self {
        let leased = |address| Leased { address, preferred: 0, valid: 0 };
        let options = address.map(leased).map(|leased| (option::ADDRESS, leased.encode()));
        Self { id, t1: 0, t2: 0, options: options.into_iter().collect() }
    }

    /// The addresses in it.
    pub fn addresses(&self) -> impl Iterator<Item = Leased> {
        let all = self.options.iter().filter(|(number, _)| *number == option::ADDRESS);
        all.filter_map(|(_, value)| Leased::decode(value))
    }

    /// As the option holds it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = [self.id, self.t1, self.t2].map(u32::to_be_bytes).concat();
        write_options(&self.options, &mut bytes);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.split_first_chunk::<12>()?;
        let [id, t1, t2] = [0, 4, 8].map(|at| read_u32(words, at).unwrap_or(0));
        Some(Self { id, t1, t2, options: read_options(rest) })
    }
}

impl Leased {
    /// As the option holds it.
    pub fn encode(&self) -> Vec<u8> {
        let times = [self.preferred, self.valid].map(u32::to_be_bytes).concat();
        [&self.address.octets()[..], &times].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (address, _) = bytes.split_first_chunk::<16>()?;
        let (preferred, valid) = (read_u32(bytes, 16)?, read_u32(bytes, 20)?);
        // RFC 8415 §21.6: such a one is not heeded.
        (preferred <= valid).then(|| Self { address: Ipv6Addr::from(*address), preferred, valid })
    }
}

/// What a server says of a message or an association: a code, and a text without what a terminal or a log would obey.
pub fn status(options: &[(u16, Vec<u8>)]) -> (u16, Option<String>) {
    let Some(([a, b], text)) = find(options, option::STATUS).and_then(<[u8]>::split_first_chunk) else {
        return (status::SUCCESS, None);
    };
    let text: String = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect();
    (u16::from_be_bytes([*a, *b]), Some(text).filter(|text| !text.is_empty()))
}

/// How long a number of seconds lasts; all ones last for ever (RFC 8415 §7.7).
pub fn lasts(seconds: u32) -> Option<Duration> {
    (seconds != u32::MAX).then(|| Duration::from_secs(seconds.into()))
}

fn find(options: &[(u16, Vec<u8>)], wanted: u16) -> Option<&[u8]> {
    options.iter().find(|(number, _)| *number == wanted).map(|(_, value)| value.as_slice())
}

fn write_options(options: &[(u16, Vec<u8>)], bytes: &mut Vec<u8>) {
    for (number, value) in options {
        // None of ours is longer than its length can say.
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        bytes.extend(number.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(&value[..length.into()]);
    }
}

/// Reads options up to the first that is cut short.
fn read_options(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    while let Some(([a, b, c, d], rest)) = bytes.split_first_chunk() {
        let length = u16::from_be_bytes([*c, *d]);
        let Some((value, rest)) = rest.split_at_checked(length.into()) else { break };
        options.push((u16::from_be_bytes([*a, *b]), value.to_vec()));
        bytes = rest;
    }
    options
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The first name of a list in the form of DNS (RFC 8415 §10), if it is one of letters, digits, '-' and '_'.
fn name(mut bytes: &[u8]) -> Option<String> {
    let mut labels = Vec::new();
    while let Some((&length, rest)) = bytes.split_first().filter(|(length, _)| **length > 0) {
        let (label, rest) = rest.split_at_checked(length.into())?;
        let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        labels.push(String::from_utf8(label.to_vec()).ok().filter(|_| label.iter().all(is_fit))?);
        bytes = rest;
    }
    Some(labels.join("."))
}

/// A host's name for option 39 (RFC 4704): the server shall see to it that DNS knows it.
pub(crate) fn fqdn(hostname: &str) -> Vec<u8> {
    const SERVER_UPDATES: u8 = 1;
    let mut bytes = vec![SERVER_UPDATES];
    for label in hostname.split('.') {
        // A host name's labels have at most 63 bytes.
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    // A name of one label is a part of one, which has no end (RFC 4704 §4.2).
    if hostname.contains('.') {
        bytes.push(0);
    }
    bytes
}
