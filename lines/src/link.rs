//! What `pwctl attach UPLINK GUEST` says of a link.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::{ArgGroup, Args};
use pipewright_api::dhcp::{ClientId, Dhcp, Dhcp6, Hostname};
use pipewright_api::labels::Labels;
use pipewright_api::net::{InterfaceAddr, LinkName, MacAddr, Mtu, VlanId};
use pipewright_api::spec::{
    Addressing, AttachmentSpec, DuplicateCheck, Follow, GuestRef, Kind, Mode, PartitionKey, Peer, Route,
    Uplink, Vlan,
};

use crate::values::{self, Auto};

/// Everything but what it is plugged into, and whose link it is.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("leased").args(["dhcp", "dhcp6"]).multiple(true))]
pub struct Link {
    /// Address with prefix length; once for each address
    #[arg(long = "ip", value_name = "CIDR", value_parser = values::checked::<InterfaceAddr>)]
    ips: Vec<InterfaceAddr>,
    /// No address
    #[arg(long, conflicts_with = "ips")]
    no_ip: bool,
    /// An IPv4 address from a DHCP server, renewed for as long as the link is there and released on detach
    #[arg(long, conflicts_with_all = ["ips", "no_ip"])]
    dhcp: bool,
    /// IPv6 addresses of the prefixes that the network's routers advertise, beside --ip or --dhcp
    #[arg(long, conflicts_with = "no_ip")]
    slaac: bool,
    /// An IPv6 address from a DHCPv6 server, beside --ip or --dhcp; routes come from the network's routers
    #[arg(long, conflicts_with = "no_ip")]
    dhcp6: bool,
    /// Host name that DHCP is told [default: the guest's name]
    #[arg(long, value_name = "NAME", requires = "leased", value_parser = values::checked::<Hostname>)]
    hostname: Option<Hostname>,
    /// Whom DHCP shall know the guest as: a text, or bytes such as 01:02:00:5e:10:00:01 [default: container id and
    /// link, or the MAC address]
    #[arg(long, value_name = "ID", requires = "dhcp", value_parser = values::checked::<ClientId>)]
    client_id: Option<ClientId>,
    /// Default gateway, once for IPv4 and once for IPv6; detach puts the old default route back
    #[arg(long = "gateway", value_name = "IP", value_parser = values::address)]
    gateways: Vec<IpAddr>,
    /// Name of the link in the guest [default: eth1, or ib0 when --kind or --pkey asks for IPoIB]
    #[arg(long, value_name = "NAME", value_parser = values::checked::<LinkName>)]
    ifname: Option<LinkName>,
    /// Name of the host's end, on a bridge or of a link to the host [default: pw and 12 characters]
    #[arg(long, value_name = "NAME", value_parser = values::checked::<LinkName>)]
    host_ifname: Option<LinkName>,
    /// Have the host itself and a guest on its NIC (macvlan) reach each other
    #[arg(long)]
    host_reach: bool,
    /// Address with prefix length of the other end of a link to the host or to another guest; once for each address
    #[arg(long = "peer-ip", visible_alias = "host-ip", value_name = "CIDR", value_parser = values::checked::<InterfaceAddr>)]
    peer_ips: Vec<InterfaceAddr>,
    /// Name of the other end of a link to another guest [default: eth1]
    #[arg(long, value_name = "NAME", value_parser = values::checked::<LinkName>)]
    peer_ifname: Option<LinkName>,
    /// MAC address, or U:WORD for one derived from a word [default: derived from the attachment's id; of a whole NIC, its own]
    #[arg(long, value_name = "MAC|U:SEED", value_parser = values::checked::<MacAddr>)]
    mac: Option<MacAddr>,
    /// The VLAN that the guest is in, untagged to it; on a linux bridge of somebody else's, filtering must be on
    #[arg(long, value_name = "VID", value_parser = values::checked::<VlanId>, conflicts_with = "trunk")]
    vlan: Option<VlanId>,
    /// The VLANs that the guest gets, tagged (bridges)
    #[arg(long, value_name = "VID,…|all", value_parser = values::trunk)]
    trunk: Option<Vlan>,
    /// The InfiniBand partition that the guest is in, such as 0x8001; it makes the link an IPoIB one [default: the uplink's]
    #[arg(long, value_name = "KEY", value_parser = values::checked::<PartitionKey>, conflicts_with_all = ["vlan", "trunk"])]
    pkey: Option<PartitionKey>,
    /// MTU in bytes [default: the uplink's]
    #[arg(long, value_name = "BYTES", value_parser = values::mtu)]
    mtu: Option<Mtu>,
    /// auto, linux-bridge, ovs, macvlan, ipvlan, vlan, dummy, ptp, direct or ipoib; auto looks what the uplink is: on a NIC it is
    /// macvlan, on InfiniBand ipoib. direct moves the NIC itself into the guest, and back on detach or when the guest dies
    #[arg(long, default_value = "auto", value_name = "KIND", value_parser = values::kind)]
    kind: Auto<Kind>,
    /// Keep the link over restarts of its guest: while that does not run, the attachment waits; when it starts again, or another
    /// container of its name, the link is made again [default for guests of Docker and Podman]
    #[arg(long, conflicts_with = "once")]
    follow: bool,
    /// Remove the attachment when its guest stops [default for guests of other runtimes]
    #[arg(long)]
    once: bool,
    /// How links share their NIC: bridge, private, vepa or passthru (macvlan), l2, l3 or l3s (ipvlan); how an IPoIB link
    /// sends: datagram or connected (with --kind ipoib) [default: bridge, l2, datagram]
    #[arg(long, value_name = "MODE", value_parser = values::checked::<Mode>)]
    mode: Option<Mode>,
    /// One more route over the link; once for each route
    #[arg(long = "route", value_name = "DST[@VIA]", value_parser = values::checked::<Route>)]
    routes: Vec<Route>,
    /// Ask the network first whether somebody has the address, for 0.4 s (quick) or for as long as RFC 5227 says, 4 to 7 s
    /// (full); IPv6 takes 1 to 2 s either way. An address that is in use is refused; a DHCP server is asked for another
    #[arg(
        long,
        value_name = "off|quick|full",
        default_value = "off",
        default_missing_value = "full",
        num_args = 0..=1,
        require_equals = true,
        value_parser = values::checked::<DuplicateCheck>
    )]
    check_duplicates: DuplicateCheck,
    /// A note that is kept with the attachment, and with its port in Open vSwitch; once for each
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::pair)]
    labels: Vec<(String, String)>,
}

