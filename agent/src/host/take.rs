//! Taking steps: one after the other, those in the guest that are one request each together.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipewright_api::net::LinkName;
use uuid::Uuid;

use crate::host::guest_request::{is_guest_request, pardon, request};
use crate::host::kernel::Inner;
use crate::host::link::LinkFacts;
use crate::host::netlink::{KernelError, Requests};
use crate::host::netns::Netns;
use crate::host::verify::{self, Difference};
use crate::host::visit::Whither;
use crate::host::watch::{Seen, Which};
use crate::host::way::Way;
use crate::host::{
    Refused, announce, bridge, guest_link, link, lower, mark, nic, offload, pair, port_vlans, shim, sys,
    sysctl, veth, vlan_link,
};
use crate::step::{Expected, Move, Nic, Step, StepError};

/// How long the kernel may take to delete a link; others that change links hold it up.
const DELETION: Duration = Duration::from_secs(60);

/// What is open for the steps of one operation.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) kernel: Arc<Inner>,
    pub(super) host: Requests,
    pub(super) guest: Option<Guest>,
    /// Why there is no guest, when there should be one.
    refused: Option<KernelError>,
    /// What would be taken in a guest is meant for the host.
    is_for_host: bool,
    /// Where the other end of a pair is to be.
    far: Option<Netns>,
    pub(super) way: Way,
    /// The link of the host that the step before has seen to pass frames.
    pub(super) forwarding: Option<LinkName>,
    /// What takes long to close.
    pub(super) close_later: Vec<OwnedFd>,
}

/// The guest as seen from inside.
#[derive(Debug)]
pub(super) struct Guest {
    netns: Netns,
    pub(super) requests: Requests,
    pub(super) cookie: u64,
    /// Whether it is the host, once that was looked at; a namespace stays what it is.
    is_host: Option<bool>,
}

impl Run {
    /// Begins in the host, where `host` was opened.
    pub(super) fn begin(kernel: Arc<Inner>, host: Requests, whither: &Whither) -> Self {
        let is_for_host = matches!(whither, Whither::Host);
        let (far, way, forwarding, close_later) = (None, Way::default(), None, Vec::new());
        Self { kernel, host, guest: None, refused: None, is_for_host, far, way, forwarding, close_later }
    }

    /// The calling thread is there. Opens what is needed of it, unless it is open.
    pub(super) fn arrive(&mut self, whither: &Whither) {
        let opened = match whither {
            Whither::Guest(_) | Whither::Host if self.guest.is_some() => return,
            Whither::Guest(netns) => open(netns.clone()),
            Whither::Host => stay(),
            Whither::Nowhere => return,
        };
        match opened {
            Ok(guest) => (self.guest, self.refused) = (Some(guest), None),
            Err(refused) => self.refuse(refused),
        }
    }

    /// The guest cannot be entered.
    pub(super) fn refuse(&mut self, refused: KernelError) {
        (self.guest, self.refused) = (None, Some(refused));
    }

    /// The guest.
    ///
    /// # Errors
    /// Why it could not be entered.
    pub(super) fn entered(&mut self) -> Result<&mut Guest, KernelError> {
        let refused = &self.refused;
        let gone = || refused.clone().unwrap_or_else(|| KernelError::new(libc::ENOENT, "there is no guest"));
        self.guest.as_mut().ok_or_else(gone)
    }

    /// Whether what was entered is no guest's, see [`Inner::is_host_here`].
    ///
    /// # Errors
    /// Why nothing could be entered, or when it cannot be told.
    pub(super) fn is_in_host(&mut self) -> Result<bool, KernelError> {
        let cookie = match self.entered()? {
            Guest { is_host: Some(is_host), .. } => return Ok(*is_host),
            Guest { cookie, .. } => *cookie,
        };
        let is_host = self.kernel.is_host_here(cookie)?;
        self.entered()?.is_host = Some(is_host);
        Ok(is_host)
    }

    /// Takes all steps; the other end of a pair goes to `far`; the `way` was opened in the host for these steps.
    /// What they leave to be closed is closed at the end of the visit.
    pub(super) fn take(&mut self, far: Option<Netns>, way: Way, steps: &[Step]) -> Result<(), Refused> {
        if let Some(first) = steps.iter().position(needs_guest) {
            self.may_take_in_guest()
                .map_err(|error| Refused { index: first, error: refusal(&steps[first], error) })?;
        }
        (self.far, self.way, self.forwarding) = (far, way, None);
        let is_attach = steps.iter().any(|step| matches!(step, Step::CreateVeth(_) | Step::CreatePair(_)))
            && !steps.iter().any(Step::asks_the_network);
        let _attaching = is_attach.then(|| self.kernel.deleter.attaching());
        self.take_all(steps)
    }

