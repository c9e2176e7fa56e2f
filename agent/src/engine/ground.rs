//! What is there before an attach: the bridge, the guest, and what ours would collide with.

use std::io;
use std::time::Duration;

use pipewright_api::attachment::GuestIdentity;
use pipewright_api::net::{LinkName, MacAddr, Mtu, VlanId};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{AttachmentSpec, Kind, SwitchKind, Uplink};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::Engine;
use crate::host::Host;
use crate::host::facts::GuestFacts;
use crate::host::hardware::Hardware;
use crate::host::link::LinkFacts;
use crate::host::mark;
use crate::kinds::{Bridge, Filtering, Found, Ground, Peer};
use crate::switches::ovs::SwitchError;

/// Bridges with these first letters are made when they are missing.
const LINUX: &str = "br";
const OVS: &str = "ovs";
/// How long a bridge of Open vSwitch may take to come or go.
const DECIDED: Duration = Duration::from_secs(2);

impl<H: Host> Engine<H> {
    /// Reads the host's side and joins it with the guest's.
    pub(super) async fn ground(
        &self,
        spec: &AttachmentSpec,
        identity: GuestIdentity,
        guest: GuestFacts,
        peer: Option<Peer>,
    ) -> Result<Ground, Failure> {
        let uplink = match peer {
            Some(peer) => Found::Guest(peer),
            None => self.uplink(spec, guest.uplink).await?,
        };
        let host_ifname_taken = match &spec.host_ifname {
            Some(name) => self.kernel.link(name).await.map_err(unreadable)?.is_some(),
            None => false,
        };
        Ok(Ground {
            guest: identity,
            uplink,
            ifname_taken: guest.ifname_taken,
            host_ifname_taken,
            ipv6_disabled: guest.ipv6_disabled,
            default_routes: guest.default_routes,
            bridge_mac: MacAddr::derived(Uuid::new_v4().as_u64_pair().0),
        })
    }

    /// What the uplink is, and with it what the guest gets.
    ///
    /// # Errors
    /// NO_UPLINK, UPLINK_BUSY, OVSDB_DOWN, NOT_SUPPORTED_HERE, INVALID_FIELD.
    async fn uplink(&self, spec: &AttachmentSpec, seen: Option<LinkFacts>) -> Result<Found, Failure> {
        let as_bridge = match spec.known_kind() {
            Some(Kind::LinuxBridge) => Some(SwitchKind::LinuxBridge),
            Some(Kind::Ovs) => Some(SwitchKind::Ovs),
            None => None,
            Some(Kind::Macvlan) => return Ok(Found::Macvlan(self.parent(spec, None).await?)),
            Some(Kind::Ipvlan) => return Ok(Found::Ipvlan(self.parent(spec, None).await?)),
            Some(Kind::Vlan) => return Ok(Found::Vlan(self.parent(spec, None).await?)),
            Some(Kind::Ipoib) => return Ok(Found::Ipoib(self.infiniband(spec, seen).await?)),
            Some(Kind::Dummy) => return Ok(Found::Nothing),
            Some(Kind::Ptp) => return Ok(Found::Host),
            Some(Kind::Direct) => return Ok(Found::Direct(self.whole(spec).await?)),
        };
        let name = spec.uplink.link().ok_or_else(|| no_bridge(&spec.uplink))?;
        match (self.find_bridge(name, as_bridge, seen).await?, as_bridge) {
            (Ok(bridge), _) => {
                if spec.vlan.is_some() {
                    self.may_filter(name, &bridge).await?;
                }
                Ok(Found::Bridge(bridge))
            }
            (Err(link), None) if link.hardware == Hardware::Infiniband => {
                Ok(Found::Ipoib(self.infiniband(spec, Some(*link)).await?))
            }
            (Err(link), None) => Ok(Found::Macvlan(self.parent(spec, Some(*link)).await?)),
            (Err(link), Some(_)) => Err(other_than_a_bridge(&link)),
        }
    }

