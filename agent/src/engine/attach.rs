//! Attach: a verified attachment, or nothing.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use pipewright_api::attachment::{Attachment, Origin, State};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::Attach;
use pipewright_api::spec::{AttachmentSpec, FleetName, Follow, GuestRef, Kind};
use tracing::Instrument;
use uuid::Uuid;

use super::Engine;
use crate::declared;
use crate::dhcp::given::Family;
use crate::engine::decided;
use crate::engine::entered::Entered;
use crate::engine::known::{Known, in_the_way};
use crate::engine::operations::{Answer, Done, Operation, fingerprint};
use crate::engine::outcome::{Made, Outcome};
use crate::engine::records::{Durable, Record, Write};
use crate::host::netns::Netns;
use crate::host::{Host, Within, mark};
use crate::kinds::{self, Derived};
use crate::metrics;
use crate::step::{self, Step};

/// What watchers are told of one that waited.
const STARTED: &str = "its guest started";

/// What an attach is for.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// Its request.
    pub request: Uuid,
    /// What is wanted.
    pub spec: AttachmentSpec,
    /// The fleet that wants it.
    pub fleet: Option<FleetName>,
    /// The attachment that waits for this, when it is its own guest that started and nobody else asked.
    pub again: Option<Uuid>,
    /// What of its container asked for it, and is allowed less than a caller.
    pub origin: Option<Origin>,
}

impl<H: Host> Engine<H> {
    /// Plugs a link into a guest, or says what it would do.
    ///
    /// # Errors
    /// See the `.proto` file.
    pub async fn attach(self: &Arc<Self>, asked: Attach) -> Result<(Attachment, bool), Failure> {
        let Attach { request_id, spec, dry_run } = asked;
        let wish = Wish { request: request_id, spec, fleet: None, again: None, origin: None };
        if dry_run {
            return self.would_attach(&wish).await;
        }
        let fingerprint = fingerprint(&("attach", &wish.spec))?;
        let engine = Arc::clone(self);
        let print = fingerprint.clone();
        let work = async move {
            let open = open_operation(wish.request, print);
            let outcome = match engine.make_unfinished(&wish, Some(&open)).await {
                Ok(outcome) => outcome,
                Err(failure) => return Done::from(Err(failure)),
            };
            let answer = Ok(Answer::Attached { attachment: outcome.shown(), created: outcome.made.created });
            Done { answer, then: Some(Box::new(move || drop(outcome.finish(&engine)))) }
        };
        let carry = self.carry(&self.turns);
        match self.operations.answer(request_id, fingerprint, work, carry).await? {
            Answer::Attached { attachment, created } => Ok((Arc::unwrap_or_clone(attachment), created)),
            other => Err(super::list::strange_answer(&other)),
        }
    }

    /// Makes an attachment, or finds it made.
    pub(super) async fn make(
        &self,
        wish: &Wish,
        open: Option<&Operation>,
    ) -> Result<(Arc<Record>, bool), Failure> {
        Ok(self.make_unfinished(wish, open).await?.finish(self))
    }

    /// The same, for a caller who is answered before the rest is done. Whatever is logged meanwhile says for whom.
    async fn make_unfinished(&self, wish: &Wish, open: Option<&Operation>) -> Result<Outcome, Failure> {
        let Wish { request, spec, .. } = wish;
        let span = tracing::info_span!(
            "attach",
            %request,
            guest = %spec.guest,
            ifname = %spec.ifname,
            attachment = tracing::field::Empty
        );
        let begun = Instant::now();
        // On the heap, or whoever awaits this would move some ten kilobytes at each turn.
        let made = Box::pin(self.make_or_find(wish, open)).instrument(span.clone()).await;
        let took = begun.elapsed();
        let kind = made.as_ref().map_or(spec.kind, |made| made.record.attachment.spec.kind);
        self.meters.attached(kind, made.as_ref().map(|made| made.created), took);
        match made {
            Ok(made) => Ok(Outcome { made, span, took }),
            Err(failure) => {
                span.in_scope(|| tell("attach", &failure));
                Err(failure)
            }
        }
    }

