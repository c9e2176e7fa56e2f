//! The host's deafness to routers on links of ours. A guest that plays the router would otherwise give the host addresses and
//! routes: a bridge is a link of the host's, too, and so is a port of a switch that the kernel does not know of.

use std::time::{Duration, Instant};

use pipewright_api::net::{LinkName, VlanId};
use pipewright_api::spec::SwitchKind;

use crate::host::link::{self, LinkFacts};
use crate::host::netlink::KernelError;
use crate::host::sysctl::LinkSettings;
use crate::host::take::{Run, refusal};
use crate::host::watch::Which;
use crate::host::{mark, shim, vlan_link};
use crate::step::{OF_ROUTERS, Shim, Step, StepError};
use crate::switches::ovs::SwitchError;

/// How long ovs-vswitchd may take to make the link of a bridge.
const APPEARS: Duration = Duration::from_secs(10);

/// `sysctl -w net/ipv6/conf/LINK/accept_ra=0 net/ipv6/conf/LINK/autoconf=0 net/ipv6/conf/LINK/accept_redirects=0`
///
/// # Errors
/// EROFS when /proc/sys is read-only for the agent; what open(2) and write(2) say.
pub(super) fn ignore(settings: &LinkSettings, link: &LinkName) -> Result<(), KernelError> {
    OF_ROUTERS.iter().try_for_each(|setting| settings.set(link, setting, 0))
}

impl Run {
    /// Takes [`Step::IgnoreRouters`].
    ///
    /// # Errors
    /// The kernel's refusal; [`SwitchError::NotRealised`] when ovs-vswitchd does not make the link.
    pub(super) fn ignore_routers(
        &mut self,
        step: &Step,
        name: &LinkName,
        switch: Option<SwitchKind>,
        sets_up: bool,
    ) -> Result<(), StepError> {
        let refuse = |error| refusal(step, error);
        let found = match switch {
            Some(SwitchKind::Ovs) => self.appears(step, name)?,
            Some(SwitchKind::LinuxBridge) | None => {
                let missing = || KernelError::new(libc::ENODEV, format!("link {name} does not exist"));
                let found = link::find(&mut self.host, name.as_str()).map_err(refuse)?;
                found.ok_or_else(missing).map_err(refuse)?
            }
        };
        if !is_ours(&found, switch) {
            return Ok(());
        }
        self.way.ipv6().and_then(|settings| ignore(settings, name)).map_err(refuse)?;
        match sets_up {
            true => self.host.request(&link::set_up(name)).map(drop).map_err(refuse),
            false => Ok(()),
        }
    }

    /// The link of a bridge that is in the database.
    fn appears(&mut self, step: &Step, name: &LinkName) -> Result<LinkFacts, StepError> {
        let until = Instant::now() + APPEARS;
        let waiter = self.kernel.watch.follow(Which::Named(name.to_string()));
        loop {
            if let Some(found) =
                link::find(&mut self.host, name.as_str()).map_err(|error| refusal(step, error))?
            {
                return Ok(found);
            }
            if waiter.next(until).is_none() {
                let source = SwitchError::NotRealised { what: name.to_string(), seconds: APPEARS.as_secs() };
                return Err(StepError::Switch { step: step.to_string(), source });
            }
        }
    }

    pub(super) fn ensure_shim(&mut self, shim: &Shim) -> Result<(), KernelError> {
        shim::ensure(&mut self.host, self.way.ipv6()?, shim)
    }

    pub(super) fn ensure_vlan_link(
        &mut self,
        step: &Step,
        link: &LinkName,
        parent: &LinkName,
        vlan: VlanId,
    ) -> Result<(), StepError> {
        let settings = self.way.ipv6().map_err(|error| refusal(step, error))?;
        vlan_link::ensure(&mut self.host, settings, link, parent, vlan, || step.to_string())
    }
}

/// ovs-vswitchd makes the link of a bridge, so it bears no mark; that the bridge is ours, the database says.
fn is_ours(link: &LinkFacts, switch: Option<SwitchKind>) -> bool {
    match switch {
        Some(SwitchKind::Ovs) => matches!(link.kind.as_str(), "openvswitch" | "tun"),
        Some(SwitchKind::LinuxBridge) => link.group == mark::BRIDGE,
        None => mark::is_of_attachment(link.group),
    }
}
