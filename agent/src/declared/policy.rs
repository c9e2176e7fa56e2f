//! What the configuration allows labels and variables to ask for. Whatever is not allowed is refused; some things cannot be allowed.
//!
//! A rule is about one uplink. What a label asks for is made if one rule allows all of it.

use std::fmt;

use ipnet::IpNet;
use pipewright_api::attachment::Origin;
use pipewright_api::net::{LinkName, VlanId};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{Addressing, AttachmentSpec, Follow, Kind, MacvlanMode, Mode, Uplink, Vlan};
use serde::Deserialize;

use super::is_variable;

/// The table `[labels]` of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    allow: Vec<Rule>,
    pipework_cmd: bool,
}

/// What labels may ask for on one uplink.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    uplink: Place,
    /// The bridge may be made when it is missing.
    #[serde(default)]
    make: bool,
    #[serde(default = "Rule::kinds")]
    kinds: Vec<AllowedKind>,
    #[serde(default = "Rule::vlans")]
    vlans: Vec<Vlans>,
    /// Frames may have tags.
    #[serde(default)]
    trunk: bool,
    /// Subnets of static addresses.
    #[serde(default)]
    addresses: Vec<IpNet>,
    /// Addresses may come from DHCP servers and routers, with the routes that these give.
    #[serde(default)]
    dhcp: bool,
    /// The default route of the container may be replaced.
    #[serde(default)]
    gateway: bool,
    /// Where other routes may lead.
    #[serde(default)]
    routes: Vec<IpNet>,
    /// The MAC address, and the client id of DHCP, may be chosen.
    #[serde(default)]
    mac: bool,
    /// The MTU may be chosen; that of a linux bridge follows its smallest port's.
    #[serde(default)]
    mtu: bool,
}

/// An uplink that can be allowed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum Place {
    Link(LinkName),
    Dummy,
}

/// A kind that can be allowed: not a whole NIC, and no link to the host or to another guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AllowedKind {
    LinuxBridge,
    Ovs,
    Macvlan,
    Ipvlan,
    Vlan,
    Dummy,
    Ipoib,
}

/// `untagged`, a VLAN, or `FIRST-LAST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "VlanText")]
enum Vlans {
    Untagged,
    Tagged(VlanId, VlanId),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum VlanText {
    Number(u32),
    Text(String),
}

/// What is about to be made of what a label asks for.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// What it is.
    pub kind: Kind,
    /// There is no such bridge yet.
    pub is_bridge_missing: bool,
}

/// What is allowed. The default allows nothing, and labels are not even read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy(Settings);

impl From<Settings> for Policy {
    fn from(settings: Settings) -> Self {
        Self(settings)
    }
}

impl Policy {
    /// Whether anything is allowed.
    pub fn is_on(&self) -> bool {
        !self.0.allow.is_empty()
    }

    /// Whether variables count, too.
    pub fn has_variables(&self) -> bool {
        self.is_on() && self.0.pipework_cmd
    }

    /// Whether what a label or variable asks for is allowed; as long as it is not decided, `made` is open.
    ///
    /// # Errors
    /// NOT_GRANTED, with what is not allowed; NO_UPLINK when the bridge is missing, which others may make.
    pub fn permit(&self, origin: &Origin, asked: &AttachmentSpec, made: Option<Made>) -> Result<(), Failure> {
        let refuse = |why: String| Err(Failure::new(Reason::NotGranted, why));
        if !self.is_on() || (is_variable(origin) && !self.has_variables()) {
            return refuse(format!("{} is not heeded by the agent's configuration", origin.key));
        }
        if let Some(never) = never(asked, made) {
            return refuse(format!("{never} cannot be asked for by a label"));
        }
        let is_missing = made.is_some_and(|made| made.is_bridge_missing);
        let mut whys = Vec::new();
        for rule in self.0.allow.iter().filter(|rule| rule.uplink.is(&asked.uplink)) {
            match rule.forbids(asked, made) {
                None if rule.make || !is_missing => return Ok(()),
                None => {
                    let text =
                        format!("bridge {} is not there, and labels may not have it made", asked.uplink);
                    return Err(Failure::new(Reason::NoUplink, text));
                }
                Some(why) => whys.push(why),
            }
        }
        if whys.is_empty() {
            return refuse(format!(
                "uplink {} is not among those that labels may use ([labels] allow)",
                asked.uplink
            ));
        }
        whys.dedup();
        refuse(format!("{} ([labels] allow, uplink {})", whys.join("; "), asked.uplink))
    }
}

