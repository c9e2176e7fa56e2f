//! What is asked for: one link in one guest, and everything of a host.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::At;
use super::fit::{self, LIST_MAX, TRUNK_MAX};
use super::route::route;
use crate::dhcp::{Dhcp, Dhcp6};
use crate::labels::Labels;
use crate::net::{Mtu, VlanId};
use crate::reason::Failure;
use crate::spec::{
    Addressing, AttachmentSpec, DuplicateCheck, Follow, HostSpec, IpoibMode, IpvlanMode, Kind, MacvlanMode,
    Mode, Peer, SwitchKind, SwitchSpec, UplinkSpec, Vlan,
};
use crate::wire;
use crate::wire::attachment_spec as oneof;

/// The name of a guest's link when the caller does not say.
pub(super) const IFNAME_DEFAULT: &str = "eth1";
/// The same on InfiniBand.
const IPOIB_IFNAME_DEFAULT: &str = "ib0";
const KINDS: &str = "linux-bridge, ovs, macvlan, ipvlan, vlan, dummy, ptp, direct and ipoib";

impl TryFrom<wire::AttachmentSpec> for AttachmentSpec {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD for what cannot be parsed or does not fit together; paths begin with `spec`.
    fn try_from(spec: wire::AttachmentSpec) -> Result<Self, Failure> {
        let at = At::top("spec");
        let spec = attachment_spec(spec, &at)?;
        fit::attachment(&spec, &at)?;
        Ok(spec)
    }
}

impl TryFrom<wire::HostSpec> for HostSpec {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD for what cannot be parsed or does not fit together; paths begin with `spec`.
    fn try_from(spec: wire::HostSpec) -> Result<Self, Failure> {
        let at = At::top("spec");
        let spec = Self {
            fleet: at.field("fleet").required(&spec.fleet)?,
            switches: at.field("switches").list(spec.switches, fit::SWITCHES_MAX, switch)?,
            attachments: at.field("attachments").list(
                spec.attachments,
                fit::ATTACHMENTS_MAX,
                |at, attachment| attachment_spec(attachment, at),
            )?,
        };
        fit::host(&spec, &at)?;
        Ok(spec)
    }
}

/// Parses each field; whether they fit together is asked apart, since an answer is shown as it is.
pub(super) fn attachment_spec(spec: wire::AttachmentSpec, at: &At<'_>) -> Result<AttachmentSpec, Failure> {
    let is_ipoib =
        spec.kind() == wire::Kind::Ipoib || (spec.kind() == wire::Kind::Unspecified && spec.pkey != 0);
    let ifname = match spec.ifname.as_str() {
        "" if is_ipoib => IPOIB_IFNAME_DEFAULT,
        "" => IFNAME_DEFAULT,
        name => name,
    };
    Ok(AttachmentSpec {
        guest: at.field("guest").required(&spec.guest)?,
        ifname: at.field("ifname").required(ifname)?,
        uplink: at.field("uplink").required(&spec.uplink)?,
        kind: kind(spec.kind, &at.field("kind"))?,
        mode: mode(spec.mode, &at.field("mode"))?,
        host_ifname: at.field("host_ifname").optional(&spec.host_ifname)?,
        mac: at.field("mac").optional(&spec.mac)?,
        mtu: match spec.mtu {
            0 => None,
            bytes => Some(at.field("mtu").number::<Mtu>(bytes)?),
        },
        vlan: spec.vlan.map(|asked| vlan(asked, at)).transpose()?,
        pkey: match spec.pkey {
            0 => None,
            key => Some(at.field("pkey").number(key)?),
        },
        addressing: match spec.addressing {
            None if spec.slaac || spec.dhcp6.is_some() => Addressing::None,
            asked => addressing(asked, at)?,
        },
        slaac: spec.slaac,
        dhcp6: spec.dhcp6.map(|asked| dhcp6(&asked, &at.field("dhcp6"))).transpose()?,
        gateways: at.field("gateways").list(spec.gateways, LIST_MAX, |at, text| at.required(&text))?,
        routes: at.field("routes").list(spec.routes, LIST_MAX, |at, asked| route(&asked, at))?,
        duplicate_check: duplicate_check(spec.duplicate_check, &at.field("duplicate_check"))?,
        host_reach: spec.host_reach,
        peer: Peer {
            ifname: at.field("peer_ifname").optional(&spec.peer_ifname)?,
            addresses: at
                .field("peer_cidrs")
                .list(spec.peer_cidrs, LIST_MAX, |at, text| at.required(&text))?,
        },
        labels: Labels::try_from(spec.labels).map_err(|why| at.field("labels").refuse(why))?,
        follow: follow(spec.follow, &at.field("follow"))?,
    })
}

