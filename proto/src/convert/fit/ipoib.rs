//! Whether what is asked fits IP over InfiniBand, which is no Ethernet.

use super::super::At;
use crate::reason::Failure;
use crate::spec::{Addressing, AttachmentSpec, DuplicateCheck, Kind, Uplink};

/// What only IPoIB has, and what it has not. Without a kind, the uplink decides, and with it the agent.
pub(super) fn fits(spec: &AttachmentSpec, at: &At<'_>) -> Result<(), Failure> {
    let Some(kind) = spec.known_kind() else { return Ok(()) };
    if kind != Kind::Ipoib {
        return match spec.pkey {
            None => Ok(()),
            Some(_) => Err(at
                .field("pkey")
                .refuse(format_args!("only InfiniBand has partitions, not {kind}: leave it out"))),
        };
    }
    if let Uplink::Mac(_) = spec.uplink {
        return Err(at.field("uplink").refuse("a link of InfiniBand has no MAC address: give its name"));
    }
    if spec.mac.is_some() {
        let why =
            "a link of InfiniBand has a hardware address of 20 bytes, which the fabric gives: leave it out";
        return Err(at.field("mac").refuse(why));
    }
    if spec.mtu.is_some() {
        return Err(at.field("mtu").refuse("the driver decides, by partition and mode: leave it out"));
    }
    if let Addressing::Dhcp(_) = spec.addressing {
        let why = "DHCP over InfiniBand (RFC 4390) is not in this version: give an address, or none";
        return Err(at.field("dhcp").refuse(why));
    }
    if spec.dhcp6.is_some() {
        let why = "DHCPv6 over InfiniBand is not in this version: give an address, or none";
        return Err(at.field("dhcp6").refuse(why));
    }
    if spec.duplicate_check != DuplicateCheck::Off {
        let why = "probes have the form of Ethernet, which a link of InfiniBand does not send: leave it out";
        return Err(at.field("duplicate_check").refuse(why));
    }
    Ok(())
}