    /// Whoever opened the namespace has looked already; but nothing may ever happen in the host that is meant for a guest.
    fn may_take_in_guest(&mut self) -> Result<(), KernelError> {
        if self.guest.is_none() {
            return self.refused.clone().map_or(Ok(()), Err);
        }
        if !self.is_for_host && self.is_in_host()? {
            return Err(KernelError::new(libc::EPERM, "the guest's network namespace is the host's own"));
        }
        Ok(())
    }

    /// Gives the host's socket back, and closes what is left: what takes long, on a thread for which nobody waits.
    pub(super) fn finish(self) {
        let Self { kernel, host, guest, far, close_later, .. } = self;
        kernel.sockets.put_back(host);
        drop(guest);
        drop(far);
        if !close_later.is_empty() {
            // They are dropped, and so closed, here when there is no such thread.
            let _no_thread = kernel.threads.begin(move || drop(close_later));
        }
    }

    fn take_all(&mut self, steps: &[Step]) -> Result<(), Refused> {
        let mut index = 0;
        while let Some(rest) = steps.get(index..).filter(|rest| !rest.is_empty()) {
            let together = rest.iter().take_while(|step| is_guest_request(step)).count();
            let begun = Instant::now();
            let (place, result) = match together {
                0 => (0, self.take_one(&rest[0])),
                _ => self.take_in_guest(&rest[..together]),
            };
            self.kernel.step_times.took(&rest[..together.max(1)], begun.elapsed());
            result.map_err(|error| Refused { index: index + place, error })?;
            index += together.max(1);
        }
        Ok(())
    }

