//! What all kinds have in common: from a bare link to one with addresses and routes.

use std::net::IpAddr;

use ipnet::IpNet;
use pipewright_api::net::{InterfaceAddr, LinkName, MacAddr, Mtu};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{Addressing, AttachmentSpec, DuplicateCheck, Kind, Mode, SwitchKind};
use uuid::Uuid;

use super::room::Room;
use super::{Decision, Derived, Ground, dhcp};
use crate::step::{Ends, Expected, GuestLink, GuestRoute, LinkType, SavedRoute, Step, Veth};

/// What all kinds have in common.
pub(super) struct Link<'a> {
    pub(super) spec: &'a AttachmentSpec,
    pub(super) ground: &'a Ground,
    pub(super) id: Uuid,
    pub(super) host_end: LinkName,
    pub(super) host_mac: MacAddr,
    pub(super) mac: MacAddr,
    pub(super) mtu: Mtu,
    pub(super) alias: Option<String>,
}

impl<'a> Link<'a> {
    pub(super) fn new(
        spec: &'a AttachmentSpec,
        ground: &'a Ground,
        derived: Derived,
    ) -> Result<Self, Failure> {
        let AttachmentSpec { guest, ifname, uplink, .. } = spec;
        if ground.ifname_taken {
            let text =
                format!("{guest} has a link {ifname} that is not ours; choose another name with --ifname");
            return Err(Failure::new(Reason::IfnameTaken, text));
        }
        let host_end = spec.host_ifname.clone().unwrap_or(derived.host_end);
        if ground.host_ifname_taken {
            let text = format!(
                "this host has a link {host_end} already; remove it, or choose another name with --host-ifname"
            );
            return Err(Failure::new(Reason::IfnameTaken, text));
        }
        let mtu = match (spec.mtu, ground.room()) {
            (Some(mtu), Some(Room { most, .. })) if mtu.get() > most => {
                let why = format!(
                    "{mtu} bytes do not pass {uplink}, which has {most}; ask for less, or raise its MTU"
                );
                return Err(Failure::field("spec.mtu", why));
            }
            (Some(mtu), _) => mtu,
            (None, Some(Room { usual, .. })) => {
                Mtu::try_from(usual).map_err(|why| Failure::field("spec.mtu", format!("{uplink}: {why}")))?
            }
            (None, None) => Mtu::ETHERNET,
        };
        Ok(Self {
            spec,
            ground,
            id: derived.id,
            host_end,
            host_mac: derived.mac.with_first_octet(0xfe),
            mac: spec.mac.unwrap_or(derived.mac),
            mtu,
            alias: derived.alias,
        })
    }

    /// The bridge that the uplink names.
    pub(super) fn bridge(&self) -> Result<&LinkName, Failure> {
        let missing = || Failure::field("spec.uplink", format!("{} names no bridge", self.spec.uplink));
        self.spec.uplink.link().ok_or_else(missing)
    }

    pub(super) fn ensure_bridge(&self, bridge: &LinkName, kind: SwitchKind) -> [Step; 2] {
        ensure_bridge(bridge, kind, self.ground.bridge_mac)
    }

    /// A pair; the host's end is born into the linux bridge, if there is one.
    pub(super) fn veth(&self, bridge: Option<&LinkName>) -> Veth {
        Veth {
            id: self.id,
            host_end: self.host_end.clone(),
            host_mac: self.host_mac,
            guest_end: self.spec.ifname.clone(),
            guest_mac: self.mac,
            mtu: self.mtu,
            bridge: bridge.cloned(),
            vlan: None,
            alias: self.alias.clone(),
        }
    }

    /// A link of a single end.
    pub(super) fn single(&self, what: LinkType) -> GuestLink {
        let (mac, mtu) = (Some(self.mac), Some(self.mtu));
        GuestLink { id: self.id, name: self.spec.ifname.clone(), mac, mtu, what }
    }

    /// Inside the guest: from a bare link to one with addresses and routes, as far as they do not wait until frames pass.
    pub(super) fn configure(&self, tx_checksum_off: bool) -> Vec<Step> {
        let ifname = &self.spec.ifname;
        let addresses = self.spec.addressing.addresses();
        let mut steps = Vec::new();
        if self.ground.ipv6_disabled && self.spec.wants_ipv6() {
            steps.push(Step::EnableIpv6 { ifname: ifname.clone() });
        }
        if tx_checksum_off {
            steps.push(Step::DisableTxChecksum { ifname: ifname.clone() });
        }
        steps.extend(dhcp::listen_to_routers(self));
        steps.push(Step::SetUp { ifname: ifname.clone() });
        if !self.is_checked() {
            steps.extend(addresses.iter().map(|&address| self.add_address(address)));
        }
        if !self.is_late() {
            steps.extend(self.add_routes());
        }
        steps
    }