pub(super) fn kind(value: i32, at: &At<'_>) -> Result<Option<Kind>, Failure> {
    let known = at.variant::<wire::Kind>(value, KINDS)?;
    Ok(known.and_then(|kind| match kind {
        wire::Kind::Unspecified => None,
        wire::Kind::LinuxBridge => Some(Kind::LinuxBridge),
        wire::Kind::Ovs => Some(Kind::Ovs),
        wire::Kind::Macvlan => Some(Kind::Macvlan),
        wire::Kind::Ipvlan => Some(Kind::Ipvlan),
        wire::Kind::Vlan => Some(Kind::Vlan),
        wire::Kind::Dummy => Some(Kind::Dummy),
        wire::Kind::Ptp => Some(Kind::Ptp),
        wire::Kind::Direct => Some(Kind::Direct),
        wire::Kind::Ipoib => Some(Kind::Ipoib),
    }))
}

/// The kind of a bridge.
pub(super) fn switch_kind(value: i32, at: &At<'_>) -> Result<SwitchKind, Failure> {
    let required = || at.refuse("it is required: use KIND_LINUX_BRIDGE or KIND_OVS");
    let kind = kind(value, at)?.ok_or_else(required)?;
    let other = || at.refuse(format_args!("{kind} is no kind of bridge: use linux-bridge or ovs"));
    kind.switch().ok_or_else(other)
}

fn mode(value: i32, at: &At<'_>) -> Result<Option<Mode>, Failure> {
    let known = at.variant::<wire::Mode>(
        value,
        "bridge, private, vepa, passthru, l2, l3, l3s, datagram and connected",
    )?;
    Ok(known.and_then(|mode| match mode {
        wire::Mode::Unspecified => None,
        wire::Mode::Bridge => Some(Mode::Macvlan(MacvlanMode::Bridge)),
        wire::Mode::Private => Some(Mode::Macvlan(MacvlanMode::Private)),
        wire::Mode::Vepa => Some(Mode::Macvlan(MacvlanMode::Vepa)),
        wire::Mode::Passthru => Some(Mode::Macvlan(MacvlanMode::Passthru)),
        wire::Mode::L2 => Some(Mode::Ipvlan(IpvlanMode::L2)),
        wire::Mode::L3 => Some(Mode::Ipvlan(IpvlanMode::L3)),
        wire::Mode::L3s => Some(Mode::Ipvlan(IpvlanMode::L3s)),
        wire::Mode::Datagram => Some(Mode::Ipoib(IpoibMode::Datagram)),
        wire::Mode::Connected => Some(Mode::Ipoib(IpoibMode::Connected)),
    }))
}

fn duplicate_check(value: i32, at: &At<'_>) -> Result<DuplicateCheck, Failure> {
    let known = at.variant::<wire::DuplicateCheck>(value, "off, quick and full")?;
    Ok(match known {
        None | Some(wire::DuplicateCheck::Unspecified | wire::DuplicateCheck::Off) => DuplicateCheck::Off,
        Some(wire::DuplicateCheck::Quick) => DuplicateCheck::Quick,
        Some(wire::DuplicateCheck::Full) => DuplicateCheck::Full,
    })
}

fn follow(value: i32, at: &At<'_>) -> Result<Option<Follow>, Failure> {
    let known = at.variant::<wire::Follow>(value, "restarts and once")?;
    Ok(match known {
        None | Some(wire::Follow::Unspecified) => None,
        Some(wire::Follow::Restarts) => Some(Follow::Restarts),
        Some(wire::Follow::Once) => Some(Follow::Once),
    })
}

