//! Waiting until frames pass a link. A frame that is sent before is lost, and who asks by ARP asks again after a second.

use std::time::{Duration, Instant};

use pipewright_api::net::LinkName;

use crate::host::link::Operstate;
use crate::host::take::{Run, refusal};
use crate::host::watch::{Seen, Which};
use crate::host::{guest_link, link};
use crate::step::{Step, StepError};

/// How long a link may take to pass frames.
const FORWARDING: Duration = Duration::from_secs(10);

impl Run {
    pub(super) fn await_forwarding(&mut self, step: &Step, host_end: &LinkName) -> Result<(), StepError> {
        if self.forwarding.as_ref() == Some(host_end) {
            return Ok(());
        }
        let until = Instant::now() + FORWARDING;
        let not_forwarding = |operstate: String| StepError::NotForwarding {
            object: host_end.to_string(),
            seconds: FORWARDING.as_secs(),
            operstate,
        };
        let waiter = self.kernel.watch.follow(Which::Named(host_end.to_string()));
        let found = link::find(&mut self.host, host_end.as_str()).map_err(|error| refusal(step, error))?;
        let mut operstate = found.ok_or_else(|| not_forwarding("absent".to_owned()))?.operstate;
        while operstate != Operstate::Up {
            match waiter.next(until) {
                Some(Seen::State(state)) => operstate = state,
                Some(Seen::Gone) => return Err(not_forwarding("absent".to_owned())),
                Some(Seen::Refused(error)) => return Err(refusal(step, error)),
                None => return Err(not_forwarding(operstate.to_string())),
            }
        }
        Ok(())
    }

    pub(super) fn await_guest_forwarding(&mut self, step: &Step, ifname: &LinkName) -> Result<(), StepError> {
        let Some(guest) = &mut self.guest else { return Err(StepError::GuestGone) };
        let until = Instant::now() + FORWARDING;
        let seen = guest_link::await_forwarding(&mut guest.requests, ifname, until);
        seen.map_err(|error| refusal(step, error))?.map_err(|operstate| StepError::NotForwarding {
            object: ifname.to_string(),
            seconds: FORWARDING.as_secs(),
            operstate,
        })
    }
}