    fn take_one(&mut self, step: &Step) -> Result<(), StepError> {
        if !matches!(step, Step::AwaitForwarding { .. }) {
            self.forwarding = None;
        }
        let result = match step {
            Step::EnsureBridge { bridge, mac, .. } => bridge::ensure(&mut self.host, bridge, *mac),
            Step::ReleaseBridge { bridge, .. } => bridge::to_release(&mut self.host, bridge)
                .and_then(|found| found.map_or(Ok(()), |found| self.delete(&found))),
            Step::IgnoreRouters { link, switch, sets_up } => {
                return self.ignore_routers(step, link, *switch, *sets_up);
            }
            Step::FilterVlans { bridge, uplink } => return self.filter_vlans(step, bridge, uplink.as_ref()),
            Step::PassVlans { bridge, uplink } => bridge::pass_vlans(&mut self.host, bridge, uplink.as_ref()),
            Step::JoinVlans { port, vlan } => port_vlans::join(&mut self.host, port, vlan),
            Step::CreateVeth(pair) => match &self.guest {
                Some(guest) => veth::create(&mut self.host, &guest.netns, pair),
                None => return Err(StepError::GuestGone),
            },
            Step::CreateLink(link) => {
                return match &self.guest {
                    Some(guest) => guest_link::create(&mut self.host, &guest.netns, link),
                    None => Err(StepError::GuestGone),
                };
            }
            Step::CreatePair(pair) => match (&mut self.guest, &self.far) {
                (Some(guest), Some(far)) => pair::create(&mut guest.requests, far, pair),
                (None, _) | (_, None) => return Err(StepError::GuestGone),
            },
            Step::EnsureShim(shim) => self.ensure_shim(shim),
            Step::ReleaseShim { link } => shim::to_release(&mut self.host, link)
                .and_then(|found| found.map_or(Ok(()), |found| self.delete(&found))),
            Step::AddReach(reach) => shim::add_route(&mut self.host, reach),
            Step::RemoveReach(reach) => shim::remove_route(&mut self.host, reach),
            Step::FollowLease(asked) => {
                let lease = self.kernel.leases.given(asked.id, asked.family);
                shim::follow(&mut self.host, asked, lease.as_ref())
            }
            Step::UnfollowLease(asked) => shim::follow(&mut self.host, asked, None),
            Step::There { .. } => Err(KernelError::new(libc::EINVAL, "this step is taken at the other end")),
            Step::DeleteGuestLink { id, ifname, netns_id, may_come_back } => match &mut self.guest {
                Some(guest) => guest_link::delete(&mut guest.requests, None, *id, ifname),
                None => guest_link::delete_outside(&mut self.host, *netns_id, *id, ifname, *may_come_back),
            },
            Step::MarkNic(nic) => nic::mark(&mut self.host, nic),
            Step::MoveNic(asked) => return self.move_nic(step, asked),
            Step::ReturnNic { nic, netns_id } => self.return_nic(nic, *netns_id),
            Step::SetGuestLink { ifname, mac, mtu } => match &mut self.guest {
                Some(guest) => nic::set_guest_link(&mut guest.requests, ifname, *mac, *mtu),
                None => Ok(()),
            },
            Step::EnsureVlanLink { link, parent, vlan } => {
                return self.ensure_vlan_link(step, link, parent, *vlan);
            }
            Step::ReleaseVlanLink { link } => vlan_link::to_release(&mut self.host, link)
                .and_then(|found| found.map_or(Ok(()), |found| self.delete(&found))),
            Step::AwaitGuestForwarding { ifname } => return self.await_guest_forwarding(step, ifname),
            Step::DeleteLink { id, link } => self.delete_link(*id, link),
            Step::AwaitForwarding { host_end } => return self.await_forwarding(step, host_end),
            Step::EnslaveLink { link, bridge } => bridge::enslave(&mut self.host, link, bridge),
            Step::FreeLink { link, bridge } => bridge::free(&mut self.host, link, bridge),
            Step::SetHostLinkUp { link } => self.host.request(&link::set_up(link)).map(drop),
            Step::SetHostLinkDown { link } => lower::lower(&mut self.host, link),
            Step::Verify(expected) => return self.verify(step, expected),
            Step::VerifyTraffic(wanted) => return self.verify_traffic(step, wanted),
            Step::EnableIpv6 { ifname } => match self.guest {
                Some(_) => sysctl::set_ipv6(ifname.as_str(), "disable_ipv6", 0),
                None => Ok(()),
            },
            Step::SetIpv6 { ifname, setting, value } => match self.guest {
                Some(_) => sysctl::set_ipv6(ifname.as_str(), setting.name(), *value),
                None => Ok(()),
            },
            Step::ProbeAddresses(probe) => return self.probe_addresses(step, probe),
            Step::AwaitAddresses(awaited) => return self.await_addresses(step, awaited),
            Step::DisableTxChecksum { ifname } => match &self.guest {
                Some(guest) => offload::disable_tx_checksum(&guest.requests, ifname.as_str()),
                None => Ok(()),
            },
            Step::Announce { ifname, mac, addresses } => match &self.guest {
                Some(guest) => link::index(&guest.requests, ifname)
                    .and_then(|index| Ok(announce::announce(index, *mac, addresses)?))
                    .map(|socket| self.close_later.push(socket)),
                None => Ok(()),
            },
            Step::ApplyLease(asked) => return self.apply_lease(step, asked),
            Step::WithdrawLease(asked) => return self.withdraw_lease(step, asked),
            Step::SetUp { .. }
            | Step::AddAddress { .. }
            | Step::AddRoute(_)
            | Step::RemoveRoute(_)
            | Step::AddTraffic(_)
            | Step::RemoveTraffic(_)
            | Step::SetAsideRoute(_)
            | Step::RestoreRoute(_) => return self.take_in_guest(std::slice::from_ref(step)).1,
            Step::PlugPort(_) | Step::UnplugPort { .. } | Step::SetPortVlan { .. } | Step::AwaitPort(_) => {
                Err(KernelError::new(libc::EINVAL, "this step is taken by Open vSwitch"))
            }
            Step::AcquireLease(_) | Step::ReleaseLease(_) => {
                Err(KernelError::new(libc::EINVAL, "this step is taken by a client of DHCP"))
            }
        };
        result.map_err(|error| refusal(step, error))
    }

