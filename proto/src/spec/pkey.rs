//! Partitions of InfiniBand, which a link is in as an Ethernet link is in a VLAN.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::net::{ParseError, as_text};

/// The bit of full membership. The kernel sets it for every link: a limited member would not reach the other limited ones.
const FULL_MEMBER: u16 = 0x8000;

/// The key of a partition, with the bit of full membership (InfiniBand Architecture Specification, volume 1, 10.9.1):
/// `0x0001` and `0x8001` are the same here, as they are for the kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartitionKey(u16);

impl PartitionKey {
    /// The key, with the bit of full membership.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u32> for PartitionKey {
    type Error = ParseError;

    fn try_from(number: u32) -> Result<Self, ParseError> {
        match u16::try_from(number) {
            Ok(key) if key & !FULL_MEMBER != 0 => Ok(Self(key | FULL_MEMBER)),
            Ok(_) | Err(_) => {
                let why =
                    "use 0x0001 to 0x7fff; with the bit 0x8000, which is set in any case, 0x8001 to 0xffff";
                Err(ParseError::new(&format!("{number:#06x}"), "a partition key", why))
            }
        }
    }
}

impl From<PartitionKey> for u32 {
    fn from(key: PartitionKey) -> u32 {
        key.0.into()
    }
}

impl FromStr for PartitionKey {
    type Err = ParseError;

    /// `0x8001` or `32769`. `ip` reads a leading zero as octal, which nobody means.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::new(text, "a partition key", "write it as 0x8001 or 32769");
        let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None => (text, 10),
        };
        let is_plain =
            digits.chars().all(|digit| digit.is_digit(radix)) && (radix == 16 || !text.starts_with('0'));
        u32::from_str_radix(digits, radix).ok().filter(|_| is_plain).ok_or_else(bad)?.try_into()
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

impl fmt::Debug for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

as_text!(PartitionKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_hex_or_decimal_and_is_of_a_full_member() {
        for (text, key) in [
            ("0x8001", "0x8001"),
            ("0x1", "0x8001"),
            ("32769", "0x8001"),
            ("1", "0x8001"),
            ("0x7fff", "0xffff"),
            ("0xFFFF", "0xffff"),
        ] {
            assert_eq!(text.parse::<PartitionKey>().unwrap().to_string(), key, "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "", "0", "0x", "0x0", "0x8000", "32768", "0x10000", "65536", "8001x", "0100001", "-1", "+1",
            "0x+1",
        ] {
            assert!(text.parse::<PartitionKey>().is_err(), "{text} was taken");
        }
    }
}
