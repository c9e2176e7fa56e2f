//! Leases are kept for as long as their attachments: asked for more in time, replaced in the guest when the server gives
//! something else, taken out when they end. Between two exchanges nothing of the guest is held.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pipewright_api::attachment::State;
use uuid::Uuid;

use super::Engine;
use crate::dhcp::Moment;
use crate::dhcp::given::{Client, Family, Given};
use crate::engine::records::Record;
use crate::engine::timetable::Errand;
use crate::host::Host;
use crate::host::dhcp::{Outcome, now, seed};
use crate::step::{LeaseRequest, Step};

/// Exchanges with servers at once; more wait for their turn.
pub(super) const AT_ONCE: usize = 16;
/// How long the answer to a request for more is listened for. One that is lost is asked for again later.
const LISTEN: Duration = Duration::from_secs(5);
/// How long an address is looked for, and one from before a restart confirmed: two tries.
const SEEK: Duration = Duration::from_secs(10);
/// When a guest that cannot be reached now is looked at again; if it is gone, its attachment goes by itself.
const UNREACHABLE: Duration = Duration::from_secs(60);

const RENEWED: &str = "its lease was renewed";
const REPLACED: &str = "the DHCP server gave it another address";
const FOUND: &str = "a DHCP server gave it an address again";
const ENDED: &str = "its lease ran out, and no DHCP server answered";

/// When a lease is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// The agent started.
    Start,
    /// Its time has come.
    Time,
}

impl<H: Host> Engine<H> {
    /// Has the leases from before the agent started confirmed.
    pub(super) fn confirm_leases(self: &Arc<Self>) {
        for record in self.shelf.attachments().0 {
            for asked in requests(&record).filter(|_| record.attachment.state == State::Attached) {
                self.look_at(record.attachment.id, asked.identity.family(), Occasion::Start);
            }
        }
    }

    /// The time of a lease has come.
    pub(super) fn look_at_lease(self: &Arc<Self>, id: Uuid, family: Family) {
        self.look_at(id, family, Occasion::Time);
    }

    fn look_at(self: &Arc<Self>, id: Uuid, family: Family, occasion: Occasion) {
        let engine = Arc::clone(self);
        tokio::spawn(async move { engine.keep(id, family, occasion).await });
    }

    /// One exchange, without the guest's lock: a detach does not wait for servers.
    async fn keep(&self, id: Uuid, family: Family, occasion: Occasion) {
        let _turn = self.keeping.acquire().await;
        let Some(record) = self.shelf.get(id).filter(|record| record.attachment.state == State::Attached)
        else {
            return;
        };
        let Some(asked) = requests(&record).find(|asked| asked.identity.family() == family) else { return };
        let Some(guest) = self.reopen(&record).await else {
            self.timetable.at((id, Errand::Lease(family)), Some(now() + UNREACHABLE));
            return;
        };
        let begin = now();
        let (mut client, patience) = match (record.lease(family).cloned(), occasion) {
            (Some(lease), Occasion::Start) => (Client::reboot(&asked.identity, seed(), lease, begin), SEEK),
            (Some(lease), Occasion::Time) => (Client::resume(&asked.identity, seed(), lease, begin), LISTEN),
            (None, _) => (Client::new(&asked.identity, seed(), begin), SEEK),
        };
        let outcome = self.kernel.speak_dhcp(&guest, asked, &mut client, begin + patience).await;
        let outcome = outcome.unwrap_or_else(|error| {
            // A link that is down or gone; if it is ours no more, nothing comes of the next look, either.
            tracing::debug!(attachment = %id, %error, "DHCP cannot be spoken on {}", asked.ifname);
            Outcome::Silence(None)
        });
        drop(guest);
        self.conclude(&record, family, outcome, client.due()).await;
    }

