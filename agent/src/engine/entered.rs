//! The guests of an attach: found, looked into, locked.

use std::collections::BTreeSet;
use std::time::Instant;

use pipewright_api::attachment::GuestIdentity;
use pipewright_api::net::LinkName;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::{AttachmentSpec, Follow, GuestRef, Uplink};

use super::Engine;
use crate::engine::attach::{Wish, unseen};
use crate::engine::locks::GuestLock;
use crate::guests::Guest;
use crate::host::Host;
use crate::host::facts::{GuestFacts, Sought};
use crate::host::netns::Netns;
use crate::kinds::Peer;

/// Name of a link in the guest at the other end when nobody says.
const PEER_IFNAME: &str = "eth1";

/// The guests of an attach. Nobody else changes them while this lives.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) guest: Guest,
    pub(super) facts: GuestFacts,
    /// The guest at the other end of a link between two.
    pub(super) peer: Option<(Guest, GuestFacts)>,
    /// Last, so that nothing of the guests is open any more when somebody else has them.
    #[expect(dead_code, reason = "held")]
    pub(super) locks: Vec<GuestLock>,
}

impl<H: Host> Engine<H> {
    /// Finds the guest, and the one at the other end, reads them, and takes their locks.
    pub(super) async fn enter(&self, spec: &AttachmentSpec) -> Result<Entered, Failure> {
        let guest = self.guests.find(&spec.guest).await?;
        let peer = match &spec.uplink {
            Uplink::Guest(peer) => Some(self.guests.find(peer).await?),
            Uplink::Link(_) | Uplink::Mac(_) | Uplink::Dummy | Uplink::Host => None,
        };
        let before = Instant::now();
        let facts = self.look(&guest.netns, &spec.guest, &spec.ifname, spec, spec.into()).await?;
        let peer = match peer {
            Some(peer) => {
                let facts = self.look_there(&peer.netns, spec).await?;
                Some((peer, facts))
            }
            None => None,
        };
        let cookies: BTreeSet<u64> =
            std::iter::once(facts.cookie).chain(peer.iter().map(|(_, facts)| facts.cookie)).collect();
        let locks = self.locks.guests(cookies).await;
        let is_stale = locks.iter().any(|lock| lock.changed_since(before));
        let mut entered = Entered { guest, facts, peer, locks };
        if is_stale {
            entered.look_again(self, spec).await?;
        }
        entered.guest.identity.netns_cookie = entered.facts.cookie;
        if let Some((peer, facts)) = &mut entered.peer {
            peer.identity.netns_cookie = facts.cookie;
        }
        Ok(entered)
    }

    async fn look(
        &self,
        netns: &Netns,
        guest: &GuestRef,
        ifname: &LinkName,
        spec: &AttachmentSpec,
        sought: Sought,
    ) -> Result<GuestFacts, Failure> {
        let seen = self.kernel.guest(netns, ifname, spec.uplink.link(), sought).await;
        let facts = seen.map_err(|error| unseen(&spec.guest, &error))?;
        if facts.is_host {
            let text = format!(
                "guest \"{guest}\" is in the host's own network namespace, whose links are left alone"
            );
            return Err(Failure::new(Reason::GuestIsHost, text));
        }
        Ok(facts)
    }

    async fn look_there(&self, netns: &Netns, spec: &AttachmentSpec) -> Result<GuestFacts, Failure> {
        match &spec.uplink {
            Uplink::Guest(peer) => {
                let sought = Sought { ipv6: spec.wants_ipv6(), ..Sought::default() };
                self.look(netns, peer, &peer_ifname(spec)?, spec, sought).await
            }
            Uplink::Link(_) | Uplink::Mac(_) | Uplink::Dummy | Uplink::Host => {
                Err(Failure::new(Reason::Internal, "a guest at the other end of a link that has none"))
            }
        }
    }

    /// Refuses a name at the other end that another attachment has.
    pub(super) fn is_free_there(&self, wish: &Wish, entered: &Entered) -> Result<(), Failure> {
        let Some((_, there)) = &entered.peer else { return Ok(()) };
        let ifname = peer_ifname(&wish.spec)?;
        let Some(other) = self.shelf.find(there.cookie, &ifname) else { return Ok(()) };
        let own = self.shelf.find(entered.facts.cookie, &wish.spec.ifname);
        if own.is_some_and(|own| own.attachment.id == other.attachment.id) {
            return Ok(());
        }
        let text = format!(
            "{ifname} of {} is attachment {}; choose another name with --peer-ifname",
            wish.spec.uplink, other.attachment.id
        );
        Err(Failure::new(Reason::IfnameTaken, text).with("attachment", other.attachment.id.to_string()))
    }
}

impl Entered {
    /// Reads the guests anew.
    pub(super) async fn look_again<H: Host>(
        &mut self,
        engine: &Engine<H>,
        spec: &AttachmentSpec,
    ) -> Result<(), Failure> {
        self.facts = engine.look(&self.guest.netns, &spec.guest, &spec.ifname, spec, spec.into()).await?;
        if let Some((peer, facts)) = &mut self.peer {
            *facts = engine.look_there(&peer.netns, spec).await?;
        }
        Ok(())
    }

    /// Whether the link follows its guests: only runtimes that tell when a guest starts make it possible.
    ///
    /// # Errors
    /// INVALID_FIELD when it is asked to and cannot.
    pub(super) fn follow(&self, spec: &AttachmentSpec) -> Result<Follow, Failure> {
        let far = self.peer.as_ref().map(|(peer, _)| peer);
        let mut guests = std::iter::once(&self.guest).chain(far).map(|guest| &guest.identity);
        let fixed = guests.find(|guest| !guest.runtime.tells_of_starts());
        match (spec.follow, fixed) {
            (Some(Follow::Restarts), Some(GuestIdentity { runtime, name, .. })) => {
                let why = format!(
                    "guest \"{name}\" is of {runtime}, and only guests of Docker and Podman are followed: leave it out"
                );
                Err(Failure::field("spec.follow", why))
            }
            (Some(asked), _) => Ok(asked),
            (None, Some(_)) => Ok(Follow::Once),
            (None, None) => Ok(Follow::Restarts),
        }
    }

    /// The other end, as far as a plan depends on it.
    pub(super) fn far(&self, spec: &AttachmentSpec) -> Result<Option<Peer>, Failure> {
        let Some((guest, facts)) = &self.peer else { return Ok(None) };
        Ok(Some(Peer {
            guest: guest.identity.clone(),
            ifname: peer_ifname(spec)?,
            ifname_taken: facts.ifname_taken,
            ipv6_disabled: facts.ipv6_disabled,
        }))
    }
}

fn peer_ifname(spec: &AttachmentSpec) -> Result<LinkName, Failure> {
    match &spec.peer.ifname {
        Some(name) => Ok(name.clone()),
        None => PEER_IFNAME.parse().map_err(|why| Failure::field("spec.peer_ifname", why)),
    }
}
