//! What NICs on their way need of the host, opened before the thread enters the guest: a socket and a namespace of its own are
//! where they were opened.

use super::Radios;
use crate::host::guest_events::{GuestEvents, IPV6_ROUTES, LINKS};
use crate::host::netlink::KernelError;
use crate::host::netns::Netns;
use crate::step::Step;

/// The host, as far as a NIC that comes back needs it.
#[derive(Debug)]
pub(in crate::host) struct Home {
    /// Its namespace.
    pub(super) netns: Netns,
    /// What happens in it.
    pub(super) events: GuestEvents,
}

/// The way into a guest, and back.
#[derive(Default)]
pub(in crate::host) struct Way {
    /// The host, to bring NICs back to.
    home: Option<Home>,
    /// Its radios, of which one leaves.
    pub(in crate::host) radios: Option<Radios>,
}

impl Way {
    /// Opens what these steps need, in the calling thread's network namespace.
    ///
    /// # Errors
    /// What open(2) and socket(2) say; the kernel's refusal.
    pub(in crate::host) fn open(steps: &[Step]) -> Result<Self, KernelError> {
        let returns = steps.iter().any(|step| matches!(step, Step::ReturnNic { .. }));
        let has_radio =
            steps.iter().any(|step| matches!(step, Step::MoveNic(asked) if asked.radio.is_some()));
        Ok(Self {
            home: if returns {
                Some(Home { netns: Netns::own()?, events: GuestEvents::open(LINKS | IPV6_ROUTES)? })
            } else {
                None
            },
            radios: if has_radio { Radios::open()? } else { None },
        })
    }
    /// The host.
    ///
    /// # Errors
    /// EINVAL when no step that brings a NIC back was among those that it was opened for.
    pub(in crate::host) fn home(&self) -> Result<&Home, KernelError> {
        let missing = || KernelError::new(libc::EINVAL, "the host's namespace was not opened");
        self.home.as_ref().ok_or_else(missing)
    }
}