fn vlan(asked: oneof::Vlan, at: &At<'_>) -> Result<Vlan, Failure> {
    Ok(match asked {
        oneof::Vlan::AccessVlan(number) => Vlan::Access(at.field("access_vlan").number(number)?),
        oneof::Vlan::TrunkVlans(trunk) => {
            Vlan::Trunk(vlans(&trunk.vlans, &at.field("trunk_vlans").field("vlans"))?)
        }
        oneof::Vlan::EveryVlan(wire::EveryVlan {}) => Vlan::Every,
    })
}

/// A set of VLANs; a repeated one is a slip of the pen that the caller should see.
fn vlans(numbers: &[u32], at: &At<'_>) -> Result<BTreeSet<VlanId>, Failure> {
    let mut set = BTreeSet::new();
    at.list(numbers.iter().copied(), TRUNK_MAX, |at, number| {
        let vlan: VlanId = at.number(number)?;
        match set.insert(vlan) {
            true => Ok(()),
            false => Err(at.refuse(format_args!("VLAN {vlan} is there twice; leave one out"))),
        }
    })?;
    Ok(set)
}

fn addressing(asked: Option<oneof::Addressing>, at: &At<'_>) -> Result<Addressing, Failure> {
    match asked {
        None => Err(at
            .field("addressing")
            .refuse("it is required: give addresses, or ask for DHCP, SLAAC or none")),
        Some(oneof::Addressing::NoAddress(wire::NoAddress {})) => Ok(Addressing::None),
        Some(oneof::Addressing::StaticAddresses(addresses)) => {
            let at = at.field("static_addresses");
            let addresses =
                at.field("cidrs").list(addresses.cidrs, LIST_MAX, |at, text| at.required(&text))?;
            Ok(Addressing::Static(addresses))
        }
        Some(oneof::Addressing::Dhcp(wire::Dhcp { hostname, client_id })) => {
            let at = at.field("dhcp");
            Ok(Addressing::Dhcp(Dhcp {
                hostname: at.field("hostname").optional(&hostname)?,
                client_id: at.field("client_id").optional(&client_id)?,
            }))
        }
    }
}

fn dhcp6(asked: &wire::Dhcp6, at: &At<'_>) -> Result<Dhcp6, Failure> {
    Ok(Dhcp6 { hostname: at.field("hostname").optional(&asked.hostname)? })
}

fn switch(at: &At<'_>, switch: wire::SwitchSpec) -> Result<SwitchSpec, Failure> {
    let name = at.field("name").required(&switch.name)?;
    let at_kind = at.field("kind");
    let kind = switch_kind(switch.kind, &at_kind)?;
    let uplink = switch.uplink.map(|asked| uplink(&asked, &at.field("uplink"))).transpose()?;
    Ok(SwitchSpec { name, kind, uplink })
}

fn uplink(uplink: &wire::UplinkSpec, at: &At<'_>) -> Result<UplinkSpec, Failure> {
    Ok(UplinkSpec {
        link: at.field("link").required(&uplink.link)?,
        trunk: vlans(&uplink.trunk_vlans, &at.field("trunk_vlans"))?,
    })
}

impl From<AttachmentSpec> for wire::AttachmentSpec {
    fn from(spec: AttachmentSpec) -> Self {
        Self {
            guest: spec.guest.to_string(),
            ifname: spec.ifname.to_string(),
            uplink: spec.uplink.to_string(),
            kind: spec.kind.map_or(wire::Kind::Unspecified, wire::Kind::from).into(),
            mode: spec.mode.map_or(wire::Mode::Unspecified, wire::Mode::from).into(),
            host_ifname: spec.host_ifname.map(String::from).unwrap_or_default(),
            mac: spec.mac.map(String::from).unwrap_or_default(),
            mtu: spec.mtu.map_or(0, Mtu::get),
            vlan: spec.vlan.map(oneof::Vlan::from),
            pkey: spec.pkey.map_or(0, u32::from),
            addressing: Some(spec.addressing.into()),
            slaac: spec.slaac,
            dhcp6: spec
                .dhcp6
                .map(|asked| wire::Dhcp6 { hostname: asked.hostname.map(String::from).unwrap_or_default() }),
            gateways: spec.gateways.iter().map(IpAddr::to_string).collect(),
            routes: spec.routes.into_iter().map(wire::Route::from).collect(),
            duplicate_check: wire::DuplicateCheck::from(spec.duplicate_check).into(),
            host_reach: spec.host_reach,
            peer_ifname: spec.peer.ifname.map(String::from).unwrap_or_default(),
            peer_cidrs: spec.peer.addresses.into_iter().map(String::from).collect(),
            labels: spec.labels.into(),
            follow: match spec.follow {
                None => wire::Follow::Unspecified,
                Some(Follow::Restarts) => wire::Follow::Restarts,
                Some(Follow::Once) => wire::Follow::Once,
            }
            .into(),
        }
    }
}

