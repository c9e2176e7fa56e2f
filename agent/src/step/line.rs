//! Steps as people read them: the line of ip(8), ovs-vsctl(8) or another well-known tool that does the same.

use std::collections::BTreeSet;
use std::fmt;

use pipewright_api::net::VlanId;
use pipewright_api::spec::{RouteDetails, RouteKind, SwitchKind, Vlan};

use super::{
    Ends, GuestRoute, LeaseRequest, LeaseUse, LeasedReach, Move, Nic, Port, Reach, Shim, Step, Veth,
    WithoutRouters,
};
use crate::dhcp::given::{Family, Identity};

/// Of linux/if.h.
const IFF_UP: u32 = 1;

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnsureBridge { bridge, kind: SwitchKind::LinuxBridge, mac } => {
                write!(f, "ip link add {bridge} address {mac} up type bridge")
            }
            Self::EnsureBridge { bridge, kind: SwitchKind::Ovs, mac } => {
                write!(
                    f,
                    "ovs-vsctl --may-exist add-br {bridge} -- set bridge {bridge} other-config:hwaddr={mac}"
                )
            }
            Self::ReleaseBridge { bridge, kind: SwitchKind::LinuxBridge } => {
                write!(f, "ip link del {bridge} if it is ours and without ports")
            }
            Self::ReleaseBridge { bridge, kind: SwitchKind::Ovs } => {
                write!(f, "ovs-vsctl del-br {bridge} if it is ours and without ports")
            }
            Self::IgnoreRouters { link, sets_up, .. } => {
                write!(f, "{}", WithoutRouters(link))?;
                if *sets_up { write!(f, "; ip link set {link} up") } else { Ok(()) }
            }
            Self::FilterVlans { bridge, .. } => {
                write!(f, "ip link set {bridge} type bridge vlan_filtering 1")
            }
            Self::PassVlans { bridge, .. } => {
                write!(
                    f,
                    "ip link set {bridge} type bridge vlan_filtering 0 if it is ours and has no ports of others"
                )
            }
            Self::CreateVeth(veth) => veth.fmt(f),
            Self::JoinVlans { port, vlan } => {
                write!(
                    f,
                    "bridge vlan add dev {port}{}, and none else; ip link set {port} up",
                    PortVlans(vlan)
                )
            }
            Self::CreateLink(link) => link.fmt(f),
            Self::CreatePair(pair) => pair.fmt(f),
            Self::EnsureShim(Shim { link, parent, mac }) => {
                write!(
                    f,
                    "ip link add link {parent} name {link} address {mac} type macvlan mode bridge; sysctl "
                )?;
                write!(f, "net/ipv4/conf/{link}/arp_filter=1 net/ipv4/conf/{link}/rp_filter=1; ")?;
                write!(f, "{}; ip link set {link} up", WithoutRouters(link))
            }
            Self::ReleaseShim { link } => write!(f, "ip link del {link} if it is ours"),
            Self::AddReach(Reach { destination, link, mac, source }) => {
                write!(f, "ip neigh add {} lladdr {mac} dev {link}; ", destination.addr())?;
                write!(f, "ip route add {destination} dev {link} src {source}")
            }
            Self::RemoveReach(Reach { destination, link, .. }) => {
                write!(f, "ip route del {destination} dev {link}; ")?;
                write!(f, "ip neigh del {} dev {link}", destination.addr())
            }
            Self::FollowLease(LeasedReach { family, link, mac, .. }) => {
                write!(f, "ip neigh add and ip route add for what the {} server gave", family.name())?;
                write!(f, " {mac}, dev {link}")
            }
            Self::UnfollowLease(LeasedReach { family, link, mac, .. }) => {
                write!(f, "ip route del and ip neigh del for what the {} server gave", family.name())?;
                write!(f, " {mac}, dev {link}")
            }
            Self::There { whither, what } => {
                let line = what.to_string();
                write!(f, "{whither}: {}", line.strip_prefix("guest: ").unwrap_or(&line))
            }
            Self::DeleteGuestLink { ifname, .. } => write!(f, "guest: ip link del {ifname}"),
            Self::MarkNic(nic) => {
                write!(f, "ip link set {} alias \"{}\"", nic.name, nic.alias())
            }
            Self::MoveNic(Move { name, ifname, radio: Some(radio), .. }) => {
                write!(f, "iw phy#{radio} set netns GUEST; guest: ip link set {name} name {ifname}")
            }
            Self::MoveNic(Move { name, ifname, radio: None, .. }) => {
                write!(f, "ip link set {name} netns GUEST name {ifname}")
            }
            Self::ReturnNic { nic, .. } => returned(f, nic),
            Self::SetGuestLink { ifname, mac, mtu } => {
                write!(f, "guest: ip link set {ifname}")?;
                mac.iter().try_for_each(|mac| write!(f, " address {mac}"))?;
                mtu.iter().try_for_each(|mtu| write!(f, " mtu {mtu}"))
            }
            Self::EnsureVlanLink { link, parent, vlan } => {
                write!(f, "ip link add link {parent} name {link} type vlan id {vlan}; ")?;
                write!(f, "{}; ip link set {link} up", WithoutRouters(link))
            }
            Self::ReleaseVlanLink { link } => {
                write!(f, "ip link del {link} if it is ours and nothing is on it")
            }
            Self::AwaitGuestForwarding { ifname } => write!(f, "guest: wait until {ifname} passes frames"),
            Self::DeleteLink { link, .. } => write!(f, "ip link del {link}"),
            Self::PlugPort(port) => port.fmt(f),
            Self::UnplugPort { port, .. } => write!(f, "ovs-vsctl --if-exists del-port {port}"),
            Self::SetPortVlan { port, to, .. } => write!(f, "ovs-vsctl set port {port}{}", VlanColumns(to)),
            Self::AwaitPort(port) => write!(f, "ovs-vsctl wait-until interface {} 'ofport>0'", port.port),
            Self::AwaitForwarding { host_end } => write!(f, "wait for operstate up of {host_end}"),
            Self::EnslaveLink { link, bridge } => write!(f, "ip link set {link} master {bridge}"),
            Self::FreeLink { link, bridge } => write!(f, "ip link set {link} nomaster if it is in {bridge}"),
            Self::SetHostLinkUp { link } => write!(f, "ip link set {link} up"),
            Self::SetHostLinkDown { link } => write!(f, "ip link set {link} down"),
            Self::EnableIpv6 { ifname } => write!(f, "guest: sysctl net/ipv6/conf/{ifname}/disable_ipv6=0"),
            Self::DisableTxChecksum { ifname } => write!(f, "guest: ethtool -K {ifname} tx off"),
            Self::SetUp { ifname } => write!(f, "guest: ip link set {ifname} up"),
            Self::SetIpv6 { ifname, setting, value } => {
                write!(f, "guest: sysctl net/ipv6/conf/{ifname}/{}={value}", setting.name())
            }
            Self::ProbeAddresses(probe) => probe.fmt(f),
            Self::AwaitAddresses(awaited) => awaited.fmt(f),
            Self::AddAddress { ifname, address, .. } => {
                write!(f, "guest: ip addr add {address} dev {ifname}")
            }
            Self::AddRoute(route) => write!(f, "guest: ip route add {route}"),
            Self::RemoveRoute(route) => write!(f, "guest: ip route del {route}"),
            Self::SetAsideRoute(saved) => write!(f, "guest: ip route del {}", saved.text),
            Self::RestoreRoute(saved) => write!(f, "guest: ip route add {}", saved.text),
            Self::AcquireLease(asked) => asked.fmt(f),
            Self::ReleaseLease(LeaseRequest { ifname, identity, .. }) => {
                write!(f, "guest: give the {} lease of {ifname} back", identity.family().name())
            }
            Self::ApplyLease(LeaseUse { ifname, family: Family::V4, .. }) => {
                write!(f, "guest: ip addr add and ip route add for {ifname} as the DHCP server says")
            }
            Self::ApplyLease(LeaseUse { ifname, family: Family::V6, .. }) => {
                write!(f, "guest: ip addr add for {ifname} as the DHCPv6 server says")
            }
            Self::WithdrawLease(asked) => {
                write!(f, "guest: ip addr del and ip route del for {}", asked.ifname)?;
                asked.replaces.iter().try_for_each(|saved| write!(f, "; ip route add {}", saved.text))
            }
            Self::AddTraffic(traffic) => write!(f, "guest: {}", traffic.line("add")),
            Self::RemoveTraffic(traffic) => write!(f, "guest: {}", traffic.line("del")),
            Self::VerifyTraffic(traffic) => write!(f, "guest: read back {}", traffic.line("add")),
            Self::Verify(expected) => match &expected.ends {
                Ends::Pair(veth) => write!(f, "read back {} and {}", veth.host_end, veth.guest_end),
                Ends::Single(link) => write!(f, "read back {}", link.name),
                Ends::Either(end) => write!(f, "read back {}", end.name),
                Ends::Whole(link) => write!(f, "read back {}", link.name),
            },
            Self::Announce { ifname, addresses, .. } => {
                write!(f, "guest: arping -A / ndisc6 -U on {ifname} for")?;
                addresses.iter().try_for_each(|address| write!(f, " {address}"))
            }
        }
    }
}