    /// Makes the guest and the record as the exchange ended, unless they were changed meanwhile.
    async fn conclude(&self, before: &Record, family: Family, outcome: Outcome, due: Option<Moment>) {
        let id = before.attachment.id;
        let Some((_lock, record)) = self.hold(id).await else { return };
        if record.attachment.state != State::Attached || record.lease(family) != before.lease(family) {
            return;
        }
        match outcome {
            Outcome::Bound(lease) => {
                let (cause, result) = match record.lease(family) {
                    Some(old) if old.address() == lease.address() => (RENEWED, "renewed"),
                    Some(_) => (REPLACED, "replaced"),
                    None => (FOUND, "found"),
                };
                self.meters.lease(family, result);
                let next = lease.renew_at();
                let is_new = cause != RENEWED;
                self.change_lease(&record, family, Some(lease), cause).await;
                if let Some(record) = self.shelf.get(id).filter(|_| is_new) {
                    self.announce_later(&record);
                }
                self.timetable.at((id, Errand::Lease(family)), next);
            }
            Outcome::Ended => {
                self.meters.lease(family, "ended");
                self.change_lease(&record, family, None, ENDED).await;
                self.timetable.later((id, Errand::Lease(family)), now(), true);
            }
            Outcome::Refused(text) => {
                self.meters.lease(family, "refused");
                let text = text.map(|text| format!(": {text}")).unwrap_or_default();
                let cause = format!("the {} server took its address back{text}", family.name());
                if record.lease(family).is_some() {
                    self.change_lease(&record, family, None, &cause).await;
                }
                self.timetable.later((id, Errand::Lease(family)), now(), true);
            }
            Outcome::Silence(why) => {
                self.meters.lease(family, "unanswered");
                let why = why.as_deref().unwrap_or("nobody answered");
                tracing::debug!(attachment = %id, guest = %record.asked.guest, "asking for a lease: {why}");
                match record.lease(family) {
                    Some(_) => self.timetable.at((id, Errand::Lease(family)), due),
                    None => self.timetable.later((id, Errand::Lease(family)), now(), false),
                }
            }
        }
    }

    /// The guest first, then the record: what the record says is there, or was the last time.
    async fn change_lease(&self, record: &Record, family: Family, lease: Option<Given>, cause: &str) {
        let (id, guest) = (record.attachment.id, &record.asked.guest);
        let address = lease.as_ref().map(|lease| lease.address().to_string()).unwrap_or_default();
        tracing::info!(attachment = %id, %guest, address, "{cause}");
        // If it is gone, so is the attachment, soon; if not, the next look finds it as it was.
        let Some(netns) = self.reopen(record).await else { return };
        self.kernel.leases().give(id, family, lease.clone());
        let is_its = |step: &&Step| match step {
            Step::ApplyLease(asked) => asked.family == family,
            Step::FollowLease(asked) => asked.family == family,
            _ => false,
        };
        let apply: Vec<Step> = record.plan.iter().filter(is_its).cloned().collect();
        if let Err(refused) = self.host.take(Some(&netns), &apply).await {
            tracing::error!(attachment = %id, %guest, "{}", refused.error);
        }
        let mut record = record.clone();
        record.hold(family, lease);
        self.write_down(record, cause).await;
    }
}

impl Record {
    /// What a server gave by a protocol.
    pub(super) fn lease(&self, family: Family) -> Option<&Given> {
        self.leases.iter().find(|lease| lease.family() == family)
    }

    /// Keeps a lease, and shows it.
    pub(super) fn hold(&mut self, family: Family, lease: Option<Given>) {
        let shown = lease.as_ref().map(|lease| lease.shown(now(), SystemTime::now()));
        match family {
            Family::V4 => self.attachment.lease = shown.map(Box::new),
            Family::V6 => self.attachment.lease6 = shown.map(Box::new),
        }
        self.leases.retain(|lease| lease.family() != family);
        self.leases.extend(lease);
    }
}

/// What is asked of DHCP servers for an attachment, by each protocol.
fn requests(record: &Record) -> impl Iterator<Item = &LeaseRequest> {
    record.plan.iter().filter_map(|step| match step {
        Step::AcquireLease(asked) => Some(asked),
        _ => None,
    })
}
