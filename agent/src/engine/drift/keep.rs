//! From an event, or the time of a sweep, to a look; from a look to what is told and repaired.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pipewright_api::attachment::{Drift, State};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval_at, sleep, sleep_until};
use uuid::Uuid;

use super::compare::Difference;
use super::look::Opened;
use super::pace::Looked;
use super::{Known, Policy};
use crate::engine::records::Record;
use crate::engine::{AT_ONCE, Engine};
use crate::host::stir::{Stir, StirredLink};
use crate::host::{Host, mark};
use crate::step::{Far, Step};

/// Changes of Open vSwitch's database come together.
const ROWS: Duration = Duration::from_millis(200);
/// After events were lost, everything is looked at, but not more often.
const LOST: Duration = Duration::from_secs(5);
/// A second difference may come to light when the first is repaired: a link that is down shows no routes.
const ROUNDS: usize = 3;

impl<H: Host> Engine<H> {
    /// Keeps attachments as they were made until the agent stops. What was changed while no agent ran is found first.
    pub(in crate::engine) fn keep_drift(self: &Arc<Self>) {
        self.drift.stir(self.everything());
        let engine = Arc::clone(self);
        tokio::spawn(async move { engine.follow_changes().await });
        let engine = Arc::clone(self);
        tokio::spawn(async move { engine.follow_rows().await });
    }

    fn everything(&self) -> Vec<Uuid> {
        self.shelf.attachments().0.iter().map(|record| record.attachment.id).collect()
    }

    async fn follow_changes(self: Arc<Self>) {
        let mut stirs = match self.kernel.stirs() {
            Ok(stirs) => Some(stirs),
            Err(error) => {
                tracing::error!(%error, "changes are not heard of; what was changed is found by looking at times");
                None
            }
        };
        let period = self.drift.keeping.sweep;
        let mut sweep = interval_at(tokio::time::Instant::now() + period, period);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopped = self.stopped();
        tokio::pin!(stopped);
        let mut lost: Option<Instant> = None;
        loop {
            let next = self.look_at_due();
            tokio::select! {
                () = &mut stopped => return,
                heap = async { match &mut stirs { Some(stirs) => stirs.next().await, None => std::future::pending().await } } => {
                    let Some(heap) = heap else {
                        stirs = None;
                        continue;
                    };
                    let is_late = lost.is_none_or(|lost| lost.elapsed() >= LOST);
                    if heap.is_anywhere && is_late {
                        tracing::info!("events of the kernel were lost: every attachment is looked at");
                        lost = Some(Instant::now());
                        self.drift.stir(self.everything());
                    }
                    let ids = self.meant_by(&heap);
                    if !ids.is_empty() {
                        self.drift.stir(ids);
                    }
                }
                () = self.drift.stirred.notified() => {}
                _ = sweep.tick() => {
                    self.drift.stir(self.everything());
                    self.sweep_orphans().await;
                }
                () = sleep_until(next.unwrap_or_else(Instant::now).into()), if next.is_some() => {}
            }
        }
    }