/// The way back of a NIC, with what it carried.
fn returned(f: &mut fmt::Formatter<'_>, nic: &Nic) -> fmt::Result {
    let Nic { name, ifname, radio, found, .. } = nic;
    match radio {
        Some(radio) => write!(f, "guest: iw phy#{radio} set netns HOST; ip link set {ifname} name {name}")?,
        None => write!(f, "guest: ip link set {ifname} netns HOST name {name}")?,
    }
    write!(f, " address {} mtu {}", found.mac, found.mtu)?;
    if found.flags & IFF_UP != 0 {
        f.write_str(" up")?;
    }
    found.addresses.iter().try_for_each(|kept| write!(f, "; ip addr add {} dev {name}", kept.text))?;
    found.routes.iter().try_for_each(|saved| write!(f, "; ip route add {}", saved.text))?;
    found.neighbours.iter().try_for_each(|kept| write!(f, "; ip neigh add {} dev {name}", kept.text))
}

/// `guest: udhcpc -i eth1 -x 0x3d:01… -x hostname:web`; `udhcpc6` for IPv6.
impl fmt::Display for LeaseRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (program, id, hostname) = match &self.identity {
            Identity::V4(identity) => ("udhcpc", ("0x3d", &identity.client_id), &identity.hostname),
            Identity::V6(identity) => ("udhcpc6", ("1", &identity.duid), &identity.hostname),
        };
        write!(f, "guest: {program} -i {} -x {}:", self.ifname, id.0)?;
        id.1.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        match hostname {
            Some(hostname) => write!(f, " -x hostname:{hostname}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Veth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host_end, host_mac, guest_end, guest_mac, mtu, bridge, .. } = self;
        let up = if self.is_born_up() { " up" } else { "" };
        write!(f, "ip link add {host_end} address {host_mac} mtu {mtu}{up}")?;
        if let Some(bridge) = bridge {
            write!(f, " master {bridge}")?;
        }
        write!(f, " type veth peer name {guest_end} address {guest_mac} mtu {mtu} netns GUEST")
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bridge, port, vlan, labels, .. } = self;
        write!(f, "ovs-vsctl add-port {bridge} {port}{}", VlanColumns(vlan))?;
        if !labels.is_empty() {
            write!(f, " -- set Interface {port}")?;
        }
        labels.iter().try_for_each(|(key, value)| write!(f, " external-ids:{key}={value:?}"))
    }
}

