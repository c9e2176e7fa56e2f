//! The machine: the only module that changes it.

use std::future::Future;

use crate::host::netns::Netns;
use crate::step::{Step, StepError};

pub mod address;
mod announce;
pub mod arp;
pub mod boot_timer;
mod bridge;
mod deleter;
pub mod dhcp;
pub mod facts;
mod forwarding;
mod generic;
mod guest_events;
mod guest_link;
mod guest_request;
mod guest_watch;
pub mod hardware;
mod holder;
mod ignore_routers;
pub mod kernel;
pub mod link;
mod lower;
pub mod mark;
mod message;
mod ndp;
mod neighbour;
pub mod netlink;
pub mod netns;
pub mod nic;
mod offload;
mod ovs_steps;
mod pair;
pub mod plugged;
pub mod policy;
pub mod port_vlans;
mod qdisc;
pub mod real;
mod route;
mod rule;
mod saved_route;
mod shim;
mod sole;
pub mod stir;
pub mod survey;
pub mod sys;
mod sysctl;
mod take;
mod threads;
pub mod tool;
mod traffic;
mod verify;
mod veth;
mod visit;
mod vlan_link;
pub mod watch;
mod way;

/// Takes steps. The tests wrap the real one to refuse or to die at a chosen step; there is no other.
pub trait Host: Send + Sync + 'static {
    /// Takes the steps in order and stops at the first that is refused. Steps that lie in the guest need its network
    /// namespace; with `None` the guest is gone, so they are nothing to do.
    ///
    /// # Errors
    /// [`Refused`] names the step. Steps after it may have been taken, too, when they went to the kernel together;
    /// undoing a step that was not taken does no harm.
    fn take<'a>(
        &'a self,
        within: impl Into<Within<'a>> + Send,
        steps: &'a [Step],
    ) -> impl Future<Output = Result<(), Refused>> + Send;
}

/// The guests that steps are taken in, as far as they are open.
#[derive(Debug, Clone, Copy, Default)]
pub struct Within<'a> {
    /// The guest.
    pub guest: Option<&'a Netns>,
    /// The guest at the other end of a link between two.
    pub peer: Option<&'a Netns>,
}

impl<'a> From<Option<&'a Netns>> for Within<'a> {
    fn from(guest: Option<&'a Netns>) -> Self {
        Self { guest, peer: None }
    }
}

/// A step that was refused.
#[derive(Debug)]
pub struct Refused {
    /// Its place in the list.
    pub index: usize,
    /// Why.
    pub error: StepError,
}

impl Refused {
    /// The same, in the list of which this one's begins there.
    #[must_use]
    fn from(self, begin: usize) -> Self {
        Self { index: begin + self.index, ..self }
    }
}