    /// Looks at ports whenever Open vSwitch's database changes; that costs no look into guests.
    async fn follow_rows(self: Arc<Self>) {
        let mut rows = self.ovs.changes();
        let stopped = self.stopped();
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => return,
                changed = rows.changed() => if changed.is_err() { return },
            }
            sleep(ROWS).await;
            let differs = |record: &&Arc<Record>| {
                record.attachment.state == State::Attached && self.port_differences(record).is_some()
            };
            let (records, _) = self.shelf.attachments();
            let ids: Vec<Uuid> = records.iter().filter(differs).map(|record| record.attachment.id).collect();
            if !ids.is_empty() {
                self.drift.stir(ids);
            }
        }
    }

    /// The attachments that are where something was changed.
    fn meant_by(&self, heap: &Stir) -> BTreeSet<Uuid> {
        let mut ids = BTreeSet::new();
        {
            let known = self.drift.known();
            let there = heap.guests.iter().filter_map(|number| known.guests.get(number));
            ids.extend(there.flatten().copied());
        }
        for link in &heap.links {
            let Some(record) = self.shelf.by_host_end(&link.name) else { continue };
            ids.insert(record.attachment.id);
            if let Some(number) = link.guest {
                self.drift.known().follow(number, record.attachment.id);
            }
        }
        // A link of ours that somebody renamed has its group still; and of bridges only their names are known.
        let is_renamed = |link: &&StirredLink| {
            mark::is_of_attachment(link.group) && self.shelf.by_host_end(&link.name).is_none()
        };
        let renamed: BTreeSet<u32> = heap.links.iter().filter(is_renamed).map(|link| link.group).collect();
        if heap.in_host || !renamed.is_empty() {
            let (records, _) = self.shelf.attachments();
            let is_meant = |record: &&Arc<Record>| {
                renamed.contains(&mark::group(record.attachment.id)) || (heap.in_host && is_in_host(record))
            };
            ids.extend(records.iter().filter(is_meant).map(|record| record.attachment.id));
        }
        ids
    }

    /// Begins the looks whose time has come, and says when the next has.
    fn look_at_due(self: &Arc<Self>) -> Option<Instant> {
        let is_free = |turns: &Semaphore| turns.available_permits() == AT_ONCE as usize;
        let is_busy = !is_free(&self.turns) || !is_free(&self.exits);
        let now = Instant::now();
        let mut known = self.drift.known();
        let due = known.agenda.begin(now, is_busy);
        let next = known.agenda.next(now);
        drop(known);
        for id in due {
            let engine = Arc::clone(self);
            tokio::spawn(async move { engine.look_at_one(id).await });
        }
        next
    }

    async fn look_at_one(&self, id: Uuid) {
        let looked = self.look_and_mend(id).await;
        let mut known = self.drift.known();
        match looked {
            Some(looked) if known.agenda.get(id).is_some() => {
                known.agenda.change(id, |pace| pace.end(Instant::now(), looked));
            }
            // It was detached meanwhile.
            Some(_) | None => known.forget(id),
        }
        drop(known);
        self.drift.stirred.notify_one();
    }

    /// Under the guests' locks: what the agent itself changes is no drift. `None` when there is nothing to look at.
    async fn look_and_mend(&self, id: Uuid) -> Option<Looked> {
        let (_lock, record) = self.hold(id).await?;
        let _turn = self.drift.looks.acquire().await;
        if record.attachment.state != State::Attached || record.changing.is_some() {
            // Who made or changes it has it looked at then.
            return None;
        }
        // Of a guest that cannot be opened nobody knows; and if it died, that is told elsewhere.
        let Some(opened) = self.open_ends(&record).await else { return Some(Looked::AsMade) };
        self.follow_ends(id, &opened).await;
        match self.drift_of(&record, &opened).await {
            Ok(found) if found.is_empty() => {
                if !record.attachment.drift.is_empty() {
                    self.tell(&record, &[], None, "all is as it was made again");
                }
                Some(Looked::AsMade)
            }
            Ok(found) => Some(self.answer(record, &opened, found).await),
            Err(error) => {
                tracing::debug!(attachment = %id, %error, "it cannot be looked at");
                Some(Looked::AsMade)
            }
        }
    }

    /// Tells of drift, and repairs it where that is wanted and of use.
    async fn answer(&self, record: Arc<Record>, opened: &Opened, found: Vec<Difference>) -> Looked {
        let id = record.attachment.id;
        let hindrance = match self.drift.keeping.policy {
            Policy::Report => Some("the agent runs with --drift report"),
            Policy::Repair => self.hindrance(id),
        };
        let shown = &record.attachment.drift;
        let is_shown = shown.len() == found.len() && found.iter().all(|one| is_known(shown, one));
        // What was said of it holds until something else can be said.
        let is_told =
            is_shown && (hindrance.is_none() || shown.iter().all(|drift| drift.unrepaired.is_some()));
        let mut record = if is_told { record } else { self.tell_drift(&record, &found, hindrance) };
        if hindrance.is_some() {
            return Looked::Differs;
        }
        let (mut left, mut refused) = (found.clone(), Vec::new());
        let mut is_tried = false;
        for _ in 0..ROUNDS {
            let mended = match self.mend(&record, opened, &left).await {
                Ok(mended) => mended,
                Err(error) => {
                    refused = vec![error.to_string()];
                    break;
                }
            };
            record = mended.record;
            refused = mended.refused;
            if !mended.is_tried {
                break;
            }
            is_tried = true;
            match self.drift_of(&record, opened).await {
                Ok(now) if now.is_empty() => {
                    self.repaired(&record, &found).await;
                    return Looked::Tried;
                }
                Ok(now) if now == left => break,
                Ok(now) => left = now,
                Err(error) => {
                    refused.push(error.to_string());
                    break;
                }
            }
        }
        let why = match (is_tried, refused.is_empty()) {
            (_, false) => refused.join("; "),
            (true, true) => "the steps that should repair it were taken, and it is as before".to_owned(),
            (false, true) => "nothing can be done about it from here".to_owned(),
        };
        self.meters.repair("failed");
        self.tell_drift(&record, &left, Some(&why));
        if is_tried { Looked::Tried } else { Looked::Differs }
    }

    /// Why nothing is repaired now.
    fn hindrance(&self, id: Uuid) -> Option<&'static str> {
        let known = self.drift.known();
        let pace = known.agenda.get(id)?;
        pace.held(Instant::now())?;
        Some(match pace.is_flapping() {
            true => "flapping: somebody undoes every repair; it is tried again, less and less often",
            false => "it was repaired a moment ago; it is tried again soon",
        })
    }

    async fn repaired(&self, record: &Record, found: &[Difference]) {
        let words: Vec<String> =
            found.iter().map(|one| format!("{} of {}", one.what.word(), one.object)).collect();
        let cause = format!("repaired: {}", words.join(", "));
        self.meters.repair("repaired");
        let record = self.tell(record, &[], None, &cause);
        self.write(&record).await;
    }

    /// Tells of what differs, unless that is known.
    fn tell_drift(&self, record: &Arc<Record>, found: &[Difference], why: Option<&str>) -> Arc<Record> {
        let old = &record.attachment.drift;
        let mut is_told = old.len() == found.len();
        for one in found.iter().filter(|one| !is_known(old, one)) {
            self.meters.drift(one.what.word());
            is_told = false;
        }
        if is_told && old.iter().all(|drift| drift.unrepaired.as_deref() == why) {
            return Arc::clone(record);
        }
        let words: Vec<String> = found
            .iter()
            .map(|one| {
                let Difference { object, found, expected, .. } = one;
                format!("{} of {object} is {found}, not {expected}", one.what.word())
            })
            .collect();
        let why_not = why.map(|why| format!(" ({why})")).unwrap_or_default();
        self.tell(record, found, why, &format!("drift: {}{why_not}", words.join(", ")))
    }

    fn tell(&self, record: &Record, found: &[Difference], why: Option<&str>, cause: &str) -> Arc<Record> {
        let now = SystemTime::now();
        let mut record = record.clone();
        let old = std::mem::take(&mut record.attachment.drift);
        let shown = found.iter().map(|one| Drift {
            what: one.what.word().to_owned(),
            object: one.object.clone(),
            expected: one.expected.clone(),
            found: one.found.clone(),
            since: old.iter().find(|drift| is_same(drift, one)).map_or(now, |drift| drift.since),
            unrepaired: why.map(str::to_owned),
        });
        record.attachment.drift = shown.collect();
        let attachment = &record.attachment;
        tracing::info!(attachment = %attachment.id, guest = %attachment.spec.guest, "{cause}");
        self.shelf.put(record, Some(cause))
    }
}

fn is_known(shown: &[Drift], one: &Difference) -> bool {
    shown.iter().any(|drift| is_same(drift, one))
}

fn is_same(drift: &Drift, one: &Difference) -> bool {
    drift.what == one.what.word()
        && (&drift.object, &drift.found, &drift.expected) == (&one.object, &one.found, &one.expected)
}

/// Whether an end of it has addresses and routes in the host.
fn is_in_host(record: &Record) -> bool {
    record.plan.iter().any(|step| matches!(step, Step::There { whither: Far::Host, .. }))
}

impl Known {
    /// From now on, events of the guest with that number lead to an attachment.
    pub(super) fn follow(&mut self, guest: i32, id: Uuid) {
        self.guests.entry(guest).or_default().insert(id);
    }

    pub(super) fn forget(&mut self, id: Uuid) {
        self.agenda.forget(id);
        self.guests.retain(|_, ids| {
            ids.remove(&id);
            !ids.is_empty()
        });
    }
}