impl fmt::Display for GuestRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RouteDetails { kind, table, metric, source, scope } = &self.details;
        if *kind != RouteKind::Unicast {
            write!(f, "{kind} ")?;
        }
        match self.destination.prefix_len() {
            0 => f.write_str("default")?,
            _ => self.destination.fmt(f)?,
        }
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if *kind == RouteKind::Unicast {
            write!(f, " dev {}", self.ifname)?;
        }
        table.iter().try_for_each(|table| write!(f, " table {table}"))?;
        metric.iter().try_for_each(|metric| write!(f, " metric {metric}"))?;
        source.iter().try_for_each(|source| write!(f, " src {source}"))?;
        scope.iter().try_for_each(|scope| write!(f, " scope {scope}"))?;
        if self.is_marked { f.write_str(" proto 112") } else { Ok(()) }
    }
}

/// A VLAN as words of bridge(8).
struct PortVlans<'a>(&'a Vlan);

impl fmt::Display for PortVlans<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Vlan::Access(vlan) => write!(f, " vid {vlan} pvid untagged"),
            Vlan::Trunk(vlans) => write!(f, " vid {}", list(vlans)),
            Vlan::Every => f.write_str(" vid 1-4094 beside its pvid"),
        }
    }
}

fn list(vlans: &BTreeSet<VlanId>) -> String {
    vlans.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// A VLAN as ovs-vsctl's columns of table Port.
struct VlanColumns<'a>(&'a Vlan);

impl fmt::Display for VlanColumns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Vlan::Access(vlan) => write!(f, " tag={vlan} vlan_mode=access"),
            Vlan::Trunk(vlans) => write!(f, " trunks={} vlan_mode=trunk", list(vlans)),
            Vlan::Every => Ok(()),
        }
    }
}
