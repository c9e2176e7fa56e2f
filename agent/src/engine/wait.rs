//! Waiting for a link in a guest. Level-triggered: every event of the kernel or of Open vSwitch has the state read again,
//! and between two looks nothing of the guest is held.

use std::time::Duration;

use pipewright_api::condition::{Condition, GuestLinkState};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::Wait;
use pipewright_api::spec::{Kind, SwitchKind};
use tokio::time::{Instant, timeout_at};

use super::Engine;
use crate::engine::ground::unreadable;
use crate::guests::Guest;
use crate::host::Host;
use crate::host::link::Operstate;

impl<H: Host> Engine<H> {
    /// Returns once the condition holds.
    ///
    /// # Errors
    /// NOT_READY with the last state seen, or what finding the guest fails with.
    pub async fn wait(&self, asked: Wait) -> Result<GuestLinkState, Failure> {
        let deadline = Instant::now() + asked.timeout;
        let mut kernel = self.kernel.guest_changes().map_err(unreadable)?;
        let mut switch = self.ovs.changes();
        let mut guest = self.guests.find(&asked.guest).await?;
        let cookie = self.kernel.cookie(&guest.netns).await.map_err(|_| gone(&asked))?;
        loop {
            kernel.mark_unchanged();
            switch.mark_unchanged();
            let state = self.look_at_link(&guest, cookie, &asked).await?;
            drop(guest.netns);
            if state.meets(asked.condition) {
                return Ok(state);
            }
            let change = async {
                tokio::select! {
                    changed = kernel.changed() => changed.is_ok(),
                    changed = switch.changed() => changed.is_ok(),
                    () = self.stopped() => false,
                }
            };
            match timeout_at(deadline, change).await {
                Err(_) => return Err(not_ready(&asked, &state)),
                Ok(false) => {
                    return Err(Failure::new(
                        Reason::Stopping,
                        "the agent is stopping; ask again in a moment",
                    ));
                }
                Ok(true) => {}
            }
            let reopened = self.guests.reopen(&guest.identity).await;
            let netns = reopened.ok_or_else(|| gone(&asked))?;
            guest = Guest { netns, identity: guest.identity };
        }
    }

    /// The link's state, if the guest is still the one that was found at first.
    async fn look_at_link(
        &self,
        guest: &Guest,
        cookie: u64,
        asked: &Wait,
    ) -> Result<GuestLinkState, Failure> {
        if self.kernel.cookie(&guest.netns).await.ok() != Some(cookie) {
            return Err(gone(asked));
        }
        let mut state = self.kernel.link_state(&guest.netns, &asked.ifname).await.map_err(|_| gone(asked))?;
        if asked.condition >= Condition::Carrier {
            state.carrier &= self.forwards(cookie, asked).await?;
        }
        if asked.condition == Condition::Gateway && state.gateway_is_silent() {
            self.kernel.probe_gateway(&guest.netns, &asked.ifname).await.map_err(|_| gone(asked))?;
        }
        Ok(state)
    }

    /// Whether the switch passes on what the link sends. Of a link that is not ours nothing is known but its carrier.
    async fn forwards(&self, cookie: u64, asked: &Wait) -> Result<bool, Failure> {
        let Some(record) = self.shelf.find(cookie, &asked.ifname) else { return Ok(true) };
        // What is on a link of the host by itself has that link's carrier.
        let Some(host_end) = &record.attachment.host_ifname else { return Ok(true) };
        let is_up = self
            .kernel
            .link(host_end)
            .await
            .map_err(unreadable)?
            .is_some_and(|link| link.operstate == Operstate::Up);
        let is_realised = match record.attachment.spec.kind.and_then(Kind::switch) {
            Some(SwitchKind::Ovs) => {
                self.ovs.port(host_end).is_some_and(|port| port.ofport.is_some_and(|n| n > 0))
            }
            Some(SwitchKind::LinuxBridge) | None => true,
        };
        Ok(is_up && is_realised)
    }
}

fn gone(asked: &Wait) -> Failure {
    let text =
        format!("guest \"{}\" stopped or restarted while {} was waited for", asked.guest, asked.ifname);
    Failure::new(Reason::GuestChanged, text)
}

fn not_ready(asked: &Wait, state: &GuestLinkState) -> Failure {
    let Wait { guest, ifname, condition, timeout, .. } = asked;
    let text = format!(
        "{ifname} of guest \"{guest}\" did not reach \"{condition}\" within {}: {}",
        seconds(*timeout),
        state.lacks()
    );
    Failure::new(Reason::NotReady, text)
        .with("exists", state.exists.to_string())
        .with("up", state.up.to_string())
        .with("carrier", state.carrier.to_string())
        .with("addresses", state.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        .with("gateway_state", state.gateway_state.clone())
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f32())
}