impl From<Kind> for wire::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::LinuxBridge => Self::LinuxBridge,
            Kind::Ovs => Self::Ovs,
            Kind::Macvlan => Self::Macvlan,
            Kind::Ipvlan => Self::Ipvlan,
            Kind::Vlan => Self::Vlan,
            Kind::Dummy => Self::Dummy,
            Kind::Ptp => Self::Ptp,
            Kind::Direct => Self::Direct,
            Kind::Ipoib => Self::Ipoib,
        }
    }
}

impl From<Mode> for wire::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Macvlan(MacvlanMode::Bridge) => Self::Bridge,
            Mode::Macvlan(MacvlanMode::Private) => Self::Private,
            Mode::Macvlan(MacvlanMode::Vepa) => Self::Vepa,
            Mode::Macvlan(MacvlanMode::Passthru) => Self::Passthru,
            Mode::Ipvlan(IpvlanMode::L2) => Self::L2,
            Mode::Ipvlan(IpvlanMode::L3) => Self::L3,
            Mode::Ipvlan(IpvlanMode::L3s) => Self::L3s,
            Mode::Ipoib(IpoibMode::Datagram) => Self::Datagram,
            Mode::Ipoib(IpoibMode::Connected) => Self::Connected,
        }
    }
}

impl From<DuplicateCheck> for wire::DuplicateCheck {
    fn from(check: DuplicateCheck) -> Self {
        match check {
            DuplicateCheck::Off => Self::Off,
            DuplicateCheck::Quick => Self::Quick,
            DuplicateCheck::Full => Self::Full,
        }
    }
}

impl From<Vlan> for oneof::Vlan {
    fn from(vlan: Vlan) -> Self {
        match vlan {
            Vlan::Access(vlan) => Self::AccessVlan(vlan.into()),
            Vlan::Trunk(vlans) => Self::TrunkVlans(wire::TrunkVlans { vlans: numbers(vlans) }),
            Vlan::Every => Self::EveryVlan(wire::EveryVlan {}),
        }
    }
}

fn numbers(vlans: BTreeSet<VlanId>) -> Vec<u32> {
    vlans.into_iter().map(u32::from).collect()
}

impl From<Addressing> for oneof::Addressing {
    fn from(addressing: Addressing) -> Self {
        match addressing {
            Addressing::Static(addresses) => {
                let cidrs = addresses.into_iter().map(String::from).collect();
                Self::StaticAddresses(wire::StaticAddresses { cidrs })
            }
            Addressing::Dhcp(Dhcp { hostname, client_id }) => Self::Dhcp(wire::Dhcp {
                hostname: hostname.map(String::from).unwrap_or_default(),
                client_id: client_id.map(String::from).unwrap_or_default(),
            }),
            Addressing::None => Self::NoAddress(wire::NoAddress {}),
        }
    }
}

impl From<HostSpec> for wire::HostSpec {
    fn from(spec: HostSpec) -> Self {
        Self {
            fleet: spec.fleet.into(),
            switches: spec.switches.into_iter().map(wire::SwitchSpec::from).collect(),
            attachments: spec.attachments.into_iter().map(wire::AttachmentSpec::from).collect(),
        }
    }
}

impl From<SwitchSpec> for wire::SwitchSpec {
    fn from(switch: SwitchSpec) -> Self {
        Self {
            name: switch.name.into(),
            kind: wire::Kind::from(Kind::from(switch.kind)).into(),
            uplink: switch.uplink.map(|uplink| wire::UplinkSpec {
                link: uplink.link.into(),
                trunk_vlans: numbers(uplink.trunk),
            }),
        }
    }
}