/// What no configuration allows: it would change the host or another guest, or leave the agent's hands.
fn never(asked: &AttachmentSpec, made: Option<Made>) -> Option<&'static str> {
    let kind = made.map(|made| made.kind).or(asked.kind);
    let cases = [
        (kind == Some(Kind::Direct), "a whole NIC"),
        (kind == Some(Kind::Ptp) || asked.uplink == Uplink::Host, "a link to the host"),
        (matches!(asked.uplink, Uplink::Guest(_)), "a link to another guest"),
        (matches!(asked.uplink, Uplink::Mac(_)), "an uplink by its MAC address"),
        (asked.host_ifname.is_some(), "the name of the host's end"),
        (asked.host_reach, "--host-reach"),
        (!asked.peer.is_plain(), "another end of the link"),
        (asked.pkey.is_some(), "a partition of InfiniBand"),
        (asked.mode == Some(Mode::Macvlan(MacvlanMode::Passthru)), "a NIC for itself (mode passthru)"),
        (!asked.labels.is_empty(), "--label"),
        (asked.follow == Some(Follow::Once), "--once"),
    ];
    cases.into_iter().find_map(|(is_asked, what)| is_asked.then_some(what))
}

impl Rule {
    fn kinds() -> Vec<AllowedKind> {
        vec![AllowedKind::LinuxBridge, AllowedKind::Ovs, AllowedKind::Macvlan, AllowedKind::Dummy]
    }

    fn vlans() -> Vec<Vlans> {
        vec![Vlans::Untagged]
    }

    /// The first thing that it does not allow.
    fn forbids(&self, asked: &AttachmentSpec, made: Option<Made>) -> Option<String> {
        let kind = made.map(|made| made.kind).or(asked.kind);
        if let Some(kind) =
            kind.filter(|kind| !self.kinds.iter().any(|allowed| Kind::from(*allowed) == *kind))
        {
            return Some(format!("kind {kind} is not allowed"));
        }
        self.forbids_vlan(asked.vlan.as_ref())
            .or_else(|| self.forbids_addresses(asked))
            .or_else(|| self.forbids_numbers(asked))
    }

    fn forbids_numbers(&self, asked: &AttachmentSpec) -> Option<String> {
        let has_client_id = match &asked.addressing {
            Addressing::Dhcp(dhcp) => dhcp.client_id.is_some(),
            Addressing::Static(_) | Addressing::None => false,
        };
        if (asked.mac.is_some() || has_client_id) && !self.mac {
            return Some("a MAC address or DHCP client id of one's own is not allowed".to_owned());
        }
        (asked.mtu.is_some() && !self.mtu).then(|| "an MTU of one's own is not allowed".to_owned())
    }

    fn forbids_vlan(&self, asked: Option<&Vlan>) -> Option<String> {
        let has = |wanted: VlanId| {
            self.vlans.iter().any(|vlans| match vlans {
                Vlans::Untagged => false,
                Vlans::Tagged(first, last) => (*first..=*last).contains(&wanted),
            })
        };
        let has_untagged = self.vlans.contains(&Vlans::Untagged);
        let every = || (1..=4094).filter_map(|number| VlanId::try_from(number).ok());
        let allowed = || self.vlans.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match asked {
            None if has_untagged => None,
            None => Some(format!("a link without --vlan is not allowed, but VLAN {}", allowed())),
            Some(Vlan::Access(vlan)) if has(*vlan) => None,
            Some(Vlan::Access(vlan)) => Some(format!("VLAN {vlan} is not allowed, but {}", allowed())),
            Some(Vlan::Trunk(_) | Vlan::Every) if !self.trunk => {
                Some("a trunk of VLANs is not allowed".to_owned())
            }
            Some(Vlan::Trunk(vlans)) => {
                let other = vlans.iter().find(|vlan| !has(**vlan))?;
                Some(format!("VLAN {other} is not allowed, but {}", allowed()))
            }
            Some(Vlan::Every) if has_untagged && every().all(has) => None,
            Some(Vlan::Every) => Some(format!("a trunk of every VLAN is not allowed, but {}", allowed())),
        }
    }