    /// Refuses to switch filtering on under ports that are not ours. Our own have no VLAN of their own there, and hear each
    /// other as before.
    ///
    /// # Errors
    /// INVALID_FIELD.
    pub(super) async fn may_filter(&self, name: &LinkName, bridge: &Bridge) -> Result<(), Failure> {
        let Bridge::Linux { ours: true, filtering: Filtering::Off, uplink, .. } = bridge else {
            return Ok(());
        };
        let ports = self.kernel.ports_of(name).await.map_err(unreadable)?;
        let is_foreign = |port: &&LinkFacts| {
            !mark::is_ours(port.group) && uplink.as_ref().is_none_or(|uplink| uplink.as_str() != port.name)
        };
        let foreign: Vec<&str> = ports.iter().filter(is_foreign).map(|port| port.name.as_str()).collect();
        if foreign.is_empty() {
            return Ok(());
        }
        let why = format!(
            "{name} does not filter VLANs, and has ports of others ({}) that would hear less if it did; switch it on \
             yourself: `ip link set {name} type bridge vlan_filtering 1`",
            foreign.join(", ")
        );
        Err(Failure::field("spec.vlan", why))
    }

    /// The bridge of that name, or that it may be made.
    ///
    /// # Errors
    /// NO_UPLINK, OVSDB_DOWN, NOT_SUPPORTED_HERE for another link, INVALID_FIELD when it is of another kind than asked.
    pub(super) async fn bridge(&self, name: &LinkName, asked: Option<SwitchKind>) -> Result<Bridge, Failure> {
        self.find_bridge(name, asked, None).await?.map_err(|link| other_than_a_bridge(&link))
    }

    /// As [`Engine::bridge`], or the other link that has that name. `seen` is the link of that name, when it was just
    /// looked at.
    async fn find_bridge(
        &self,
        name: &LinkName,
        asked: Option<SwitchKind>,
        seen: Option<LinkFacts>,
    ) -> Result<Result<Bridge, Box<LinkFacts>>, Failure> {
        let (link, found) = self.decided(name, asked, seen).await?;
        let made = |kind| match asked {
            None => kind,
            Some(asked) => asked,
        };
        let bridge = match (found, link) {
            (Some(bridge), _) => bridge,
            (None, Some(link)) => return Ok(Err(Box::new(link))),
            (None, None) if name.as_str().starts_with(LINUX) => {
                Bridge::Missing(made(SwitchKind::LinuxBridge))
            }
            (None, None) if name.as_str().starts_with(OVS) => Bridge::Missing(made(SwitchKind::Ovs)),
            (None, None) => return Err(no_bridge(&name.clone().into())),
        };
        match (asked, &bridge) {
            (Some(SwitchKind::Ovs), Bridge::Linux { .. }) => Err(Failure::field(
                "spec.kind",
                format!("{name} is a linux bridge, not an Open vSwitch bridge"),
            )),
            (Some(SwitchKind::LinuxBridge), Bridge::Ovs { .. }) => Err(Failure::field(
                "spec.kind",
                format!("{name} is an Open vSwitch bridge, not a linux bridge"),
            )),
            _ => Ok(Ok(bridge)),
        }
    }

