//! What steps need of the host, opened before the thread enters the guest: a socket, a namespace of its own and the settings
//! of links are those of where they were opened.

use crate::host::guest_events::{GuestEvents, IPV6_ROUTES, LINKS};
use crate::host::netlink::KernelError;
use crate::host::netns::Netns;
use crate::host::nic::Radios;
use crate::host::sysctl::LinkSettings;
use crate::step::Step;

/// The host, as far as a NIC that comes back needs it.
#[derive(Debug)]
pub(super) struct Home {
    /// Its namespace.
    pub(super) netns: Netns,
    /// What happens in it.
    pub(super) events: GuestEvents,
}

/// The way into a guest, and back.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// The host, to bring NICs back to.
    home: Option<Home>,
    /// Its radios, of which one leaves.
    pub(super) radios: Option<Radios>,
    /// Settings of IPv6 of its links.
    ipv6: Option<LinkSettings>,
}

impl Way {
    /// Opens what these steps need, in the calling thread's network namespace.
    ///
    /// # Errors
    /// What open(2) and socket(2) say; the kernel's refusal.
    pub(super) fn open(steps: &[Step]) -> Result<Self, KernelError> {
        let returns = steps.iter().any(|step| matches!(step, Step::ReturnNic { .. }));
        let has_radio =
            steps.iter().any(|step| matches!(step, Step::MoveNic(asked) if asked.radio.is_some()));
        let sets = |step: &Step| {
            matches!(step, Step::IgnoreRouters { .. } | Step::EnsureVlanLink { .. } | Step::EnsureShim(_))
        };
        Ok(Self {
            home: if returns {
                Some(Home { netns: Netns::own()?, events: GuestEvents::open(LINKS | IPV6_ROUTES)? })
            } else {
                None
            },
            radios: if has_radio { Radios::open()? } else { None },
            ipv6: if steps.iter().any(sets) { Some(LinkSettings::open_ipv6()?) } else { None },
        })
    }

    /// The host.
    ///
    /// # Errors
    /// EINVAL when no step that brings a NIC back was among those that it was opened for.
    pub(super) fn home(&self) -> Result<&Home, KernelError> {
        let missing = || KernelError::new(libc::EINVAL, "the host's namespace was not opened");
        self.home.as_ref().ok_or_else(missing)
    }

    /// Settings of IPv6 of the host's links.
    ///
    /// # Errors
    /// EINVAL when no step that changes them was among those that it was opened for.
    pub(super) fn ipv6(&self) -> Result<&LinkSettings, KernelError> {
        let missing = || KernelError::new(libc::EINVAL, "the settings of the host's links were not opened");
        self.ipv6.as_ref().ok_or_else(missing)
    }
}