    /// Whether addresses come from a server or a router, who are heard when frames pass.
    pub(super) fn is_leased(&self) -> bool {
        matches!(self.spec.addressing, Addressing::Dhcp(_)) || self.spec.slaac || self.spec.dhcp6.is_some()
    }

    /// Whether addresses are looked for on the network before they are used.
    pub(super) fn is_checked(&self) -> bool {
        self.spec.duplicate_check != DuplicateCheck::Off && !self.spec.addressing.addresses().is_empty()
    }

    /// Whether there is something that waits until frames pass, and routes with it.
    pub(super) fn is_late(&self) -> bool {
        self.is_leased() || self.is_checked()
    }

    pub(super) fn add_address(&self, address: InterfaceAddr) -> Step {
        let is_checked = self.is_checked() && address.addr().is_ipv6();
        Step::AddAddress { ifname: self.spec.ifname.clone(), address, is_checked }
    }

    pub(super) fn add_routes(&self) -> Vec<Step> {
        let is_replaced =
            |saved: &&SavedRoute| self.spec.gateways.iter().any(|g| g.is_ipv6() == saved.is_ipv6());
        let replaced = self.ground.default_routes.iter().filter(is_replaced).cloned();
        let mut steps: Vec<Step> = replaced.map(Step::SetAsideRoute).collect();
        steps.extend(self.routes().into_iter().map(Step::AddRoute));
        steps
    }

    /// Routes in the order in which the kernel takes them: a next hop must be reachable first.
    pub(super) fn routes(&self) -> Vec<GuestRoute> {
        let route = |destination, via| GuestRoute::new(destination, via, self.spec.ifname.clone());
        let addresses = self.spec.addressing.addresses();
        let is_on_link = |hop: IpAddr| {
            let is_link_local = matches!(hop, IpAddr::V6(v6) if v6.is_unicast_link_local());
            is_link_local || addresses.iter().any(|address| address.net().contains(&hop))
        };
        let mut routes = Vec::new();
        for &gateway in &self.spec.gateways {
            // The other end's addresses are reached by routes of their own.
            let is_far = self.spec.peer.addresses.iter().any(|far| far.addr() == gateway);
            if !is_on_link(gateway) && !is_far {
                routes.push(route(gateway.into(), None));
            }
            routes.push(route(everything(gateway), Some(gateway)));
        }
        routes.extend(uncovered(addresses, &self.spec.peer.addresses).map(|far| route(far, None)));
        routes.extend(self.spec.routes.iter().map(|wanted| GuestRoute::over(&self.spec.ifname, wanted)));
        // A route over a host route of its own comes after it; ties keep the order of the request.
        routes.sort_by_key(|route| route.via.is_some());
        routes
    }

    /// Reads back what there is by now.
    pub(super) fn verify(&self, ends: Ends) -> Step {
        Step::Verify(Expected {
            ends,
            addresses: if self.is_checked() { &[] } else { self.spec.addressing.addresses() }.to_vec(),
            routes: if self.is_late() { Vec::new() } else { self.routes() },
        })
    }

    pub(super) fn decide(&self, kind: Kind, mode: Option<Mode>, plan: Vec<Step>) -> Decision {
        let host_end = kind.has_host_end(&self.spec.uplink).then(|| self.host_end.clone());
        Decision { plan, kind, mode, host_end, mac: Some(self.mac), mtu: Some(self.mtu) }
    }
}

/// A bridge of ours, on which the host hears no routers before it has a port.
pub fn ensure_bridge(bridge: &LinkName, kind: SwitchKind, mac: MacAddr) -> [Step; 2] {
    [
        Step::EnsureBridge { bridge: bridge.clone(), kind, mac },
        Step::IgnoreRouters { link: bridge.clone(), switch: Some(kind), sets_up: false },
    ]
}

/// What of the other end's addresses no subnet of one's own contains, but some address of one's own can speak to.
pub(super) fn uncovered(own: &[InterfaceAddr], others: &[InterfaceAddr]) -> impl Iterator<Item = IpNet> {
    let is_of_family = |own: &InterfaceAddr, far: IpAddr| own.addr().is_ipv4() == far.is_ipv4();
    others
        .iter()
        .map(|far| far.addr())
        .filter(move |&far| {
            let is_covered = own.iter().any(|own| own.net().contains(&far));
            !is_covered && own.iter().any(|own| is_of_family(own, far))
        })
        .map(IpNet::from)
}

/// The default destination of an address's family.
fn everything(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => ipnet::Ipv4Net::default().into(),
        IpAddr::V6(_) => ipnet::Ipv6Net::default().into(),
    }
}
