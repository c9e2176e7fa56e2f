//! From spec to plan: pure. What is asked and what is there give the steps, or the reason why not.

use std::net::IpAddr;

use pipewright_api::attachment::GuestIdentity;
use pipewright_api::net::{InterfaceAddr, LinkName, MacAddr, Mtu, VlanId};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{Addressing, AttachmentSpec, DuplicateCheck, Kind, Mode, SwitchKind};
use uuid::Uuid;

use crate::step::{
    AwaitedAddress, Ends, Expected, GuestLink, GuestRoute, Ipv6Setting, LinkType, Probe, SavedRoute, Step,
    Veth,
};

mod dhcp;
mod dummy;
mod ipvlan;
mod linux_bridge;
mod macvlan;
mod ovs;
mod parent;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_on_links;
mod vlan;

pub use linux_bridge::filter_vlans;
pub use parent::{Neighbour, Parent, VlanLink};

/// What is there before an attach, as far as a plan depends on it.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Whose link it will be.
    pub guest: GuestIdentity,
    /// What the uplink is.
    pub uplink: Found,
    /// The guest has a link of the wanted name.
    pub ifname_taken: bool,
    /// The host has a link of the wanted name.
    pub host_ifname_taken: bool,
    /// New links of the guest have IPv6 switched off.
    pub ipv6_disabled: bool,
    /// Default routes of the guest that ours would collide with.
    pub default_routes: Vec<SavedRoute>,
    /// The MAC address for a bridge that has to be made.
    pub bridge_mac: MacAddr,
}

/// What the uplink is, and with it the kind of link that the guest gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A bridge, for a veth pair.
    Bridge(Bridge),
    /// Another link of the host, for a macvlan.
    Macvlan(Parent),
    /// Another link of the host, for an ipvlan.
    Ipvlan(Parent),
    /// Another link of the host, for its 802.1Q sub-interface.
    Vlan(Parent),
    /// None, for a dummy.
    Nothing,
}

/// The bridge that the uplink names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bridge {
    /// There is none; its name says that it may be made.
    Missing(SwitchKind),
    /// A linux bridge.
    Linux {
        /// Bytes.
        mtu: u32,
        /// Made by us, so released with its last port.
        ours: bool,
        /// Whether it keeps VLANs apart.
        filtering: Filtering,
        /// The port that a fleet plugged in.
        uplink: Option<LinkName>,
    },
    /// An Open vSwitch bridge.
    Ovs {
        /// Bytes.
        mtu: u32,
        /// Made by us.
        ours: bool,
        /// Its packets go through ovs-vswitchd, not through the kernel.
        userspace: bool,
    },
}

/// Whether a linux bridge keeps VLANs apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filtering {
    /// It passes tags as they are.
    Off,
    /// It does for the sake of our attachments only.
    ByUs,
    /// It does.
    On {
        /// The VLAN that a port is in unless it is told another; `None`: no frame passes such a port.
        default: Option<VlanId>,
    },
}

/// An attachment that has been decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// How it is made.
    pub plan: Vec<Step>,
    /// Kind of link.
    pub kind: Kind,
    /// How it shares its parent, for a kind that has modes.
    pub mode: Option<Mode>,
    /// The host's end, for a kind that has one.
    pub host_end: Option<LinkName>,
    /// Of the guest's end.
    pub mac: MacAddr,
    /// Of all ends.
    pub mtu: Mtu,
}

/// What an attachment without wishes gets: derived from its id, so that they are known again.
#[derive(Debug, Clone)]
pub struct Derived {
    /// The attachment.
    pub id: Uuid,
    /// Name of the host's end.
    pub host_end: LinkName,
    /// MAC address of the guest's end.
    pub mac: MacAddr,
}

/// Decides how an attachment is made.
///
/// # Errors
/// IFNAME_TAKEN, NOT_SUPPORTED_HERE, INVALID_FIELD.
pub fn plan(spec: &AttachmentSpec, ground: &Ground, derived: Derived) -> Result<Decision, Failure> {
    let link = Link::new(spec, ground, derived)?;
    match &ground.uplink {
        Found::Bridge(Bridge::Missing(SwitchKind::LinuxBridge)) => {
            linux_bridge::plan(&link, true, Filtering::Off, None)
        }
        Found::Bridge(Bridge::Linux { ours, filtering, uplink, .. }) => {
            linux_bridge::plan(&link, *ours, *filtering, uplink.as_ref())
        }
        // Whether the userspace datapath will have a bridge that is yet to be made is not known, and checksums that are
        // filled in early harm nobody.
        Found::Bridge(Bridge::Missing(SwitchKind::Ovs)) => ovs::plan(&link, true, true),
        Found::Bridge(Bridge::Ovs { ours, userspace, .. }) => ovs::plan(&link, *ours, *userspace),
        Found::Macvlan(parent) => macvlan::plan(&link, parent),
        Found::Ipvlan(parent) => ipvlan::plan(&link, parent),
        Found::Vlan(parent) => vlan::plan(&link, parent),
        Found::Nothing => dummy::plan(&link),
    }
}