    fn forbids_addresses(&self, asked: &AttachmentSpec) -> Option<String> {
        let is_within = |nets: &[IpNet], wanted: IpNet| nets.iter().any(|net| net.contains(&wanted));
        let mut addresses = asked.addressing.addresses().iter();
        if let Some(address) = addresses.find(|address| !is_within(&self.addresses, address.net().trunc())) {
            return Some(format!(
                "address {address} is not within those that are allowed{}",
                listed(&self.addresses)
            ));
        }
        let is_leased =
            matches!(asked.addressing, Addressing::Dhcp(_)) || asked.slaac || asked.dhcp6.is_some();
        if is_leased && !self.dhcp {
            return Some("addresses of DHCP servers and routers are not allowed".to_owned());
        }
        if let Some(gateway) = asked.gateways.first().filter(|_| !self.gateway) {
            return Some(format!("default gateway {gateway} is not allowed"));
        }
        let is_other = |destination: &IpNet| !is_within(&self.routes, *destination);
        let route = asked.routes.iter().map(|route| route.destination).find(is_other)?;
        Some(format!("route {route} is not within those that are allowed{}", listed(&self.routes)))
    }
}

fn listed(nets: &[IpNet]) -> String {
    let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
    if nets.is_empty() { ": none is".to_owned() } else { format!(": {}", nets.join(", ")) }
}

impl Place {
    fn is(&self, uplink: &Uplink) -> bool {
        match (self, uplink) {
            (Self::Link(allowed), Uplink::Link(asked)) => allowed == asked,
            (Self::Dummy, Uplink::Dummy) => true,
            (Self::Link(_) | Self::Dummy, _) => false,
        }
    }
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse() {
            Ok(Uplink::Link(name)) => Ok(Self::Link(name)),
            Ok(Uplink::Dummy) => Ok(Self::Dummy),
            Ok(Uplink::Mac(_) | Uplink::Host | Uplink::Guest(_)) => Err(format!(
                "uplink \"{text}\" cannot be allowed: name a bridge or another link of the host, or dummy"
            )),
            Err(why) => Err(why.to_string()),
        }
    }
}

impl From<AllowedKind> for Kind {
    fn from(kind: AllowedKind) -> Self {
        match kind {
            AllowedKind::LinuxBridge => Self::LinuxBridge,
            AllowedKind::Ovs => Self::Ovs,
            AllowedKind::Macvlan => Self::Macvlan,
            AllowedKind::Ipvlan => Self::Ipvlan,
            AllowedKind::Vlan => Self::Vlan,
            AllowedKind::Dummy => Self::Dummy,
            AllowedKind::Ipoib => Self::Ipoib,
        }
    }
}

impl TryFrom<VlanText> for Vlans {
    type Error = String;

    fn try_from(text: VlanText) -> Result<Self, String> {
        let text = match text {
            VlanText::Number(number) => number.to_string(),
            VlanText::Text(text) => text,
        };
        if text == "untagged" {
            return Ok(Self::Untagged);
        }
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let vlan = |text: &str| {
            text.parse::<VlanId>().map_err(|why| format!("{why}; or write \"untagged\", or \"FIRST-LAST\""))
        };
        match (vlan(first)?, vlan(last)?) {
            (first, last) if first <= last => Ok(Self::Tagged(first, last)),
            (first, last) => Err(format!("VLANs {first}-{last}: the first is above the last")),
        }
    }
}

impl fmt::Display for Vlans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged => f.write_str("none"),
            Self::Tagged(first, last) if first == last => first.fmt(f),
            Self::Tagged(first, last) => write!(f, "{first}-{last}"),
        }
    }
}
