//! Where in a message we are, and what parsing does there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::IpNet;
use uuid::Uuid;

use crate::net::{ParseError, prefix};
use crate::reason::Failure;

/// The path of a field, spelled out only when a refusal needs it.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    above: Option<&'a At<'a>>,
    here: Here,
}

#[derive(Clone, Copy)]
enum Here {
    Field(&'static str),
    Item(usize),
}

impl<'a> At<'a> {
    /// A field of the message itself.
    pub(crate) const fn top(name: &'static str) -> Self {
        Self { above: None, here: Here::Field(name) }
    }

    /// A field of this field.
    pub(crate) const fn field(&'a self, name: &'static str) -> Self {
        Self { above: Some(self), here: Here::Field(name) }
    }

    /// An item of this list, from 0.
    pub(crate) const fn item(&'a self, index: usize) -> Self {
        Self { above: Some(self), here: Here::Item(index) }
    }

    /// The refusal of what is here.
    pub(crate) fn refuse(&self, why: impl fmt::Display) -> Failure {
        Failure::field(&self.to_string(), why)
    }

    /// Parses text that must be there.
    pub(crate) fn required<T: Text>(&self, text: &str) -> Result<T, Failure> {
        match text {
            "" => Err(self.refuse(format_args!("it is required: give {}", T::WHAT))),
            text => T::parse(text).map_err(|why| self.refuse(why)),
        }
    }

    /// Parses text whose absence is said by nothing.
    pub(crate) fn optional<T: Text>(&self, text: &str) -> Result<Option<T>, Failure> {
        match text {
            "" => Ok(None),
            text => T::parse(text).map(Some).map_err(|why| self.refuse(why)),
        }
    }

    /// Parses a number.
    pub(crate) fn number<T: TryFrom<u32, Error = ParseError>>(&self, number: u32) -> Result<T, Failure> {
        T::try_from(number).map_err(|why| self.refuse(why))
    }

    /// Parses every item of a list of at most `most` items.
    pub(crate) fn list<W, T>(
        &self,
        items: impl IntoIterator<Item = W, IntoIter: ExactSizeIterator>,
        most: usize,
        mut parse: impl FnMut(&At<'_>, W) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let items = items.into_iter();
        if items.len() > most {
            return Err(self.refuse(format_args!("{} are too many: use at most {most}", items.len())));
        }
        items.enumerate().map(|(index, item)| parse(&self.item(index), item)).collect()
    }

    /// What must be there.
    pub(crate) fn present<T>(&self, message: Option<T>) -> Result<T, Failure> {
        message.ok_or_else(|| self.refuse("it is required"))
    }

    /// Parses an enum's value. Zero stands for none, and a value that is not in our contract is refused: it comes from
    /// a newer one.
    pub(crate) fn variant<E: TryFrom<i32>>(&self, value: i32, known: &str) -> Result<Option<E>, Failure> {
        match value {
            0 => Ok(None),
            value => E::try_from(value).map(Some).map_err(|_| {
                self.refuse(format_args!("value {value} is from a newer contract: this one knows {known}"))
            }),
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            above.fmt(f)?;
        }
        match (self.above, self.here) {
            (None, Here::Field(name)) => f.write_str(name),
            (Some(_), Here::Field(name)) => write!(f, ".{name}"),
            (_, Here::Item(index)) => write!(f, "[{index}]"),
        }
    }
}

/// What a field's text can stand for.
pub(crate) trait Text: Sized {
    /// With its article, for `it is required: give …`.
    const WHAT: &'static str;

    fn parse(text: &str) -> Result<Self, ParseError>;
}

/// Types of ours say themselves why a text is none of them.
macro_rules! text {
    ($($type:ty: $what:literal),* $(,)?) => {$(
        impl Text for $type {
            const WHAT: &'static str = $what;
            fn parse(text: &str) -> Result<Self, ParseError> {
                text.parse()
            }
        }
    )*};
}

text! {
    crate::net::LinkName: "a link's name of 1 to 15 bytes",
    crate::net::MacAddr: "a MAC address",
    crate::net::InterfaceAddr: "an address with the length of its prefix",
    crate::dhcp::Hostname: "the name of a host",
    crate::dhcp::ClientId: "a client id",
    crate::spec::Uplink: "a bridge, a link of the host, mac:ADDRESS or dummy",
    crate::spec::GuestRef: "docker:NAME, podman:NAME, lxc:NAME, containerd:ID, crio:ID, machined:NAME, pid:N, netns:NAME or a bare name",
    crate::spec::FleetName: "the fleet's name",
    crate::attachment::Runtime: "docker, pid or netns",
}

impl Text for IpAddr {
    const WHAT: &'static str = "an address without prefix length";

    fn parse(text: &str) -> Result<Self, ParseError> {
        let hint = "write it as 192.0.2.1 or 2001:db8::1, without prefix length or zone";
        IpAddr::from_str(text).map_err(|_| ParseError::new(text, "an address", hint))
    }
}

impl Text for Ipv4Addr {
    const WHAT: &'static str = "an IPv4 address";

    fn parse(text: &str) -> Result<Self, ParseError> {
        Self::from_str(text).map_err(|_| ParseError::new(text, "an IPv4 address", "write it as 192.0.2.1"))
    }
}

impl Text for IpNet {
    const WHAT: &'static str = "a prefix";

    fn parse(text: &str) -> Result<Self, ParseError> {
        let hint = "write it as 198.51.100.0/24 or 2001:db8:1::/48";
        prefix(text).ok_or_else(|| ParseError::new(text, "a prefix", hint))
    }
}

/// Length of the one form of a UUID that we take: with hyphens.
const UUID_LENGTH: usize = 36;

impl Text for Uuid {
    const WHAT: &'static str = "a UUID, such as `uuidgen` prints";

    fn parse(text: &str) -> Result<Self, ParseError> {
        let hint = "write it as 01890a5d-ac96-774b-bcce-b302099a8057";
        match Uuid::try_parse(text) {
            Ok(id) if text.len() == UUID_LENGTH && !id.is_nil() && !id.is_max() => Ok(id),
            Ok(_) | Err(_) => Err(ParseError::new(text, "a UUID", hint)),
        }
    }
}