    async fn make_or_find(&self, wish: &Wish, open: Option<&Operation>) -> Result<Made, Failure> {
        let mut attaching = self.kernel.turn_to_attach().await;
        let (entered, waiting) = loop {
            let mut entered = self.enter(&wish.spec).await?;
            match self.known(wish, &entered).await? {
                Known::No => break (entered, None),
                Known::Attached(known) => {
                    let shown = open.is_some().then(|| Arc::new(known.shown()));
                    if let Some(attachment) = shown.clone() {
                        self.settle_answer(open, Answer::Attached { attachment, created: false }).await?;
                    }
                    return Ok(Made { record: known, shown, created: false, entered });
                }
                Known::Remains(record) => {
                    drop(attaching);
                    self.remove(&record, wish.request, None).await?;
                    attaching = self.kernel.turn_to_attach().await;
                    // A default route may be back that ours has to replace.
                    entered.look_again(self, &wish.spec).await?;
                    break (entered, None);
                }
                Known::Waiting(record) => {
                    drop(attaching);
                    let taken_up = self.take_up(&record).await?;
                    attaching = self.kernel.turn_to_attach().await;
                    if taken_up.is_some() {
                        break (entered, taken_up);
                    }
                }
                Known::Elsewhere(record) => {
                    drop(entered);
                    drop(attaching);
                    self.leave(record.attachment.id).await?;
                    attaching = self.kernel.turn_to_attach().await;
                }
            }
        };
        let Entered { guest, peer, .. } = &entered;
        let (_waits, waiting) = waiting.unzip();
        let mut record = self.decide(wish, &entered, waiting.as_deref()).await?;
        let _uses = self
            .locks
            .use_links(step::needs(&record.plan).map(|shared| shared.link().clone()).collect())
            .await;
        if record.attachment.host_ifname.is_none() {
            record.netns_id = Some(self.number(&guest.netns, &wish.spec).await?);
        }
        let (record, shown, intent) = self.intend(record, open).await?;
        // Open vSwitch, DHCP servers and neighbours take their time, which deletions need not wait for.
        let is_quick = record.attachment.spec.kind == Some(Kind::LinuxBridge)
            && !record.plan.iter().any(Step::asks_the_network);
        let attaching = is_quick.then_some(attaching);
        let within = Within { guest: Some(&guest.netns), peer: peer.as_ref().map(|(peer, _)| &peer.netns) };
        let taken = self.host.take(within, &record.plan).await;
        drop(attaching);
        match taken {
            Ok(()) => match self.settle(&record, open, shown, intent).await {
                Ok((record, shown)) => Ok(Made { record, shown, created: true, entered }),
                Err(unwritten) => {
                    drop(_uses);
                    Err(self.forgo(&record, &guest.netns, unwritten).await)
                }
            },
            Err(refused) => {
                drop(_uses);
                Err(self.roll_back(&record, &guest.netns, refused, open).await)
            }
        }
    }

    async fn would_attach(&self, wish: &Wish) -> Result<(Attachment, bool), Failure> {
        let entered = self.enter(&wish.spec).await?;
        match self.known(wish, &entered).await? {
            Known::No => {}
            Known::Attached(known) => return Ok((known.shown(), false)),
            Known::Remains(record) => return Err(in_the_way(&record)),
            Known::Waiting(record) | Known::Elsewhere(record) => {
                return Ok((self.decide(wish, &entered, Some(&record)).await?.shown(), true));
            }
        }
        let record = self.decide(wish, &entered, None).await?;
        Ok((record.shown(), true))
    }

    /// The number of the guest's namespace in the host's.
    async fn number(&self, netns: &Netns, spec: &AttachmentSpec) -> Result<i32, Failure> {
        self.kernel.netns_id(netns).await.map_err(|error| unseen(&spec.guest, &error))
    }

    /// From what is asked and what is there to a record that says all.
    async fn decide(
        &self,
        wish: &Wish,
        entered: &Entered,
        waiting: Option<&Record>,
    ) -> Result<Record, Failure> {
        let id = waiting.map_or_else(Uuid::new_v4, |record| record.attachment.id);
        tracing::Span::current().record("attachment", tracing::field::display(id));
        let guest = entered.guest.identity.clone();
        let peer = entered.far(&wish.spec)?;
        let far = peer.as_ref().map(|peer| (peer.guest.clone(), peer.ifname.clone()));
        // What waits stays of its kind, whatever the uplink is by now, and has its names again, unless others took them.
        let kind = waiting.and_then(|record| record.attachment.spec.kind).or(wish.spec.kind);
        let host_ifname = waiting.and_then(|record| record.attachment.host_ifname.clone());
        let host_ifname = host_ifname.or_else(|| wish.spec.host_ifname.clone());
        let wanted = AttachmentSpec { kind, host_ifname, ..wish.spec.clone() };
        let ground = self.ground(&wanted, guest.clone(), entered.facts.clone(), peer).await?;
        let alias = mark::alias(id, &wish.spec.ifname, wish.fleet.as_ref(), &guest);
        let derived = Derived { id, host_end: mark::host_end(id), mac: mark::mac(id), alias };
        let follow = entered.follow(&wish.spec)?;
        let decision = kinds::plan(&wanted, &ground, derived)?;
        if let Some(origin) = &wish.origin {
            let made = declared::Made { kind: decision.kind, is_bridge_missing: ground.is_bridge_missing() };
            self.labels.permit(origin, &wish.spec, Some(made))?;
        }
        let mut record = decided::record(id, wish, guest, far, decision);
        record.attachment.spec.follow = Some(follow);
        if let Some(before) = waiting {
            decided::go_on(&mut record, before);
        }
        Ok(record)
    }

