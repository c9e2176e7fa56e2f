//! Addresses from DHCP servers and routers, whatever the kind of the link.

use pipewright_api::attachment::Runtime;
use pipewright_api::dhcp::{ClientId, Dhcp, Dhcp6, Hostname};
use sha2::{Digest, Sha256};

use super::{Found, Link};
use crate::dhcp::client;
use crate::dhcp::given::Identity;
use crate::dhcp::v6;
use crate::step::{Awaited, AwaitedAddress, Ipv6Setting, LeaseRequest, LeaseUse, SavedRoute, Step};

/// Hardware type of Ethernet, which begins a client id that is a MAC address (RFC 2132 §9.14).
const ETHERNET: u8 = 1;

/// `udhcpc -i IFNAME …`, and what its script does with the answer.
pub(super) fn lease(link: &Link<'_>, asked: &Dhcp) -> Vec<Step> {
    let identity = client::Identity {
        mac: link.mac,
        client_id: asked.client_id.as_ref().map_or_else(|| own_id(link), ClientId::to_bytes),
        hostname: asked.hostname.clone().or_else(|| own_name(link)).map(String::from),
        broadcast: shares_mac(link),
    };
    let takes_default = !link.spec.gateways.iter().any(std::net::IpAddr::is_ipv4);
    let replaces =
        link.ground.default_routes.iter().filter(|saved| takes_default && !saved.is_ipv6()).cloned();
    steps(link, Identity::V4(identity), takes_default, replaces.collect())
}

/// `udhcpc6 -i IFNAME`. Routes are the routers' to tell.
pub(super) fn lease6(link: &Link<'_>, asked: &Dhcp6) -> Vec<Step> {
    let identity = v6::client::Identity {
        duid: duid(link),
        hostname: asked.hostname.clone().or_else(|| own_name(link)).map(String::from),
    };
    steps(link, Identity::V6(identity), false, Vec::new())
}

fn steps(link: &Link<'_>, identity: Identity, takes_default: bool, replaces: Vec<SavedRoute>) -> Vec<Step> {
    let (id, ifname, mac) = (link.id, link.spec.ifname.clone(), link.mac);
    let (family, check) = (identity.family(), link.spec.duplicate_check);
    vec![
        Step::AcquireLease(LeaseRequest { id, ifname: ifname.clone(), mac, identity, check }),
        Step::ApplyLease(LeaseUse { id, ifname, mac, family, takes_default, replaces }),
    ]
}

/// What the kernel does with what routers advertise: routes, and addresses if they are wanted. A gateway of the caller's
/// takes the place of the routers.
pub(super) fn listen_to_routers(link: &Link<'_>) -> Vec<Step> {
    let spec = link.spec;
    if !spec.slaac && spec.dhcp6.is_none() {
        return Vec::new();
    }
    let set = |setting, value| Step::SetIpv6 { ifname: spec.ifname.clone(), setting, value };
    let has_gateway = spec.gateways.iter().any(std::net::IpAddr::is_ipv6);
    vec![
        set(Ipv6Setting::Autoconf, spec.slaac.into()),
        set(Ipv6Setting::AcceptRaDefrtr, (!has_gateway).into()),
        // Last, and also when the guest is a router itself.
        set(Ipv6Setting::AcceptRa, 2),
    ]
}

/// Waits for an address of a router's prefix.
pub(super) fn await_autoconfigured(link: &Link<'_>) -> Step {
    Step::AwaitAddresses(AwaitedAddress { ifname: link.spec.ifname.clone(), what: Awaited::Autoconfigured })
}

/// An ipvlan has the MAC address of its parent, and of all others there.
fn shares_mac(link: &Link<'_>) -> bool {
    matches!(link.ground.uplink, Found::Ipvlan(_))
}

fn own_name(link: &Link<'_>) -> Option<Hostname> {
    link.ground.guest.name.parse().ok()
}

/// Whom servers know the link as.
fn own_id(link: &Link<'_>) -> Vec<u8> {
    let (guest, ifname) = (&link.ground.guest, &link.spec.ifname);
    match guest.runtime {
        // A container may have several links, which must not get one address. containerd's ids can be chosen.
        Runtime::Docker | Runtime::Podman | Runtime::Crio => {
            ClientId::Text(format!("{}/{ifname}", guest.id)).to_bytes()
        }
        _ if shares_mac(link) => ClientId::Text(link.id.to_string()).to_bytes(),
        // Other hosts on the same network may have such a name, pid or namespace, too.
        Runtime::Lxc | Runtime::Containerd | Runtime::Machined | Runtime::Pid | Runtime::Netns => {
            [&[ETHERNET][..], &link.mac.octets()].concat()
        }
    }
}

/// A DUID of a UUID (RFC 6355) that is the same whenever the link would be known by the same id to DHCP.
fn duid(link: &Link<'_>) -> Vec<u8> {
    const DUID_UUID: [u8; 2] = [0, 4];
    let digest = Sha256::digest(own_id(link));
    DUID_UUID.iter().chain(digest.iter().take(16)).copied().collect()
}
