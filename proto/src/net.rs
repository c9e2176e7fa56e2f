//! Names, addresses and numbers of networks: text becomes one of these at the edge, or an error that says why.
//! The kernel and OVSDB accept much more than is safe (`reject` tests of this module), so nothing unchecked goes past here.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use arrayvec::ArrayString;
use ipnet::IpNet;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// Text that is not what it should be. Reads as `"eth/0" is not a link name: use …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not {what}: {why}", text.escape_debug())]
pub struct ParseError {
    text: String,
    what: &'static str,
    why: String,
}

impl ParseError {
    /// `text` is not `what`, because of `why` (which says what to do instead).
    pub fn new(text: &str, what: &'static str, why: impl Into<String>) -> Self {
        // An error must not carry a megabyte back to the caller, nor into a log.
        Self { text: text.chars().take(80).collect(), what, why: why.into() }
    }
}

/// Gives a checked type its text form in both directions: `Display`, `FromStr`, and serde as a string.
macro_rules! as_text {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = ParseError;
            fn try_from(text: String) -> Result<Self, ParseError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    };
}
#[cfg(feature = "grpc")]
pub(crate) use as_text;

/// Longest name that the kernel takes for a link (IFNAMSIZ - 1), in bytes.
pub const LINK_NAME_MAX: usize = 15;
/// Prefix of the names that we derive; no caller may use it.
pub const RESERVED_PREFIX: &str = "pw";

/// The name of a link or of a bridge.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(ArrayString<LINK_NAME_MAX>);

impl LinkName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `pw` and 12 base32 characters, from 60 bits of a hash. Names of this form are ours alone.
    pub fn derived(hash: u64) -> Self {
        const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let digits = (0..12).map(|i| char::from(DIGITS[(hash >> (5 * i)) as usize & 31]));
        let mut name = ArrayString::new();
        name.push_str(RESERVED_PREFIX);
        digits.for_each(|digit| name.push(digit));
        Self(name)
    }

    /// Whether the name has the form of [`LinkName::derived`].
    pub fn is_derived(&self) -> bool {
        let base32 = |c: char| c.is_ascii_lowercase() || ('2'..='7').contains(&c);
        self.0.len() == 14
            && self.0.strip_prefix(RESERVED_PREFIX).is_some_and(|rest| rest.chars().all(base32))
    }
}

impl FromStr for LinkName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = |why: &str| Err(ParseError::new(text, "a link name", why));
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let Some(name) = ArrayString::from(text).ok().filter(|name| !name.is_empty()) else {
            return refuse("use 1 to 15 bytes");
        };
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return refuse("begin with a letter");
        }
        if !text.chars().all(allowed) {
            return refuse("use letters, digits, '_', '.' and '-' only");
        }
        if matches!(text, "lo" | "all" | "default") {
            return refuse("the kernel uses this name itself");
        }
        Ok(Self(name))
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text!(LinkName);

/// A unicast MAC address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// The address in network order.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }

    /// A locally administered address (`02:…`) from the low 40 bits of a hash.
    pub fn derived(hash: u64) -> Self {
        let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
        Self([0x02, a, b, c, d, e])
    }

    /// The same address with another first byte that keeps it unicast. `0xfe` keeps a host's end from becoming the
    /// lowest MAC of a bridge, whose own address would follow it.
    pub fn with_first_octet(self, first: u8) -> Self {
        let [_, a, b, c, d, e] = self.0;
        Self([first & 0xfe, a, b, c, d, e])
    }

    /// pipework's `U:SEED`: `02:` and the first five bytes of MD5 of what the script's `echo $SEED` prints. The script
    /// leaves its argument unquoted, so runs of white space count as one blank, and a leading `-n` is taken by echo,
    /// which then ends without the newline.
    pub fn from_seed(seed: &str) -> Self {
        let words: Vec<&str> = seed.split_whitespace().collect();
        let digest = Md5::digest(match words.split_first() {
            Some((&"-n", words)) => words.join(" "),
            _ => format!("{}\n", words.join(" ")),
        });
        Self([0x02, digest[0], digest[1], digest[2], digest[3], digest[4]])
    }
}

impl TryFrom<[u8; 6]> for MacAddr {
    type Error = ParseError;

    fn try_from(octets: [u8; 6]) -> Result<Self, ParseError> {
        let address = Self(octets);
        let refuse = |why| Err(ParseError::new(&address.to_string(), "a unicast MAC address", why));
        if octets == [0; 6] {
            return refuse("all zeros is no address");
        }
        if octets[0] & 1 == 1 {
            return refuse("the first byte must be even, or frames from it are multicast");
        }
        Ok(address)
    }
}

