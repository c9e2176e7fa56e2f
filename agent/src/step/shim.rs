//! A macvlan in the host, by which the host reaches the macvlans of guests on the same parent.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use pipewright_api::net::{LinkName, MacAddr};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::dhcp::given::Family;

/// One to be made. It has no IPv4 address: routes over it name the parent's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shim {
    /// Its name.
    pub link: LinkName,
    /// The link of the host that it is on.
    pub parent: LinkName,
    /// Its MAC address.
    pub mac: MacAddr,
}

impl Shim {
    /// Its link-local address, from its MAC address (RFC 4291 appendix A).
    pub fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.octets().map(u16::from);
        Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
    }
}

/// A route of the host's to a guest, and the guest's MAC address as a neighbour: the host must not ask for it. Its question
/// would be heard by the whole network, which would take the answer's way to the host's address from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The guest's address.
    pub destination: IpNet,
    /// The link of the host that it is over.
    pub link: LinkName,
    /// Whose address that is.
    pub mac: MacAddr,
    /// What the host's packets come from.
    pub source: IpAddr,
}

/// The same to the address that a server gave, whichever that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedReach {
    /// The attachment.
    pub id: Uuid,
    /// By which protocol it is given.
    pub family: Family,
    /// The link of the host that the route is over.
    pub link: LinkName,
    /// Whose address it is.
    pub mac: MacAddr,
    /// The link of the host whose addresses the host's IPv4 packets may come from.
    pub parent: LinkName,
    /// What the guest reaches over its link besides the subnet of its address.
    pub near: Vec<IpNet>,
    /// What the host's IPv6 packets come from.
    pub link_local: Ipv6Addr,
    /// Addresses of the guest that have routes of their own.
    pub fixed: Vec<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_local_address_follows_from_the_mac_address() {
        let name: LinkName = "eth0".parse().unwrap();
        let mac = "02:00:5e:10:00:01".parse().unwrap();

        let shim = Shim { link: name.clone(), parent: name, mac };

        assert_eq!(shim.link_local().to_string(), "fe80::5eff:fe10:1");
    }
}
