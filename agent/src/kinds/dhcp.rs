//! An address from a DHCP server, whatever the kind of the link.

use pipewright_api::attachment::Runtime;
use pipewright_api::dhcp::{ClientId, Dhcp, Hostname};

use super::{Found, Link};
use crate::dhcp::client::Identity;
use crate::step::{LeaseRequest, LeaseUse, Step};

/// Hardware type of Ethernet, which begins a client id that is a MAC address (RFC 2132 §9.14).
const ETHERNET: u8 = 1;

/// `udhcpc -i IFNAME …`, and what its script does with the answer.
pub(super) fn lease(link: &Link<'_>, asked: &Dhcp) -> Vec<Step> {
    let (id, ifname, mac) = (link.id, link.spec.ifname.clone(), link.mac);
    let identity = identity(link, asked);
    let takes_default = !link.spec.gateways.iter().any(std::net::IpAddr::is_ipv4);
    let replaces =
        link.ground.default_routes.iter().filter(|saved| takes_default && !saved.is_ipv6()).cloned();
    vec![
        Step::AcquireLease(LeaseRequest {
            id,
            ifname: ifname.clone(),
            identity,
            check: link.spec.duplicate_check,
        }),
        Step::ApplyLease(LeaseUse { id, ifname, mac, takes_default, replaces: replaces.collect() }),
    ]
}

/// Whom servers know the link as.
fn identity(link: &Link<'_>, asked: &Dhcp) -> Identity {
    let (guest, ifname, mac) = (&link.ground.guest, &link.spec.ifname, link.mac);
    // An ipvlan has the MAC address of its parent, and of all others there.
    let shares_mac = matches!(link.ground.uplink, Found::Ipvlan(_));
    let own_name = || guest.name.parse::<Hostname>().ok();
    let client_id = asked.client_id.as_ref().map(ClientId::to_bytes);
    let own_id = || match guest.runtime {
        // A container may have several links, which must not get one address. containerd's ids can be chosen.
        Runtime::Docker | Runtime::Podman | Runtime::Crio => {
            ClientId::Text(format!("{}/{ifname}", guest.id)).to_bytes()
        }
        _ if shares_mac => ClientId::Text(link.id.to_string()).to_bytes(),
        // Other hosts on the same network may have such a name, pid or namespace, too.
        Runtime::Lxc | Runtime::Containerd | Runtime::Machined | Runtime::Pid | Runtime::Netns => {
            [&[ETHERNET][..], &mac.octets()].concat()
        }
    };
    Identity {
        mac,
        client_id: client_id.unwrap_or_else(own_id),
        hostname: asked.hostname.clone().or_else(own_name).map(String::from),
        broadcast: shares_mac,
    }
}
