//! Attach: a verified attachment, or nothing.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use pipewright_api::attachment::{Attachment, State};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::Attach;
use pipewright_api::spec::{AttachmentSpec, FleetName, Kind};
use tracing::Instrument;
use uuid::Uuid;

use super::Engine;
use crate::dhcp::given::Family;
use crate::engine::decided;
use crate::engine::entered::Entered;
use crate::engine::operations::{Answer, Operation, fingerprint};
use crate::engine::records::{Durable, Record, Write};
use crate::engine::timetable::Errand;
use crate::host::netns::Netns;
use crate::host::{Host, Refused, Within, mark};
use crate::kinds::{self, Derived};
use crate::metrics;
use crate::status;
use crate::step;

/// What an attach is for.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// Its request.
    pub request: Uuid,
    /// What is wanted.
    pub spec: AttachmentSpec,
    /// The fleet that wants it.
    pub fleet: Option<FleetName>,
}

/// What there is already of that guest and name.
enum Known {
    No,
    /// What is asked for.
    Attached(Arc<Record>),
    /// What a rollback or detach that stopped short left in the way, or a link that somebody unplugged by hand.
    Remains(Arc<Record>),
}

impl<H: Host> Engine<H> {
    /// Plugs a link into a guest, or says what it would do.
    ///
    /// # Errors
    /// See the `.proto` file.
    pub async fn attach(self: &Arc<Self>, asked: Attach) -> Result<(Attachment, bool), Failure> {
        let Attach { request_id, spec, dry_run } = asked;
        let wish = Wish { request: request_id, spec, fleet: None };
        if dry_run {
            return self.would_attach(&wish).await;
        }
        let fingerprint = fingerprint(&("attach", &wish.spec))?;
        let engine = Arc::clone(self);
        let print = fingerprint.clone();
        let work = async move {
            let _turn = engine.turns.acquire().await;
            let open = open_operation(wish.request, print);
            let (record, created) = engine.make(&wish, Some(&open)).await?;
            let attachment = Box::new(record.attachment.clone());
            Ok(Answer::Attached { attachment, created })
        };
        match self.operations.answer(request_id, fingerprint, work).await? {
            Answer::Attached { attachment, created } => Ok((*attachment, created)),
            other => Err(super::list::strange_answer(&other)),
        }
    }

    /// Makes an attachment, or finds it made. Whatever is logged meanwhile says for whom.
    pub(super) async fn make(
        &self,
        wish: &Wish,
        open: Option<&Operation>,
    ) -> Result<(Arc<Record>, bool), Failure> {
        let Wish { request, spec, .. } = wish;
        let span = tracing::info_span!(
            "attach",
            %request,
            guest = %spec.guest,
            ifname = %spec.ifname,
            attachment = tracing::field::Empty
        );
        let begun = Instant::now();
        let made = self.make_or_find(wish, open).instrument(span.clone()).await;
        let took = begun.elapsed();
        let kind = made.as_ref().map_or(spec.kind, |(record, _)| record.attachment.spec.kind);
        self.meters.attached(kind, made.as_ref().map(|(_, created)| *created), took);
        span.in_scope(|| match &made {
            Ok((_, true)) => tracing::info!(?took, "attached"),
            Ok((_, false)) => tracing::debug!(?took, "attached already"),
            Err(failure) => tell("attach", failure),
        });
        made
    }

