//! Attachments whose records are lost, with the state directory or by a defect of the disk: what the kernel and Open vSwitch
//! show of them becomes a record again. Only those with a host's end, which says whose it is.
//!
//! What nothing shows is not known any more: the default route that the attach replaced, what was asked of a DHCP server,
//! labels, what was added to the link later, and the answers to earlier requests.

use std::io;
use std::sync::Arc;

use pipewright_api::attachment::{GuestIdentity, Runtime, State};
use pipewright_api::labels::Labels;
use pipewright_api::reason::Failure;
use pipewright_api::spec::{
    Addressing, AttachmentSpec, DuplicateCheck, Follow, GuestRef, Kind, Peer, Uplink, Vlan,
};
use uuid::Uuid;

use super::Engine;
use crate::engine::attach::{Wish, unseen};
use crate::engine::decided::record;
use crate::engine::ground::unreadable;
use crate::engine::records::{Record, Write};
use crate::guests::Guest;
use crate::host::Host;
use crate::host::facts::Sought;
use crate::host::link::LinkFacts;
use crate::host::mark::{self, Claim};
use crate::host::plugged::Plugged;
use crate::host::port_vlans::PortVlans;
use crate::kinds::{self, Bridge, Derived, Found, Ground};
use crate::switches::ovs::Purpose;

/// What watchers are told.
const FOUND: &str = "its record was lost, and made anew of what is there";

/// Where a host's end is plugged in.
struct Place {
    kind: Kind,
    bridge: Uplink,
    vlan: Option<Vlan>,
}

impl<H: Host> Engine<H> {
    /// Makes records of what carries our mark, says whose it is, and has none. Another agent in this network namespace may
    /// have it in its own records; then nothing is done.
    pub(super) async fn adopt(&self) -> Result<(), Failure> {
        if !self.kernel.is_alone() {
            return Ok(());
        }
        // The links first, then the records: what is made meanwhile has a record by then.
        let links = self.kernel.links().await.map_err(unreadable)?;
        let is_lost = |claim: &Claim| self.shelf.get(claim.id).is_none();
        let claims = links.iter().filter_map(|link| mark::claim(&link.alias, link.group).filter(is_lost));
        let claims: Vec<Claim> = claims.collect();
        for claim in claims {
            match self.adopt_one(&claim).await {
                Ok(Some(record)) => {
                    let id = record.attachment.id;
                    tracing::warn!(attachment = %id, guest = %claim.guest, "{}: {FOUND}", claim.ifname);
                }
                Ok(None) => {}
                Err(failure) => {
                    let Claim { id, ifname, guest, .. } = &claim;
                    tracing::error!(attachment = %id, %guest, "{ifname} has no record, and none can be made of it: {failure}");
                }
            }
        }
        Ok(())
    }

    /// `None` when it is no longer there, is in a guest that does not live, or is plugged in where nothing is known of at the
    /// moment.
    async fn adopt_one(&self, claim: &Claim) -> Result<Option<Arc<Record>>, Failure> {
        let Guest { mut identity, netns } = self.guests.find(&claim.guest).await?;
        let unseen = |error: io::Error| unseen(&claim.guest, &error);
        identity.netns_cookie = self.kernel.cookie(&netns).await.map_err(unseen)?;
        let _lock = self.locks.guest(identity.netns_cookie).await;
        let links = self.kernel.links().await.map_err(unreadable)?;
        let is_its = |link: &&LinkFacts| mark::claim(&link.alias, link.group).as_ref() == Some(claim);
        let Some(host_end) = links.iter().find(is_its) else { return Ok(None) };
        let number = self.kernel.netns_id(&netns).await.map_err(unseen)?;
        if self.shelf.get(claim.id).is_some() || host_end.netns_id != Some(number) {
            return Ok(None);
        }
        let plugged = self.kernel.plugged(&netns, claim.id, &claim.ifname).await.map_err(unseen)?;
        let place = self.place_of(host_end, claim.id, &links).await?;
        let (Some(plugged), Some(place)) = (plugged, place) else { return Ok(None) };

        let whole = spec(claim, &identity, host_end, &plugged, &place)?;
        let sought = Sought { ipv6: whole.wants_ipv6(), ..Sought::default() };
        let seen = self.kernel.guest(&netns, &claim.ifname, whole.uplink.link(), sought).await;
        let facts = seen.map_err(unseen)?;
        if facts.is_host {
            return Ok(None);
        }
        let ground = self.ground(&whole, identity.clone(), facts, None).await?;
        // As before it was made, except for the default route, which it may have replaced.
        let mut ground =
            Ground { ifname_taken: false, host_ifname_taken: false, default_routes: Vec::new(), ..ground };
        // A linux bridge takes the MTU of the port with the smallest, so others may well have more.
        if let Found::Bridge(Bridge::Linux { mtu, .. } | Bridge::Ovs { mtu, .. }) = &mut ground.uplink {
            *mtu = plugged.link.mtu.max(*mtu);
        }
        let derived = Derived {
            id: claim.id,
            host_end: mark::host_end(claim.id),
            mac: mark::mac(claim.id),
            alias: Some(host_end.alias.clone()),
        };
        let decision = kinds::plan(&whole, &ground, derived)?;
        // What comes by itself unless it is asked for may have been asked for or not.
        let asked = AttachmentSpec { kind: None, mac: None, mtu: None, host_ifname: None, ..whole };
        let fleet = claim.fleet.clone();
        let wish = Wish { request: Uuid::new_v4(), spec: asked, fleet, again: None, origin: None };
        let follow = if identity.runtime.tells_of_starts() { Follow::Restarts } else { Follow::Once };
        let mut made = record(claim.id, &wish, identity, None, decision);
        made.attachment.state = State::Attached;
        made.attachment.spec.follow = Some(follow);
        made.follows = follow == Follow::Restarts;
        let made = self.shelf.claim(made, Some(FOUND))?;
        self.records.settle(vec![Write::Attachment(Arc::clone(&made))]).await?;
        Ok(Some(made))
    }