impl FromStr for MacAddr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if let Some(seed) = text.strip_prefix("U:") {
            return Ok(Self::from_seed(seed));
        }
        let bad = || {
            ParseError::new(text, "a MAC address", "write six pairs of hex digits, such as 02:00:5e:10:00:01")
        };
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2 && p.chars().all(|c| c.is_ascii_hexdigit()));
            *octet = part.and_then(|p| u8::from_str_radix(p, 16).ok()).ok_or_else(bad)?;
        }
        if parts.next().is_some() {
            return Err(bad());
        }
        Self::try_from(octets)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

as_text!(MacAddr);

/// An IEEE 802.1Q VLAN that can carry traffic: 1 to 4094. OVSDB takes 0 and 4095 too, which are not VLANs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct VlanId(u16);

impl VlanId {
    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u32> for VlanId {
    type Error = ParseError;

    fn try_from(number: u32) -> Result<Self, ParseError> {
        match u16::try_from(number) {
            Ok(n @ 1..=4094) => Ok(Self(n)),
            _ => Err(ParseError::new(&number.to_string(), "a VLAN", "use 1 to 4094")),
        }
    }
}

impl From<VlanId> for u32 {
    fn from(vlan: VlanId) -> u32 {
        vlan.0.into()
    }
}

impl FromStr for VlanId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let number: u32 = text.parse().map_err(|_| ParseError::new(text, "a VLAN", "use 1 to 4094"))?;
        Self::try_from(number)
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A link's MTU in bytes: 1280 (the least that IPv6 allows, RFC 8200 §5) to 9216.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Mtu(u32);

impl Mtu {
    /// What Ethernet has without agreement.
    pub const ETHERNET: Self = Self(1500);

    /// Bytes.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Mtu {
    type Error = ParseError;

    fn try_from(bytes: u32) -> Result<Self, ParseError> {
        match bytes {
            1280..=9216 => Ok(Self(bytes)),
            _ => Err(ParseError::new(&bytes.to_string(), "an MTU", "use 1280 to 9216 bytes")),
        }
    }
}

impl From<Mtu> for u32 {
    fn from(mtu: Mtu) -> u32 {
        mtu.0
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address for an interface with the length of its subnet's prefix: `192.0.2.10/24`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceAddr(IpNet);

impl InterfaceAddr {
    /// Address and prefix length.
    pub fn net(self) -> IpNet {
        self.0
    }

    /// The address alone.
    pub fn addr(self) -> IpAddr {
        self.0.addr()
    }
}

impl FromStr for InterfaceAddr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = |why: &str| ParseError::new(text, "an interface address", why);
        if !text.contains('/') {
            let length = if text.contains(':') { 64 } else { 24 };
            return Err(refuse(&format!("add the length of its prefix, perhaps {text}/{length}")));
        }
        let net = prefix(text).ok_or_else(|| refuse("write it as 192.0.2.10/24 or 2001:db8::10/64"))?;
        if net.prefix_len() == 0 {
            return Err(refuse("a prefix length of 0 takes in every address"));
        }
        match usable(net.addr()) {
            Err(why) => Err(refuse(why)),
            Ok(()) if is_reserved_in(net) => {
                Err(refuse("it is the subnet's own number or its broadcast address; use one between them"))
            }
            Ok(()) => Ok(Self(net)),
        }
    }
}

/// Address and prefix length. Stricter than `IpNet` itself, which reads the octal 010 of other tools as ten.
pub(crate) fn prefix(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let is_plain =
        length.bytes().all(|digit| digit.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    let length = length.parse().ok().filter(|_| is_plain)?;
    IpNet::new(address.parse().ok()?, length).ok()
}

/// Whether a host of the subnet cannot have this address (RFC 950, RFC 919; /31 and /32 have no such, RFC 3021).
pub(crate) fn is_reserved_in(net: IpNet) -> bool {
    let IpNet::V4(net) = net else { return false };
    net.prefix_len() <= 30 && (net.addr() == net.network() || net.addr() == net.broadcast())
}

/// Whether an address can be one host's (the kernel itself takes most of these).
///
/// # Errors
/// Why not.
pub fn usable(address: IpAddr) -> Result<(), &'static str> {
    if address.is_unspecified() {
        return Err("this address stands for no host");
    }
    if address.is_loopback() {
        return Err("loopback addresses never leave a host");
    }
    if address.is_multicast() {
        return Err("multicast addresses belong to groups, not to hosts");
    }
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() => Err("this address stands for every host"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240 => {
            Err("this range is reserved (RFC 6890)")
        }
        IpAddr::V4(v4) if v4.is_link_local() => {
            Err("link-local addresses are chosen by the host itself (RFC 3927)")
        }
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err("write an IPv4 address as IPv4"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Err("the kernel makes link-local addresses itself"),
        IpAddr::V4(_) | IpAddr::V6(_) => Ok(()),
    }
}

impl fmt::Display for InterfaceAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for InterfaceAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

as_text!(InterfaceAddr);