    async fn make_or_find(
        &self,
        wish: &Wish,
        open: Option<&Operation>,
    ) -> Result<(Arc<Record>, bool), Failure> {
        let attaching = self.kernel.attaching();
        let mut entered = self.enter(&wish.spec).await?;
        match self.known(wish, &entered).await? {
            Known::No => {}
            Known::Attached(known) => {
                let attachment = Box::new(known.attachment.clone());
                self.settle_answer(open, Answer::Attached { attachment, created: false }).await?;
                return Ok((known, false));
            }
            Known::Remains(record) => {
                self.remove(&record, wish.request, None, None).await?;
                // A default route may be back that ours has to replace.
                entered.look_again(self, &wish.spec).await?;
            }
        }
        let Entered { guest, peer, locks: _locks, .. } = &entered;
        let mut record = self.decide(wish, &entered).await?;
        let _uses = self
            .locks
            .use_links(step::needs(&record.plan).map(|shared| shared.link().clone()).collect())
            .await;
        if record.attachment.host_ifname.is_none() {
            record.netns_id = Some(self.number(&guest.netns, &wish.spec).await?);
        }
        let (record, intent) = self.intend(record, open).await?;
        // Open vSwitch takes its time, which deletions need not wait for.
        let attaching = (record.attachment.spec.kind == Some(Kind::LinuxBridge)).then_some(attaching);
        let peer = peer.as_ref().map(|(peer, _)| &peer.netns);
        let taken = self.host.take(Within { guest: Some(&guest.netns), peer }, &record.plan).await;
        drop(attaching);
        match taken {
            Ok(()) => match self.settle(&record, open, intent).await {
                Ok(record) => Ok((record, true)),
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
            Known::Attached(known) => return Ok((known.attachment.clone(), false)),
            Known::Remains(record) => return Err(in_the_way(&record)),
        }
        let record = self.decide(wish, &entered).await?;
        Ok((record.attachment, true))
    }

    /// The number of the guest's namespace in the host's.
    async fn number(&self, netns: &Netns, spec: &AttachmentSpec) -> Result<i32, Failure> {
        self.kernel.netns_id(netns).await.map_err(|error| unseen(spec, &error))
    }

    /// Looks for the attachment of that guest and name.
    async fn known(&self, wish: &Wish, entered: &Entered) -> Result<Known, Failure> {
        self.is_free_there(wish, entered)?;
        let Some(record) = self.shelf.find(entered.facts.cookie, &wish.spec.ifname) else {
            return Ok(Known::No);
        };
        // We hold the guest's lock, so nobody works on it: a rollback or detach stopped short.
        if record.attachment.state != State::Attached {
            return Ok(Known::Remains(record));
        }
        let asked = decided::asked_again(&wish.spec, &record);
        let is_near = record.attachment.guest.netns_cookie == entered.facts.cookie;
        if asked == record.asked && is_near && record.attachment.fleet == wish.fleet {
            return Ok(match self.is_plugged(&record, &self.links().await?) {
                true => Known::Attached(record),
                false => Known::Remains(record),
            });
        }
        let Attachment { id, .. } = record.attachment;
        let text = format!(
            "{} of guest \"{}\" is attached already in another way (attachment {id}); detach it first, or choose another ifname",
            wish.spec.ifname, wish.spec.guest
        );
        Err(Failure::new(Reason::SpecDiffers, text).with("attachment", id.to_string()))
    }

    /// From what is asked and what is there to a record that says all.
    async fn decide(&self, wish: &Wish, entered: &Entered) -> Result<Record, Failure> {
        let id = Uuid::new_v4();
        tracing::Span::current().record("attachment", tracing::field::display(id));
        let guest = entered.guest.identity.clone();
        let peer = entered.far(&wish.spec)?;
        let far = peer.as_ref().map(|peer| (peer.guest.clone(), peer.ifname.clone()));
        let ground = self.ground(&wish.spec, guest.clone(), entered.facts.clone(), peer).await?;
        let alias = mark::alias(id, &wish.spec.ifname, wish.fleet.as_ref(), &guest);
        let derived = Derived { id, host_end: mark::host_end(id), mac: mark::mac(id), alias };
        let decision = kinds::plan(&wish.spec, &ground, derived)?;
        Ok(decided::record(id, wish, guest, far, decision))
    }

    /// Writes the intent. From here on a crash is made good by the next start.
    async fn intend(
        &self,
        record: Record,
        open: Option<&Operation>,
    ) -> Result<(Arc<Record>, Durable), Failure> {
        let record = self.shelf.claim(record)?;
        if record.attachment.host_ifname.is_none() {
            self.without_host_end.notify_one();
        }
        let mut writes = vec![Write::Attachment(Box::new((*record).clone()))];
        writes.extend(expecting(open, made(&record)));
        match self.records.begin(&writes).await {
            Ok(intent) => Ok((record, intent)),
            Err(failure) => {
                self.shelf.remove(record.attachment.id, None);
                Err(failure)
            }
        }
    }

    /// Writes the outcome.
    async fn settle(
        &self,
        record: &Record,
        open: Option<&Operation>,
        intent: Durable,
    ) -> Result<Arc<Record>, Failure> {
        let mut record = record.clone();
        record.attachment.state = State::Attached;
        for family in Family::ALL {
            record.hold(family, self.kernel.leases().given(record.attachment.id, family));
        }
        let record = self.shelf.put(record, None);
        let mut writes = vec![Write::Attachment(Box::new((*record).clone()))];
        writes.extend(answered(open, made(&record)));
        self.records.finish(&writes, intent).await?;
        for lease in &record.leases {
            self.timetable.at((record.attachment.id, Errand::Lease(lease.family())), lease.renew_at());
        }
        self.announce_later(&record);
        Ok(record)
    }

    /// Takes back what was made but cannot be remembered.
    async fn forgo(&self, record: &Record, guest: &Netns, unwritten: Failure) -> Failure {
        let leftovers = self.undo(record.attachment.id, Some(guest), &record.plan).await;
        if leftovers.is_empty() {
            self.shelf.remove(record.attachment.id, Some(unwritten.message()));
            return unwritten;
        }
        let mut record = record.clone();
        record.attachment.state = State::Incomplete;
        record.attachment.leftovers.clone_from(&leftovers);
        self.shelf.put(record, Some(unwritten.message()));
        let text = format!("{unwritten}; and not all could be taken back: {}", leftovers.join("; "));
        Failure::new(Reason::RollbackIncomplete, text).with("leftovers", leftovers.join("\n"))
    }

    async fn roll_back(
        &self,
        record: &Record,
        guest: &Netns,
        refused: Refused,
        open: Option<&Operation>,
    ) -> Failure {
        let mut going = record.clone();
        going.attachment.state = State::Detaching;
        self.shelf.put(going, Some("it is taken back"));
        let leftovers = self.undo(record.attachment.id, Some(guest), &record.plan).await;
        let failure = status::of_attach(&record.attachment, &refused.error, &leftovers);
        let id = record.attachment.id;
        let mut writes: Vec<Write> = answered(open, Answer::Failed(failure.clone())).into_iter().collect();
        if leftovers.is_empty() {
            self.shelf.remove(id, Some(failure.message()));
            writes.push(Write::NoAttachment(id));
        } else {
            let mut record = record.clone();
            record.attachment.state = State::Incomplete;
            record.attachment.leftovers = leftovers;
            let record = self.shelf.put(record, Some(failure.message()));
            writes.push(Write::Attachment(Box::new((*record).clone())));
        }
        match self.records.settle(writes).await {
            Ok(()) => failure,
            Err(unwritten) => unwritten,
        }
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

/// A dry run changes nothing, so it cannot look behind what is left.
fn in_the_way(record: &Record) -> Failure {
    let Attachment { id, spec, leftovers, state, .. } = &record.attachment;
    let why = match state {
        State::Attached => format!("was unplugged from {} by somebody", spec.uplink),
        State::Attaching | State::Detaching | State::Detached | State::Incomplete => {
            format!("was not wholly taken back: {}", leftovers.join("; "))
        }
    };
    let text = format!(
        "{} of guest \"{}\" {why}; an attach begins with taking it back, or `pwctl detach {id}` does it",
        spec.ifname, spec.guest
    );
    Failure::new(Reason::RollbackIncomplete, text).with("leftovers", leftovers.join("\n"))
}

/// Logs a failure once: a caller's mistake is the caller's business, what the host cannot do is the operator's.
pub(super) fn tell(what: &str, failure: &Failure) {
    let reason = failure.reason().name();
    match metrics::is_ours(failure) {
        true => tracing::error!(reason, "{what} failed: {failure}"),
        false => tracing::debug!(reason, "{what} refused: {failure}"),
    }
}

pub(super) fn unseen(spec: &AttachmentSpec, error: &io::Error) -> Failure {
    let text = format!("guest \"{}\" cannot be looked into: {error}", spec.guest);
    Failure::new(Reason::GuestChanged, text)
}

/// A request whose work begins.
pub(super) fn open_operation(id: Uuid, fingerprint: String) -> Operation {
    Operation { id, fingerprint, started_at: SystemTime::now(), answer: None, expected: None }
}

fn made(record: &Record) -> Answer {
    let attachment = Attachment { state: State::Attached, ..record.attachment.clone() };
    Answer::Attached { attachment: Box::new(attachment), created: true }
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