    /// `None` when it is in no bridge, or in one of Open vSwitch that is not connected.
    async fn place_of(
        &self,
        host_end: &LinkFacts,
        id: Uuid,
        links: &[LinkFacts],
    ) -> Result<Option<Place>, Failure> {
        let port = host_end.name.parse().ok().and_then(|name| self.ovs.port(&name));
        if let Some(port) = port.filter(|port| port.id == Some(id) && port.purpose == Some(Purpose::Guest)) {
            let bridge = port.bridge.and_then(|bridge| bridge.parse().ok()).map(Uplink::Link);
            let vlan = port.vlan.map(Some);
            return Ok(bridge.zip(vlan).map(|(bridge, vlan)| Place { kind: Kind::Ovs, bridge, vlan }));
        }
        let is_its = |link: &&LinkFacts| Some(link.index) == host_end.master && link.kind == "bridge";
        let Some(found) = links.iter().find(is_its) else { return Ok(None) };
        let Ok(name) = found.name.parse() else { return Ok(None) };
        let vlan = match found.filtering {
            None => None,
            Some(default) => {
                let vlans = self.kernel.port_vlans().await.map_err(unreadable)?;
                let asked = vlans.get(&host_end.index).and_then(PortVlans::asked);
                asked.filter(|asked| !matches!(asked, Vlan::Access(vlan) if vlan.get() == default))
            }
        };
        Ok(Some(Place { kind: Kind::LinuxBridge, bridge: Uplink::Link(name), vlan }))
    }
}

/// What must have been asked for.
fn spec(
    claim: &Claim,
    identity: &GuestIdentity,
    host_end: &LinkFacts,
    plugged: &Plugged,
    place: &Place,
) -> Result<AttachmentSpec, Failure> {
    let strange = |what: &str| Failure::field(what, format!("{} is none that we make", host_end.name));
    let host_ifname = host_end.name.parse().map_err(|_| strange("spec.host_ifname"))?;
    let mtu = plugged.link.mtu.try_into().map_err(|_| strange("spec.mtu"))?;
    let addressing = match plugged.addresses.as_slice() {
        [] => Addressing::None,
        addresses => Addressing::Static(addresses.to_vec()),
    };
    // A route that an address makes needs one.
    let has_family =
        |is_ipv6: bool| plugged.addresses.iter().any(|address| address.addr().is_ipv6() == is_ipv6);
    Ok(AttachmentSpec {
        guest: named(identity, &claim.guest),
        ifname: claim.ifname.clone(),
        uplink: place.bridge.clone(),
        kind: Some(place.kind),
        mode: None,
        host_ifname: Some(host_ifname),
        mac: plugged.link.mac,
        mtu: Some(mtu),
        vlan: place.vlan.clone(),
        addressing,
        slaac: false,
        dhcp6: None,
        gateways: plugged.gateways.iter().copied().filter(|gateway| has_family(gateway.is_ipv6())).collect(),
        routes: plugged.routes.clone(),
        duplicate_check: DuplicateCheck::Off,
        host_reach: false,
        follow: None,
        pkey: None,
        peer: Peer::default(),
        labels: Labels::default(),
    })
}

/// As a caller would write it.
fn named(identity: &GuestIdentity, claimed: &GuestRef) -> GuestRef {
    let GuestIdentity { runtime, name, .. } = identity;
    match runtime {
        Runtime::Docker | Runtime::Podman => {
            format!("{runtime}:{name}").parse().unwrap_or_else(|_| claimed.clone())
        }
        Runtime::Lxc
        | Runtime::Containerd
        | Runtime::Crio
        | Runtime::Machined
        | Runtime::Pid
        | Runtime::Netns => claimed.clone(),
    }
}
