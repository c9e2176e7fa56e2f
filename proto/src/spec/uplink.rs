//! What a link is plugged into or comes from, and how links share it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::GuestRef;
use crate::net::{LinkName, MacAddr, ParseError, as_text};

/// What a link is plugged into, or comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Uplink {
    /// A bridge or another link of the host, by its name.
    Link(LinkName),
    /// `mac:ADDRESS`: the physical link of the host with that address.
    Mac(MacAddr),
    /// `dummy`: nothing.
    Dummy,
    /// `host`: the host itself.
    Host,
    /// `guest:GUEST`: another guest of the host.
    Guest(GuestRef),
}

impl Uplink {
    /// The name, when it is one.
    pub fn link(&self) -> Option<&LinkName> {
        match self {
            Self::Link(name) => Some(name),
            Self::Mac(_) | Self::Dummy | Self::Host | Self::Guest(_) => None,
        }
    }
}

impl From<LinkName> for Uplink {
    fn from(name: LinkName) -> Self {
        Self::Link(name)
    }
}

impl FromStr for Uplink {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.strip_prefix("mac:") {
            Some(seed) if seed.starts_with("U:") => {
                let why = "write the address itself, such as mac:02:00:5e:10:00:01";
                Err(ParseError::new(text, "an uplink", why))
            }
            Some(address) => Ok(Self::Mac(address.parse()?)),
            None if text == "dummy" => Ok(Self::Dummy),
            None if text == "host" => Ok(Self::Host),
            None => match text.strip_prefix("guest:") {
                Some(guest) => Ok(Self::Guest(guest.parse()?)),
                None => Ok(Self::Link(text.parse()?)),
            },
        }
    }
}

impl fmt::Display for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(name) => name.fmt(f),
            Self::Mac(address) => write!(f, "mac:{address}"),
            Self::Dummy => f.write_str("dummy"),
            Self::Host => f.write_str("host"),
            Self::Guest(guest) => write!(f, "guest:{guest}"),
        }
    }
}

as_text!(Uplink);

/// How links share their parent. The words of the kinds differ, so the word alone tells which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Mode {
    /// Of a macvlan.
    Macvlan(MacvlanMode),
    /// Of an ipvlan.
    Ipvlan(IpvlanMode),
    /// Of an IPoIB link.
    Ipoib(IpoibMode),
}

/// Which frames the macvlans of one parent pass to each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// All of them, directly.
    #[default]
    Bridge,
    /// None, not even by way of the network.
    Private,
    /// Those that the switch outside sends back (802.1Qbg, "hairpin").
    Vepa,
    /// There is but one, which has the parent's MAC address.
    Passthru,
}

/// Where the ipvlans of one parent are told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// In the guest: ARP and broadcasts reach it.
    #[default]
    L2,
    /// In the host, which routes; no broadcasts.
    L3,
    /// As L3, and the host's netfilter sees the packets.
    L3s,
}

/// What carries the packets of an IPoIB link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpoibMode {
    /// Datagrams, as large as the fabric's MTU (RFC 4391).
    #[default]
    Datagram,
    /// Connections, which take larger packets (RFC 4755). Not every port can.
    Connected,
}

/// Every mode with its word.
const MODES: [(Mode, &str); 9] = [
    (Mode::Macvlan(MacvlanMode::Bridge), "bridge"),
    (Mode::Macvlan(MacvlanMode::Private), "private"),
    (Mode::Macvlan(MacvlanMode::Vepa), "vepa"),
    (Mode::Macvlan(MacvlanMode::Passthru), "passthru"),
    (Mode::Ipvlan(IpvlanMode::L2), "l2"),
    (Mode::Ipvlan(IpvlanMode::L3), "l3"),
    (Mode::Ipvlan(IpvlanMode::L3s), "l3s"),
    (Mode::Ipoib(IpoibMode::Datagram), "datagram"),
    (Mode::Ipoib(IpoibMode::Connected), "connected"),
];

impl FromStr for Mode {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        MODES.into_iter().find(|(_, word)| *word == text).map(|(mode, _)| mode).ok_or_else(|| {
            let why = "use bridge, private, vepa or passthru for macvlan, l2, l3 or l3s for ipvlan, datagram or connected \
                       for ipoib";
            ParseError::new(text, "a mode", why)
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Macvlan(MacvlanMode::Bridge) => "bridge",
            Self::Macvlan(MacvlanMode::Private) => "private",
            Self::Macvlan(MacvlanMode::Vepa) => "vepa",
            Self::Macvlan(MacvlanMode::Passthru) => "passthru",
            Self::Ipvlan(IpvlanMode::L2) => "l2",
            Self::Ipvlan(IpvlanMode::L3) => "l3",
            Self::Ipvlan(IpvlanMode::L3s) => "l3s",
            Self::Ipoib(IpoibMode::Datagram) => "datagram",
            Self::Ipoib(IpoibMode::Connected) => "connected",
        })
    }
}

as_text!(Mode);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uplinks_and_modes_survive_their_text() {
        for text in
            ["br0", "eth1.100", "mac:02:00:5e:10:00:01", "dummy", "host", "guest:db", "guest:docker:db"]
        {
            assert_eq!(text.parse::<Uplink>().unwrap().to_string(), text);
        }
        assert_eq!("mac:02:00:5E:AA:BB:CC".parse::<Uplink>(), "mac:02:00:5e:aa:bb:cc".parse());
        for (mode, word) in MODES {
            assert_eq!((word.parse(), mode.to_string()), (Ok(mode), word.to_owned()));
        }
        for text in
            ["guest:", "guest:pid:1", "host:a", "mac:", "mac:eth0", "mac:U:seed", "mac:01:00:5e:00:00:01", ""]
        {
            assert!(text.parse::<Uplink>().is_err(), "{text} was taken");
        }
    }
}
