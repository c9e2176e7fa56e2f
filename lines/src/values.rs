//! Values of arguments: text becomes a checked value before anything is asked of anybody.

use std::collections::BTreeSet;
use std::net::IpAddr;

use pipewright_api::net::{Mtu, VlanId};
use pipewright_api::spec::{Kind, Vlan};
use pipewright_wait::args::unquoted;
pub use pipewright_wait::args::{checked, duration};

/// Kinds as they are typed.
const KINDS: &str = "auto, linux-bridge, ovs, macvlan, ipvlan, vlan, dummy, ptp, direct or ipoib";

/// A kind of link; `None` for `auto`.
pub fn kind(text: &str) -> Result<Auto<Kind>, String> {
    match text {
        "auto" => Ok(Auto(None)),
        "linux-bridge" => Ok(Auto(Some(Kind::LinuxBridge))),
        "ovs" => Ok(Auto(Some(Kind::Ovs))),
        "macvlan" => Ok(Auto(Some(Kind::Macvlan))),
        "ipvlan" => Ok(Auto(Some(Kind::Ipvlan))),
        "vlan" => Ok(Auto(Some(Kind::Vlan))),
        "dummy" => Ok(Auto(Some(Kind::Dummy))),
        "ptp" => Ok(Auto(Some(Kind::Ptp))),
        "direct" => Ok(Auto(Some(Kind::Direct))),
        "ipoib" => Ok(Auto(Some(Kind::Ipoib))),
        _ => Err(format!("use {KINDS}")),
    }
}

/// A value that can be left to the agent.
// A bare Option would make clap think that the argument may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auto<T>(pub Option<T>);

/// `VID,VID,…` or `all`.
pub fn trunk(text: &str) -> Result<Vlan, String> {
    if text == "all" {
        return Ok(Vlan::Every);
    }
    let vlans: Result<BTreeSet<VlanId>, _> = text.split(',').map(str::parse).collect();
    vlans.map(Vlan::Trunk).map_err(|why| format!("{why}; write VID,VID,… or all"))
}

/// `KEY=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// An address without a prefix length.
pub fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "write it as 192.0.2.1 or 2001:db8::1, without a prefix length".to_owned())
}

/// Bytes.
pub fn mtu(text: &str) -> Result<Mtu, String> {
    let bytes: u32 = text.parse().map_err(|_| "use 1280 to 9216 bytes".to_owned())?;
    Mtu::try_from(bytes).map_err(unquoted(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_there_is_not_is_answered_with_those_that_there_are() {
        assert_eq!(kind("ipoib"), Ok(Auto(Some(Kind::Ipoib))));
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