impl Ground {
    /// The most bytes that the uplink passes; `None` when there is none.
    fn room(&self) -> Option<u32> {
        match &self.uplink {
            Found::Bridge(Bridge::Missing(_)) => Some(Mtu::ETHERNET.get()),
            Found::Bridge(Bridge::Linux { mtu, .. } | Bridge::Ovs { mtu, .. }) => Some(*mtu),
            Found::Macvlan(parent) | Found::Ipvlan(parent) | Found::Vlan(parent) => Some(parent.room()),
            Found::Nothing => None,
        }
    }
}

/// What all kinds have in common.
struct Link<'a> {
    spec: &'a AttachmentSpec,
    ground: &'a Ground,
    id: Uuid,
    host_end: LinkName,
    host_mac: MacAddr,
    mac: MacAddr,
    mtu: Mtu,
}

impl<'a> Link<'a> {
    fn new(spec: &'a AttachmentSpec, ground: &'a Ground, derived: Derived) -> Result<Self, Failure> {
        let AttachmentSpec { guest, ifname, uplink, .. } = spec;
        if ground.ifname_taken {
            let text =
                format!("{guest} has a link {ifname} that is not ours; choose another name with --ifname");
            return Err(Failure::new(Reason::IfnameTaken, text));
        }
        let host_end = spec.host_ifname.clone().unwrap_or(derived.host_end);
        if ground.host_ifname_taken {
            let text =
                format!("this host has a link {host_end} already; choose another name with --host-ifname");
            return Err(Failure::new(Reason::IfnameTaken, text));
        }
        let mtu = match (spec.mtu, ground.room()) {
            (Some(mtu), Some(room)) if mtu.get() > room => {
                let why = format!(
                    "{mtu} bytes do not pass {uplink}, which has {room}; ask for less, or raise its MTU"
                );
                return Err(Failure::field("spec.mtu", why));
            }
            (Some(mtu), _) => mtu,
            (None, Some(room)) => {
                Mtu::try_from(room).map_err(|why| Failure::field("spec.mtu", format!("{uplink}: {why}")))?
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
        })
    }

    /// The bridge that the uplink names.
    fn bridge(&self) -> Result<&LinkName, Failure> {
        let missing = || Failure::field("spec.uplink", format!("{} names no bridge", self.spec.uplink));
        self.spec.uplink.link().ok_or_else(missing)
    }

    fn ensure_bridge(&self, bridge: &LinkName, kind: SwitchKind) -> Step {
        Step::EnsureBridge { bridge: bridge.clone(), kind, mac: self.ground.bridge_mac }
    }

    /// A pair; the host's end is born into the linux bridge, if there is one.
    fn veth(&self, bridge: Option<&LinkName>) -> Veth {
        Veth {
            id: self.id,
            host_end: self.host_end.clone(),
            host_mac: self.host_mac,
            guest_end: self.spec.ifname.clone(),
            guest_mac: self.mac,
            mtu: self.mtu,
            bridge: bridge.cloned(),
            vlan: None,
        }
    }

    /// A link of a single end.
    fn single(&self, what: LinkType) -> GuestLink {
        GuestLink { id: self.id, name: self.spec.ifname.clone(), mac: self.mac, mtu: self.mtu, what }
    }

    /// Inside the guest: from a bare link to one with addresses and routes, as far as they do not wait until frames pass.
    fn configure(&self, tx_checksum_off: bool) -> Vec<Step> {
        let ifname = &self.spec.ifname;
        let addresses = self.spec.addressing.addresses();
        let wants_v6 =
            addresses.iter().map(|a| a.addr()).chain(self.spec.gateways.iter().copied()).any(|a| a.is_ipv6());
        let mut steps = Vec::new();
        if wants_v6 && self.ground.ipv6_disabled {
            steps.push(Step::EnableIpv6 { ifname: ifname.clone() });
        }
        if tx_checksum_off {
            steps.push(Step::DisableTxChecksum { ifname: ifname.clone() });
        }
        steps.push(Step::SetUp { ifname: ifname.clone() });
        if !self.is_checked() {
            steps.extend(addresses.iter().map(|&address| self.add_address(address)));
        }
        if !self.is_late() {
            steps.extend(self.add_routes());
        }
        steps
    }

    /// Whether the address comes from a DHCP server, which is asked when frames pass.
    fn is_leased(&self) -> bool {
        matches!(self.spec.addressing, Addressing::Dhcp(_))
    }

    /// Whether addresses are looked for on the network before they are used.
    fn is_checked(&self) -> bool {
        self.spec.duplicate_check != DuplicateCheck::Off && !self.spec.addressing.addresses().is_empty()
    }

    /// Whether there is something that waits until frames pass, and routes with it.
    fn is_late(&self) -> bool {
        self.is_leased() || self.is_checked()
    }