    /// Takes steps that are one request each in one send. The number is the place of the one that was refused.
    pub(super) fn take_in_guest(&mut self, steps: &[Step]) -> (usize, Result<(), StepError>) {
        let Some(guest) = &mut self.guest else { return (0, Ok(())) };
        let mut requests = Vec::with_capacity(steps.len());
        let mut places = VecDeque::with_capacity(steps.len());
        for (place, step) in steps.iter().enumerate() {
            match request(&guest.requests, step) {
                Ok(None) => {}
                Ok(Some(request)) => {
                    requests.push(request);
                    places.push_back(place);
                }
                Err(error) => return (place, Err(refusal(step, error))),
            }
        }
        let answers = match guest.requests.batch(&requests) {
            Ok(answers) => answers,
            Err(error) => return (0, Err(refusal(&steps[0], error))),
        };
        for (place, answer) in places.into_iter().zip(answers) {
            let step = &steps[place];
            if let Err(error) = answer.map(drop).or_else(|error| pardon(&mut guest.requests, step, error)) {
                return (place, Err(refusal(step, error)));
            }
        }
        (0, Ok(()))
    }

    fn filter_vlans(
        &mut self,
        step: &Step,
        name: &LinkName,
        uplink: Option<&LinkName>,
    ) -> Result<(), StepError> {
        bridge::filter_vlans(&mut self.host, name, uplink).map_err(|error| match error.errno {
            libc::EOPNOTSUPP => StepError::NoFiltering { step: step.to_string() },
            _ => refusal(step, error),
        })
    }

    fn move_nic(&mut self, step: &Step, asked: &Move) -> Result<(), StepError> {
        let Some(guest) = &mut self.guest else { return Err(StepError::GuestGone) };
        let (radios, line) = (self.way.radios.as_mut(), || step.to_string());
        nic::lend(&mut self.host, radios, &mut guest.requests, &guest.netns, asked, line)
    }

    fn return_nic(&mut self, nic: &Nic, netns_id: Option<i32>) -> Result<(), KernelError> {
        let guest = self.guest.as_mut().map(|guest| &mut guest.requests);
        nic::give_back(&mut self.host, self.way.home()?, guest, netns_id, nic)
    }

    fn delete_link(&mut self, id: Uuid, name: &LinkName) -> Result<(), KernelError> {
        match link::find(&mut self.host, name.as_str())? {
            Some(link) if link.group == mark::group(id) => self.delete(&link),
            // Somebody else's link of that name stays.
            Some(_) | None => Ok(()),
        }
    }

    /// Deletes a link that was just seen to be ours, and waits for the kernel's notice.
    fn delete(&self, link: &LinkFacts) -> Result<(), KernelError> {
        let until = Instant::now() + DELETION;
        let waiter = self.kernel.watch.follow(Which::Numbered(link.index));
        self.kernel.deleter.delete(link, waiter.teller());
        loop {
            match waiter.next(until) {
                Some(Seen::Gone) => return Ok(()),
                Some(Seen::State(_)) => {}
                Some(Seen::Refused(error)) => return Err(error),
                None => {
                    let text = format!("link {} is still there after {} s", link.name, DELETION.as_secs());
                    return Err(KernelError::new(libc::ETIMEDOUT, text));
                }
            }
        }
    }

    fn verify(&mut self, step: &Step, expected: &Expected) -> Result<(), StepError> {
        let Some(guest) = &mut self.guest else { return Err(StepError::GuestGone) };
        let verified = verify::verify(&mut self.host, &mut guest.requests, expected);
        self.forwarding = verified.map_err(|difference| match difference {
            Difference::NotAsAsked(error) => error,
            Difference::Unread(error) => refusal(step, error),
        })?;
        Ok(())
    }
}

/// Steps that need the guest's namespace; some of them cannot do without.
fn needs_guest(step: &Step) -> bool {
    step.looks_into_guest()
        || matches!(
            step,
            Step::CreateVeth(_)
                | Step::CreateLink(_)
                | Step::CreatePair(_)
                | Step::MoveNic(_)
                | Step::Verify(_)
                | Step::VerifyTraffic(_)
        )
}

fn stay() -> Result<Guest, KernelError> {
    open(Netns::own()?)
}

/// Where the thread is.
fn open(netns: Netns) -> Result<Guest, KernelError> {
    let requests = Requests::open()?;
    let cookie = sys::netns_cookie(&requests)?;
    Ok(Guest { netns, requests, cookie, is_host: None })
}

pub(super) fn unless(errno: i32, result: Result<(), KernelError>) -> Result<(), KernelError> {
    result.or_else(|error| if error.errno == errno { Ok(()) } else { Err(error) })
}

pub(super) fn refusal(step: &Step, error: KernelError) -> StepError {
    StepError::Kernel { step: step.to_string(), errno: error.errno, text: error.text }
}
