//! Values of arguments: text becomes a checked value before anything is connected.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use pipewright_api::net::{Mtu, VlanId};
use pipewright_api::spec::{Kind, Vlan};

/// `30s`, `500ms`, `2m`, `1h`, or seconds without a unit. Above zero.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || "write it as 30s, 500ms, 2m or 1h".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let millis = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(bad()),
    };
    match millis {
        // A day is longer than anything here takes, and what is added to it does not overflow.
        Some(millis @ 1..=86_400_000) => Ok(Duration::from_millis(millis)),
        _ => Err("use more than zero and at most 24h".to_owned()),
    }
}

/// Kinds as they are typed.
const KINDS: &str = "auto, linux-bridge, ovs, macvlan, ipvlan, vlan or dummy";

/// A kind of link; `None` for `auto`.
pub(crate) fn kind(text: &str) -> Result<Auto<Kind>, String> {
    match text {
        "auto" => Ok(Auto(None)),
        "linux-bridge" => Ok(Auto(Some(Kind::LinuxBridge))),
        "ovs" => Ok(Auto(Some(Kind::Ovs))),
        "macvlan" => Ok(Auto(Some(Kind::Macvlan))),
        "ipvlan" => Ok(Auto(Some(Kind::Ipvlan))),
        "vlan" => Ok(Auto(Some(Kind::Vlan))),
        "dummy" => Ok(Auto(Some(Kind::Dummy))),
        "direct" | "ipoib" => Err(format!("{text} is not in this version: use {KINDS}")),
        _ => Err(format!("use {KINDS}")),
    }
}

/// A value that can be left to the agent.
// A bare Option would make clap think that the argument may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Auto<T>(pub(crate) Option<T>);

/// `VID,VID,…` or `all`.
pub(crate) fn trunk(text: &str) -> Result<Vlan, String> {
    if text == "all" {
        return Ok(Vlan::Every);
    }
    let vlans: Result<BTreeSet<VlanId>, _> = text.split(',').map(str::parse).collect();
    vlans.map(Vlan::Trunk).map_err(|why| format!("{why}; write VID,VID,… or all"))
}

/// `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// An address without a prefix length.
pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "write it as 192.0.2.1 or 2001:db8::1, without a prefix length".to_owned())
}

/// Bytes.
pub(crate) fn mtu(text: &str) -> Result<Mtu, String> {
    let bytes: u32 = text.parse().map_err(|_| "use 1280 to 9216 bytes".to_owned())?;
    Mtu::try_from(bytes).map_err(unquoted(text))
}

/// Any checked value: clap names the argument and quotes the value, so the error need not.
pub(crate) fn checked<T>(text: &str) -> Result<T, String>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(unquoted(text))
}

/// Leaves out of `"x" is not a link name: use …` what clap says already.
fn unquoted<E: std::fmt::Display>(text: &str) -> impl FnOnce(E) -> String {
    let begins = format!("\"{}\" is ", text.escape_debug());
    move |why| {
        let why = why.to_string();
        why.strip_prefix(&begins).map_or(why.clone(), str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_or_are_seconds() {
        for (text, millis) in
            [("30s", 30_000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("7", 7000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "0",
            "0s",
            "-1s",
            "1.5s",
            "1d",
            "25h",
            "99999999999999999999",
            "1 s",
            "18446744073709551615h",
        ] {
            assert!(duration(text).is_err(), "{text} was taken");
        }
    }

    #[test]
    fn a_kind_that_is_not_built_says_so() {
        assert_eq!(kind("direct"), Err(format!("direct is not in this version: use {KINDS}")));
        assert_eq!(kind("geneve"), Err(format!("use {KINDS}")));
    }

    #[test]
    fn a_trunk_is_a_list_or_all() {
        assert_eq!(trunk("all"), Ok(Vlan::Every));
        let vlans = [10u32, 20].map(|vlan| VlanId::try_from(vlan).unwrap());
        assert_eq!(trunk("20,10,20"), Ok(Vlan::Trunk(vlans.into())));
        for text in ["", "10,", "0", "4095", "a", "10-20"] {
            assert!(trunk(text).is_err(), "{text} was taken");
        }
    }
}