    fn add_address(&self, address: InterfaceAddr) -> Step {
        let is_checked = self.is_checked() && address.addr().is_ipv6();
        Step::AddAddress { ifname: self.spec.ifname.clone(), address, is_checked }
    }

    fn add_routes(&self) -> Vec<Step> {
        let is_replaced =
            |saved: &&SavedRoute| self.spec.gateways.iter().any(|g| g.is_ipv6() == saved.is_ipv6());
        let replaced = self.ground.default_routes.iter().filter(is_replaced).cloned();
        let mut steps: Vec<Step> = replaced.map(Step::SetAsideRoute).collect();
        steps.extend(self.routes().into_iter().map(Step::AddRoute));
        steps
    }

    /// Routes in the order in which the kernel takes them: a next hop must be reachable first.
    fn routes(&self) -> Vec<GuestRoute> {
        let route = |destination, via| GuestRoute { destination, via, ifname: self.spec.ifname.clone() };
        let addresses = self.spec.addressing.addresses();
        let is_on_link = |hop: IpAddr| {
            let is_link_local = matches!(hop, IpAddr::V6(v6) if v6.is_unicast_link_local());
            is_link_local || addresses.iter().any(|address| address.net().contains(&hop))
        };
        let mut routes = Vec::new();
        for &gateway in &self.spec.gateways {
            if !is_on_link(gateway) {
                routes.push(route(gateway.into(), None));
            }
            routes.push(route(everything(gateway), Some(gateway)));
        }
        routes.extend(self.spec.routes.iter().map(|wanted| route(wanted.destination, wanted.via)));
        // A route over a host route of its own comes after it; ties keep the order of the request.
        routes.sort_by_key(|route| route.via.is_some());
        routes
    }

    /// Reads back what there is by now.
    fn verify(&self, ends: Ends) -> Step {
        Step::Verify(Expected {
            ends,
            addresses: if self.is_checked() { &[] } else { self.spec.addressing.addresses() }.to_vec(),
            routes: if self.is_late() { Vec::new() } else { self.routes() },
        })
    }

    /// What comes last, once frames pass: addresses that others are asked for first, and those of a DHCP server, with their
    /// routes; and the neighbours are told.
    fn finish(&self, ends: Ends) -> Vec<Step> {
        let mut steps = if self.is_checked() { self.check() } else { Vec::new() };
        if let Addressing::Dhcp(asked) = &self.spec.addressing {
            steps.extend(dhcp::lease(self, asked));
        }
        let addresses = self.spec.addressing.addresses();
        if self.is_late() {
            let routes = self.routes();
            steps.extend(self.add_routes());
            if !addresses.is_empty() || !routes.is_empty() {
                steps.push(Step::Verify(Expected { ends, addresses: addresses.to_vec(), routes }));
            }
        }
        if !addresses.is_empty() {
            let addresses = addresses.iter().map(|address| address.addr()).collect();
            steps.push(Step::Announce { ifname: self.spec.ifname.clone(), mac: self.mac, addresses });
        }
        steps
    }

    /// IPv4 addresses are asked for and then added; IPv6 ones are added, and the kernel asks for them.
    fn check(&self) -> Vec<Step> {
        let ifname = &self.spec.ifname;
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for address in self.spec.addressing.addresses() {
            match address.addr() {
                IpAddr::V4(v4) => old.push(v4),
                IpAddr::V6(v6) => new.push(v6),
            }
        }
        let mut steps = Vec::new();
        if !old.is_empty() {
            let (ifname, check) = (ifname.clone(), self.spec.duplicate_check);
            steps.push(Step::ProbeAddresses(Probe { ifname, mac: self.mac, addresses: old, check }));
        }
        if !new.is_empty() {
            // The guest may have switched off what was asked for.
            let on = |setting| Step::SetIpv6 { ifname: ifname.clone(), setting, value: 1 };
            steps.extend([on(Ipv6Setting::AcceptDad), on(Ipv6Setting::DadTransmits)]);
        }
        let all = self.spec.addressing.addresses();
        steps.extend(all.iter().map(|&address| self.add_address(address)));
        if !new.is_empty() {
            steps.push(Step::AwaitAddresses(AwaitedAddress { ifname: ifname.clone(), addresses: new }));
        }
        steps
    }

    fn decide(&self, kind: Kind, mode: Option<Mode>, plan: Vec<Step>) -> Decision {
        let host_end = kind.has_host_end().then(|| self.host_end.clone());
        Decision { plan, kind, mode, host_end, mac: self.mac, mtu: self.mtu }
    }
}

/// The default destination of an address's family.
fn everything(address: IpAddr) -> ipnet::IpNet {
    match address {
        IpAddr::V4(_) => ipnet::Ipv4Net::default().into(),
        IpAddr::V6(_) => ipnet::Ipv6Net::default().into(),
    }
}