impl Link {
    /// What is asked for.
    ///
    /// # Errors
    /// Its parts do not fit together; the argument that is wrong, and why.
    pub fn spec(self, uplink: Uplink, guest: GuestRef) -> Result<AttachmentSpec, String> {
        let dhcp6 = self.dhcp6.then(|| Dhcp6 { hostname: self.hostname.clone() });
        let addressing = match (self.ips.is_empty(), self.dhcp, self.no_ip) {
            (false, ..) => Addressing::Static(self.ips),
            (true, true, _) => Addressing::Dhcp(Dhcp { hostname: self.hostname, client_id: self.client_id }),
            (true, false, true) => Addressing::None,
            (true, false, false) if self.slaac || self.dhcp6 => Addressing::None,
            (true, false, false) => {
                return Err(
                    "give an address with --ip CIDR, have one given with --dhcp, --slaac or --dhcp6, or --no-ip for a \
                     link without one"
                        .to_owned(),
                );
            }
        };
        let ifname = match self.ifname {
            Some(name) => name,
            None => default_ifname(self.kind.0, self.pkey)?,
        };
        let spec = AttachmentSpec {
            guest,
            ifname,
            uplink,
            kind: self.kind.0,
            mode: self.mode,
            host_ifname: self.host_ifname,
            mac: self.mac,
            mtu: self.mtu,
            vlan: self.vlan.map(Vlan::Access).or(self.trunk),
            pkey: self.pkey,
            addressing,
            slaac: self.slaac,
            dhcp6,
            gateways: self.gateways,
            routes: self.routes,
            duplicate_check: self.check_duplicates,
            host_reach: self.host_reach,
            peer: Peer { ifname: self.peer_ifname, addresses: self.peer_ips },
            labels: labels(self.labels)?,
            follow: match (self.follow, self.once) {
                (true, _) => Some(Follow::Restarts),
                (false, true) => Some(Follow::Once),
                (false, false) => None,
            },
        };
        spec.check().map_err(|failure| in_arguments(failure.message()))?;
        Ok(spec)
    }
}

/// As the agent names a link that nobody names.
fn default_ifname(kind: Option<Kind>, pkey: Option<PartitionKey>) -> Result<LinkName, String> {
    let is_ipoib = kind == Some(Kind::Ipoib) || (kind.is_none() && pkey.is_some());
    let name = if is_ipoib { "ib0" } else { "eth1" };
    name.parse().map_err(|why| format!("--ifname: {why}"))
}

/// `KEY=VALUE`, each key once.
fn labels(given: Vec<(String, String)>) -> Result<Labels, String> {
    let usage = |why: String| format!("--label: {why}");
    let mut labels = BTreeMap::new();
    for (key, value) in given {
        if labels.insert(key.clone(), value).is_some() {
            return Err(usage(format!("{key} is there twice; leave one out")));
        }
    }
    Labels::try_from(labels).map_err(|why| usage(why.to_string()))
}

/// `spec.gateways[0]: …` as `--gateway: …`.
pub fn in_arguments(message: &str) -> String {
    const ARGUMENTS: [(&str, &str); 27] = [
        ("spec.host_reach", "--host-reach"),
        ("spec.follow", "--follow"),
        ("spec.duplicate_check", "--check-duplicates"),
        ("spec.uplink", "UPLINK"),
        ("spec.guest", "GUEST"),
        ("spec.static_addresses", "--ip"),
        ("spec.dhcp.hostname", "--hostname"),
        ("spec.dhcp6.hostname", "--hostname"),
        ("spec.dhcp6", "--dhcp6"),
        ("spec.slaac", "--slaac"),
        ("spec.dhcp.client_id", "--client-id"),
        ("spec.gateways", "--gateway"),
        ("spec.routes", "--route"),
        ("spec.dhcp", "--dhcp"),
        ("spec.peer_ifname", "--peer-ifname"),
        ("spec.peer_cidrs", "--peer-ip"),
        ("spec.ifname", "--ifname"),
        ("spec.host_ifname", "--host-ifname"),
        ("spec.mac", "--mac"),
        ("spec.mtu", "--mtu"),
        ("spec.pkey", "--pkey"),
        ("spec.vlan", "--vlan"),
        ("spec.access_vlan", "--vlan"),
        ("spec.trunk_vlans", "--trunk"),
        ("spec.every_vlan", "--trunk"),
        ("spec.kind", "--kind"),
        ("spec.mode", "--mode"),
    ];
    let Some((path, why)) = message.split_once(": ") else { return message.to_owned() };
    match ARGUMENTS.iter().find(|(field, _)| path.starts_with(field)) {
        Some((_, argument)) => format!("{argument}: {why}"),
        None => message.to_owned(),
    }
}
