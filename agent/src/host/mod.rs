//! The machine: the only module that changes it.

use std::future::Future;

use crate::host::netns::Netns;
use crate::step::{Step, StepError};

pub mod address;
mod announce;
mod arp;
pub mod boot_timer;
mod bridge;
mod deleter;
pub mod dhcp;
pub mod facts;
mod guest_events;
mod guest_link;
mod guest_watch;
mod holder;
pub mod kernel;
pub mod link;
mod lower;
pub mod mark;
mod message;
mod ndp;
mod neighbour;
pub mod netlink;
pub mod netns;
mod offload;
mod ovs_steps;
pub mod port_vlans;
pub mod real;
mod route;
mod saved_route;
pub mod sys;
mod sysctl;
mod take;
pub mod tool;
mod verify;
mod vlan_link;
pub mod watch;

/// Takes steps. The tests wrap the real one to refuse or to die at a chosen step; there is no other.
pub trait Host: Send + Sync + 'static {
    /// Takes the steps in order and stops at the first that is refused. Steps that lie in the guest need its network
    /// namespace; with `None` the guest is gone, so they are nothing to do.
    ///
    /// # Errors
    /// [`Refused`] names the step. Steps after it may have been taken, too, when they went to the kernel together;
    /// undoing a step that was not taken does no harm.
    fn take(&self, guest: Option<&Netns>, steps: &[Step])
    -> impl Future<Output = Result<(), Refused>> + Send;
}

/// A step that was refused.
#[derive(Debug)]
pub struct Refused {
    /// Its place in the list.
    pub index: usize,
    /// Why.
    pub error: StepError,
}
