//! What is done for attachments by and by: leases are kept, and neighbours are told again. Between two times nothing of
//! a guest is held.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pipewright_api::attachment::State;
use uuid::Uuid;

use super::Engine;
use crate::dhcp::given::Given;
use crate::engine::records::Record;
use crate::engine::timetable::Errand;
use crate::host::Host;
use crate::host::boot_timer::BootTimer;
use crate::host::dhcp::now;
use crate::step::Step;

/// Between two announcements: ANNOUNCE_INTERVAL of RFC 5227 §1.1, and no less than RFC 4861 §7.2.6 wants.
const AGAIN: Duration = Duration::from_secs(2);
/// How often an address is announced, the first time at the end of the attach: ANNOUNCE_NUM of RFC 5227 §1.1 and
/// MAX_NEIGHBOR_ADVERTISEMENT of RFC 4861 §10.
const ARP_TIMES: u8 = 2;
const ADVERTISEMENTS: u8 = 3;
/// Announcements at once: each visits a guest, and attaches must not wait for those of attaches before.
pub(super) const AT_ONCE: usize = 4;

impl<H: Host> Engine<H> {
    /// Runs errands until the agent stops.
    pub(super) fn run_errands(self: &Arc<Self>) {
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let mut timer = match BootTimer::new() {
                Ok(timer) => timer,
                Err(error) => return tracing::error!(%error, "there is no timer: leases are not renewed"),
            };
            let stopped = engine.stopped();
            tokio::pin!(stopped);
            loop {
                for (id, errand) in engine.timetable.take_due(now()) {
                    match errand {
                        Errand::Lease(family) => engine.look_at_lease(id, family),
                        Errand::Announce(times) => engine.announce_again(id, times),
                        Errand::Follow => engine.follow(id),
                        Errand::Declared => engine.declare(id),
                    }
                }
                let next = engine.timetable.next();
                tokio::select! {
                    () = &mut stopped => return,
                    () = engine.timetable.changed() => {}
                    rung = timer.until(next.unwrap_or_default()), if next.is_some() => if let Err(error) = rung {
                        return tracing::error!(%error, "the timer is broken: leases are not renewed");
                    },
                }
            }
        });
    }

    /// An address was announced for the first time.
    pub(super) fn announce_later(&self, record: &Record) {
        if record.announces().next().is_some() {
            self.timetable.at((record.attachment.id, Errand::Announce(1)), Some(now() + AGAIN));
        }
    }

    fn announce_again(self: &Arc<Self>, id: Uuid, times: u8) {
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let _turn = engine.announcing.acquire().await;
            let record = engine.shelf.get(id).filter(|record| record.attachment.state == State::Attached);
            let Some(record) = record else { return };
            let is_due =
                |address: &IpAddr| times < if address.is_ipv4() { ARP_TIMES } else { ADVERTISEMENTS };
            let addresses: Vec<IpAddr> = record.announces().filter(is_due).collect();
            if addresses.is_empty() {
                return;
            }
            // A guest that cannot be reached any more has nobody to be announced.
            let Some(guest) = engine.reopen_guest(&record).await else { return };
            let ifname = &record.attachment.spec.ifname;
            if let Err(error) = engine.kernel.announce(&guest, ifname, addresses).await {
                tracing::debug!(attachment = %id, %error, "the addresses of {ifname} were not announced again");
            }
            engine.timetable.at((id, Errand::Announce(times + 1)), Some(now() + AGAIN));
        });
    }
}

impl Record {
    /// The addresses that its neighbours are told of.
    fn announces(&self) -> impl Iterator<Item = IpAddr> {
        let planned = self.plan.iter().flat_map(|step| match step {
            Step::Announce { addresses, .. } => addresses.as_slice(),
            _ => &[],
        });
        let leased = self.leases.iter().map(Given::ip);
        planned.copied().chain(leased)
    }
}
