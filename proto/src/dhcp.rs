//! What DHCP (RFC 2131) is told and tells.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::net::{InterfaceAddr, ParseError, as_text};

/// What an option of DHCP can hold, in bytes.
const OPTION_MAX: usize = 255;

/// What is asked of DHCP for one link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dhcp {
    /// `None`: the guest's name, if it is a host name.
    pub hostname: Option<Hostname>,
    /// `None`: from the container's id, or the MAC address.
    pub client_id: Option<ClientId>,
}

/// What is asked of DHCPv6 for one link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dhcp6 {
    /// `None`: the guest's name, if it is a host name.
    pub hostname: Option<Hostname>,
}

/// The name of a host (RFC 1123 §2.1), perhaps with its domain: 1 to 253 letters, digits, '-' and '.'.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(String);

impl Hostname {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hostname {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let is_label = |label: &str| {
            let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(is_fit)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        match text.len() <= 253 && text.split('.').all(is_label) {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseError::new(
                text,
                "a host name",
                "use letters, digits and '-', up to 63 between dots, with no '-' at either end",
            )),
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text!(Hostname);

/// Whom a DHCP server knows a client as (option 61, RFC 2132 §9.14).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ClientId {
    /// A text that is no hardware address; sent after a byte 0.
    Text(String),
    /// Two or more bytes, sent as they are.
    Bytes(Vec<u8>),
}

impl ClientId {
    /// As the option holds it.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => [&[0], text.as_bytes()].concat(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

impl FromStr for ClientId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = |why: &str| ParseError::new(text, "a client id", why);
        let byte = |pair: &str| match pair.len() {
            2 => u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+')),
            _ => None,
        };
        let bytes: Option<Vec<u8>> =
            text.contains(':').then(|| text.split(':').map(byte).collect()).flatten();
        let id = match bytes {
            Some(bytes) => Self::Bytes(bytes),
            None if text.is_empty() || text.chars().any(char::is_control) => {
                return Err(refuse("use a text, or bytes such as 01:02:00:5e:10:00:01"));
            }
            None => Self::Text(text.to_owned()),
        };
        match id.to_bytes().len() {
            ..=OPTION_MAX => Ok(id),
            _ => Err(refuse("use at most 254 bytes")),
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Bytes(bytes) => {
                let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                f.write_str(&pairs.join(":"))
            }
        }
    }
}

as_text!(ClientId);

/// What a DHCP server gave, as callers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Address and prefix length.
    pub address: InterfaceAddr,
    /// Option 54; of DHCPv6 where its answer came from.
    pub server: IpAddr,
    /// By the wall clock; `None`: never.
    pub expires_at: Option<SystemTime>,
    /// Option 3.
    pub routers: Vec<IpAddr>,
    /// Option 6.
    pub dns_servers: Vec<IpAddr>,
    /// Option 15; empty when there is none.
    pub domain: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_text_unless_it_is_bytes() {
        let bytes = |text: &str| text.parse::<ClientId>().unwrap().to_bytes();

        assert_eq!(bytes("web"), b"\0web");
        assert_eq!(bytes("01:02:00:5e:10:00:01"), [1, 2, 0, 0x5e, 0x10, 0, 1]);
        assert_eq!(bytes("3f2a/eth1"), b"\x003f2a/eth1");
        assert_eq!(bytes("a:b"), b"\0a:b");
        for text in ["web", "01:02:00:5e:10:00:01", "a:b", "+1:02"] {
            assert_eq!(text.parse::<ClientId>().unwrap().to_string(), text);
        }
        for text in ["", "a\nb", &"x".repeat(255)] {
            assert!(text.parse::<ClientId>().is_err(), "{text} was taken");
        }
    }

    #[test]
    fn a_host_name_has_labels_of_letters_digits_and_hyphens() {
        for text in ["web", "web-1.example.org", "1"] {
            assert_eq!(text.parse::<Hostname>().unwrap().to_string(), text);
        }
        for text in ["", "-web", "web-", "a..b", "a.", "we b", "w_b", &"x".repeat(64), &"x.".repeat(127)] {
            assert!(text.parse::<Hostname>().is_err(), "{text} was taken");
        }
    }
}