    /// What the kernel and Open vSwitch call by that name. A bridge of Open vSwitch that comes or goes is for a moment a
    /// link without a row: its end is waited for, or two attaches at the same time would refuse each other.
    ///
    /// # Errors
    /// OVSDB_DOWN when that moment does not end: a macvlan on such a link would go with it.
    async fn decided(
        &self,
        name: &LinkName,
        asked: Option<SwitchKind>,
        mut seen: Option<LinkFacts>,
    ) -> Result<(Option<LinkFacts>, Option<Bridge>), Failure> {
        let deadline = Instant::now() + DECIDED;
        let mut switch = self.ovs.changes();
        let mut links = self.kernel.host_events();
        loop {
            switch.mark_unchanged();
            let link = match seen.take() {
                Some(link) => Some(link),
                None => self.kernel.link(name).await.map_err(unreadable)?,
            };
            let found = match &link {
                Some(link) if link.kind == "bridge" => Some(self.linux(name, link)),
                // An Open vSwitch bridge is a link, too, once ovs-vswitchd has made it.
                Some(_) | None => self.ovs_bridge(name, link.as_ref(), asked).await?,
            };
            let is_moving = found.is_none() && is_made(name) && link.as_ref().is_some_and(may_be_ovs);
            if !is_moving {
                return Ok((link, found));
            }
            if Instant::now() >= deadline {
                return Err(not_let_go(name));
            }
            tokio::select! {
                // Without a sender nothing changes any more; the deadline ends it.
                Ok(()) = switch.changed() => {}
                Ok(_) = links.recv() => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    fn linux(&self, name: &LinkName, link: &LinkFacts) -> Bridge {
        let filtering = match link.filtering {
            None => Filtering::Off,
            Some(_) if self.shelf.is_filtered(name) => Filtering::ByUs,
            Some(default) => Filtering::On { default: VlanId::try_from(u32::from(default)).ok() },
        };
        let uplink =
            self.shelf.switch(name).and_then(|switch| Some(switch.spec.uplink.as_ref()?.link.clone()));
        Bridge::Linux { mtu: link.mtu, ours: link.group == mark::BRIDGE, filtering, uplink }
    }

    async fn ovs_bridge(
        &self,
        name: &LinkName,
        link: Option<&LinkFacts>,
        asked: Option<SwitchKind>,
    ) -> Result<Option<Bridge>, Failure> {
        // A bridge of Open vSwitch that works has a link of its name; only one that is to be made has none yet.
        let may_be_made =
            asked == Some(SwitchKind::Ovs) || (asked.is_none() && name.as_str().starts_with("ovs"));
        let bridge = match self.ovs.bridge(name).await {
            Ok(bridge) => bridge,
            // Its database is away, or is none that we can read.
            Err(SwitchError::Down { .. } | SwitchError::Refused { .. })
                if !link.map_or(may_be_made, may_be_ovs) =>
            {
                None
            }
            Err(error) => return Err(error.into()),
        };
        let mtu = link.map_or(Mtu::ETHERNET.get(), |link| link.mtu);
        Ok(bridge.map(|bridge| Bridge::Ovs { mtu, ours: bridge.is_ours, userspace: bridge.is_userspace() }))
    }
}

/// Whether a bridge of that name is made when it is missing.
fn is_made(name: &LinkName) -> bool {
    name.as_str().starts_with(LINUX) || name.as_str().starts_with(OVS)
}

fn no_bridge(name: &Uplink) -> Failure {
    let text = format!(
        "there is no bridge or other link {name}; a bridge whose name begins with br or ovs is made when it is missing, \
         any other has to be made first"
    );
    Failure::new(Reason::NoUplink, text)
}

fn not_let_go(name: &LinkName) -> Failure {
    let text = format!(
        "there is a link {name} as Open vSwitch makes them, and no bridge of that name: ovs-vswitchd has not deleted the link of \
         a bridge that was removed; see whether it runs, then ask again. If {name} is not Open vSwitch's, say the kind"
    );
    Failure::new(Reason::OvsdbDown, text)
}

fn other_than_a_bridge(link: &LinkFacts) -> Failure {
    let kind = if link.kind.is_empty() { "physical" } else { &link.kind };
    let text = format!("{} is no bridge but a {kind} link; name a bridge, or leave the kind out", link.name);
    Failure::new(Reason::NotSupportedHere, text)
}

/// LOCAL ports are `openvswitch` links in the kernel's datapath and `tun` links in the userspace one.
pub(super) fn may_be_ovs(link: &LinkFacts) -> bool {
    matches!(link.kind.as_str(), "openvswitch" | "tun")
}

/// The kernel does not tell what is there.
#[expect(clippy::needless_pass_by_value, reason = "called by map_err")]
pub(super) fn unreadable(error: io::Error) -> Failure {
    Failure::new(Reason::Internal, format!("the kernel does not list its links: {error}"))
}
