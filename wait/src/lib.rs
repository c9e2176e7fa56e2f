//! Waiting for a link of the network namespace that one is in, without an agent and without privileges: `pwctl wait --local`,
//! `pipework --wait`, and `pwwait`, which images copy in.
//!
//! Level-triggered: every event of the kernel has the state read again. Not sysfs, which shows the namespace that it was
//! mounted in.

pub mod args;
mod look;
mod netlink;
mod probe;

use std::io;
use std::time::{Duration, Instant};

use pipewright_api::condition::{Condition, GuestLinkState};
use pipewright_api::net::LinkName;

use netlink::{Events, Requests};

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Which link.
    pub ifname: LinkName,
    /// What it shall be like.
    pub condition: Condition,
    /// How long to wait; `None`: for ever.
    pub timeout: Option<Duration>,
}

/// Why a wait did not end as was hoped.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The time ran out.
    #[error(
        "{} did not reach \"{}\" within {} s: {}{}; wait longer with --timeout",
        .asked.ifname,
        .asked.condition,
        .asked.timeout.unwrap_or_default().as_secs_f32(),
        .state.lacks(),
        .unasked.as_ref().map(|why| format!(" and cannot be asked: {why}")).unwrap_or_default()
    )]
    NotReady {
        /// What was waited for.
        asked: Asked,
        /// What it was like at the end.
        state: Box<GuestLinkState>,
        /// Why its gateway could not be asked.
        unasked: Option<io::Error>,
    },
    /// The kernel cannot be asked.
    #[error("cannot wait for {ifname}: netlink: {why}")]
    Netlink {
        /// Which link.
        ifname: LinkName,
        /// What the kernel says.
        why: io::Error,
    },
}

/// Waits until the link is as asked, and gives its state. Blocks the thread.
///
/// # Errors
/// The time ran out; netlink cannot be used.
pub fn wait(asked: &Asked) -> Result<GuestLinkState, WaitError> {
    // A time that is too far away to be told is as good as none.
    let deadline = asked.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let unusable = |why| WaitError::Netlink { ifname: asked.ifname.clone(), why };
    // Listening comes first, so that nothing happens between a look and the wait for what comes after it.
    let events = Events::about(asked.condition).map_err(unusable)?;
    let mut kernel = Requests::open().map_err(unusable)?;
    let mut unasked = None;
    loop {
        events.forget().map_err(unusable)?;
        let seen = look::at(&mut kernel, &asked.ifname, asked.condition).map_err(unusable)?;
        if seen.state.meets(asked.condition) {
            return Ok(seen.state);
        }
        if asked.condition == Condition::Gateway && seen.state.gateway_is_silent() {
            unasked = probe::ask(&seen.gateways, &asked.ifname, seen.index).err();
        }
        if !events.next(deadline).map_err(unusable)? {
            return Err(WaitError::NotReady { asked: asked.clone(), state: Box::new(seen.state), unasked });
        }
    }
}

/// What to say of a link that is as asked: `eth1 is ready: address, 192.0.2.10/24`.
pub fn ready(asked: &Asked, state: &GuestLinkState) -> String {
    format!("{} is ready: {}{state}", asked.ifname, asked.condition)
}