    /// Writes the intent. From here on a crash is made good by the next start.
    async fn intend(
        &self,
        record: Record,
        open: Option<&Operation>,
    ) -> Result<(Arc<Record>, Option<Arc<Attachment>>, Durable), Failure> {
        let record = self.shelf.claim(record, None)?;
        if record.attachment.host_ifname.is_none() {
            self.without_host_end.notify_one();
        }
        let shown = open.map(|_| Arc::new(Attachment { state: State::Attached, ..record.shown() }));
        let mut writes = vec![Write::Attachment(Arc::clone(&record))];
        writes.extend(shown.clone().and_then(|shown| expecting(open, made(shown))));
        match self.records.begin(&writes).await {
            Ok(intent) => Ok((record, shown, intent)),
            Err(failure) => {
                self.step_back(&record, Vec::new(), Some(failure.message()));
                Err(failure)
            }
        }
    }

    /// Writes the outcome, and with it what the caller is shown, which is what was expected but for what only came to be.
    async fn settle(
        &self,
        record: &Record,
        open: Option<&Operation>,
        shown: Option<Arc<Attachment>>,
        intent: Durable,
    ) -> Result<(Arc<Record>, Option<Arc<Attachment>>), Failure> {
        let mut record = record.clone();
        record.attachment.state = State::Attached;
        record.waits_since = None;
        for family in Family::ALL {
            record.hold(family, self.kernel.leases().given(record.attachment.id, family));
        }
        let cause = record.follows.then_some(STARTED);
        record.follows = record.attachment.spec.follow == Some(Follow::Restarts);
        let record = self.shelf.put(record, cause);
        let shown =
            shown.map(|shown| Arc::new(Attachment { plan: shown.plan.clone(), ..record.attachment.clone() }));
        let mut writes = vec![Write::Attachment(Arc::clone(&record))];
        writes.extend(shown.clone().and_then(|shown| answered(open, made(shown))));
        self.records.finish(&writes, intent).await?;
        Ok((record, shown))
    }

    /// Records the answer of a request that changed nothing.
    pub(super) async fn settle_answer(
        &self,
        open: Option<&Operation>,
        answer: Answer,
    ) -> Result<(), Failure> {
        match answered(open, answer) {
            Some(write) => self.records.settle(vec![write]).await,
            None => Ok(()),
        }
    }
}

/// Logs a failure once: a caller's mistake is the caller's business, what the host cannot do is the operator's.
pub(super) fn tell(what: &str, failure: &Failure) {
    let reason = failure.reason().name();
    match metrics::is_ours(failure) {
        true => tracing::error!(reason, "{what} failed: {failure}"),
        false => tracing::debug!(reason, "{what} refused: {failure}"),
    }
}

pub(super) fn unseen(guest: &GuestRef, error: &io::Error) -> Failure {
    let text = format!("guest \"{guest}\" cannot be looked into: {error}");
    Failure::new(Reason::GuestChanged, text)
}

/// A request whose work begins.
pub(super) fn open_operation(id: Uuid, fingerprint: String) -> Operation {
    Operation { id, fingerprint, started_at: SystemTime::now(), answer: None, expected: None }
}

fn made(attachment: Arc<Attachment>) -> Answer {
    Answer::Attached { attachment, created: true }
}

/// The request with the answer that it gets when all goes well.
pub(super) fn expecting(open: Option<&Operation>, answer: Answer) -> Option<Write> {
    let expect = |operation: &Operation| Operation { expected: Some(answer), ..operation.clone() };
    open.map(expect).map(Box::new).map(Write::Operation)
}

/// The request with its answer.
pub(super) fn answered(open: Option<&Operation>, answer: Answer) -> Option<Write> {
    let close = |operation: &Operation| Operation { answer: Some(answer), ..operation.clone() };
    open.map(close).map(Box::new).map(Write::Operation)
}
