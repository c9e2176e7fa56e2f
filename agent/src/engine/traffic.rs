//! Routes, rules and queueing disciplines that callers add to a link of ours, until it is detached.
//!
//! Each is one more step of the attachment's plan, so detach, rollback and recovery take it back as they do the others. The
//! record says which one is being added or taken away: after a crash in between it is taken away.

use std::sync::Arc;

use pipewright_api::attachment::{Attachment, State};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::{ChangeTraffic, TrafficTarget};
use pipewright_api::spec::GuestRef;
use pipewright_api::traffic::{LinkTraffic, Traffic, TrafficChanged};

use super::Engine;
use crate::engine::attach::{answered, open_operation};
use crate::engine::operations::{Answer, Operation, fingerprint, on_a_task};
use crate::engine::records::{Record, Write};
use crate::host::Host;
use crate::host::netns::Netns;
use crate::status;
use crate::step::{GuestTraffic, Step};

/// What is asked to be done.
#[derive(Debug, Clone, Copy)]
enum Verb {
    Add,
    Remove,
}

impl Verb {
    /// As it is in fingerprints of requests, which are stored.
    fn text(self) -> &'static str {
        match self {
            Self::Add => "add traffic",
            Self::Remove => "remove traffic",
        }
    }
}

impl<H: Host> Engine<H> {
    /// Adds to a link of ours, or finds it there.
    ///
    /// # Errors
    /// See the `.proto` file.
    pub async fn add_traffic(self: &Arc<Self>, asked: ChangeTraffic) -> Result<TrafficChanged, Failure> {
        self.change_traffic(Verb::Add, asked).await
    }

    /// Takes from a link of ours what was added to it; what is not there is done.
    ///
    /// # Errors
    /// See the `.proto` file.
    pub async fn remove_traffic(self: &Arc<Self>, asked: ChangeTraffic) -> Result<TrafficChanged, Failure> {
        self.change_traffic(Verb::Remove, asked).await
    }

    async fn change_traffic(
        self: &Arc<Self>,
        verb: Verb,
        asked: ChangeTraffic,
    ) -> Result<TrafficChanged, Failure> {
        let ChangeTraffic { request_id, target, traffic } = asked;
        let fingerprint = fingerprint(&(verb.text(), &target, &traffic))?;
        let (engine, print) = (Arc::clone(self), fingerprint.clone());
        let work = async move {
            let _turn = engine.turns.acquire().await;
            let found = engine.meet(&target.guest).await?;
            let _lock = engine.locks.guest(found.identity.netns_cookie).await;
            let open = open_operation(request_id, print);
            let record = engine.attached(found.identity.netns_cookie, &target);
            match verb {
                Verb::Add => {
                    let record = record?;
                    engine.put_traffic(&record, &found.netns, &traffic, &open).await
                }
                Verb::Remove => {
                    let added = record.ok().filter(|record| record.attachment.traffic.contains(&traffic));
                    let Some(record) = added else {
                        let answer = Answer::Traffic { attachment: None, is_changed: false };
                        engine.settle_answer(Some(&open), answer.clone()).await?;
                        return Ok(answer);
                    };
                    engine.take_traffic(&record, Some(&found.netns), &traffic, Some(&open)).await
                }
            }
        };
        match self.operations.answer(request_id, fingerprint, work, on_a_task).await? {
            Answer::Traffic { attachment, is_changed } => {
                Ok(TrafficChanged { attachment: attachment.map(|attachment| *attachment), is_changed })
            }
            other => Err(super::list::strange_answer(&other)),
        }
    }

    /// What steers a guest's traffic over links of ours, those asked for with the link included.
    ///
    /// # Errors
    /// Those of a guest that is not found.
    pub async fn list_traffic(&self, guest: &GuestRef) -> Result<Vec<LinkTraffic>, Failure> {
        let cookie = self.meet(guest).await?.identity.netns_cookie;
        let (records, _) = self.shelf.attachments();
        let of_guest = records.iter().filter(|record| record.attachment.guest.netns_cookie == cookie);
        Ok(of_guest
            .map(|record| {
                let Attachment { id, spec, traffic, .. } = &record.attachment;
                let asked = spec.routes.iter().copied().map(Traffic::Route);
                LinkTraffic {
                    attachment: *id,
                    ifname: spec.ifname.clone(),
                    traffic: asked.chain(traffic.iter().cloned()).collect(),
                }
            })
            .collect())
    }

    /// The record of a link of ours that is made.
    fn attached(&self, cookie: u64, target: &TrafficTarget) -> Result<Arc<Record>, Failure> {
        let found = self.shelf.find(cookie, &target.ifname);
        found.filter(|record| record.attachment.state == State::Attached).ok_or_else(|| {
            let TrafficTarget { guest, ifname } = target;
            let text = format!(
                "{ifname} of guest \"{guest}\" is no link of ours; see `pwctl list`, or use `pwctl route|rule|tc` for others"
            );
            Failure::new(Reason::AttachmentNotFound, text)
        })
    }

    async fn put_traffic(
        &self,
        record: &Record,
        guest: &Netns,
        traffic: &Traffic,
        open: &Operation,
    ) -> Result<Answer, Failure> {
        let Attachment { spec, traffic: there, .. } = &record.attachment;
        let made = GuestTraffic::over(&spec.ifname, traffic);
        let is_asked_with_link = matches!(traffic, Traffic::Route(route) if spec.routes.contains(route));
        let verify = Step::VerifyTraffic(made.clone());
        let is_known = there.contains(traffic);
        let is_there = is_asked_with_link
            || (is_known && self.host.take(Some(guest), std::slice::from_ref(&verify)).await.is_ok());
        if is_there {
            let attachment = Some(Box::new(record.shown()));
            let answer = Answer::Traffic { attachment, is_changed: false };
            self.settle_answer(Some(open), answer.clone()).await?;
            return Ok(answer);
        }
        if let Some(other) = there.iter().find(|other| *other != traffic && other.collides(traffic)) {
            let text = format!(
                "{} of guest \"{}\" has `{other}` in that place; remove it first",
                spec.ifname, spec.guest
            );
            return Err(Failure::new(Reason::SpecDiffers, text));
        }
        let mut going = record.clone();
        if !is_known {
            Arc::make_mut(&mut going.plan).push(Step::AddTraffic(made.clone()));
            going.attachment.traffic.push(traffic.clone());
        }
        going.changing = Some(traffic.clone());
        let writes = [Write::Attachment(Arc::new(going.clone())), Write::Operation(Box::new(open.clone()))];
        self.records.intend(&writes)?;
        let going = self.shelf.put(going, None);
        tracing::info!(attachment = %going.attachment.id, guest = %spec.guest, "adds {traffic}");

        let taken = self.host.take(Some(guest), &[Step::AddTraffic(made), verify]).await;
        if let Err(refused) = taken {
            let failure = status::of_traffic(&record.attachment, traffic, &refused.error);
            let answer = Answer::Failed(failure.clone());
            // One that cannot be taken back says so itself.
            self.take_back(&going, Some(guest), traffic, Some(open), answer).await?;
            return Err(failure);
        }
        let mut done = (*going).clone();
        done.changing = None;
        let done = self.shelf.put(done, None);
        let attachment = Some(Box::new(done.shown()));
        let answer = Answer::Traffic { attachment, is_changed: true };
        let mut writes = vec![Write::Attachment(Arc::clone(&done))];
        writes.extend(answered(Some(open), answer.clone()));
        if let Err(unwritten) = self.records.settle(writes).await {
            // What cannot be remembered is not kept.
            let answer = Answer::Failed(unwritten.clone());
            self.take_back(&done, Some(guest), traffic, None, answer).await?;
            return Err(unwritten);
        }
        Ok(answer)
    }

    async fn take_traffic(
        &self,
        record: &Record,
        guest: Option<&Netns>,
        traffic: &Traffic,
        open: Option<&Operation>,
    ) -> Result<Answer, Failure> {
        let mut going = record.clone();
        going.changing = Some(traffic.clone());
        let mut writes = vec![Write::Attachment(Arc::new(going.clone()))];
        writes.extend(open.cloned().map(Box::new).map(Write::Operation));
        self.records.intend(&writes)?;
        let going = self.shelf.put(going, None);
        tracing::info!(attachment = %going.attachment.id, guest = %going.asked.guest, "removes {traffic}");
        let mut gone = going.shown();
        gone.traffic.retain(|one| one != traffic);
        let answer = Answer::Traffic { attachment: Some(Box::new(gone)), is_changed: true };
        self.take_back(&going, guest, traffic, open, answer.clone()).await?;
        Ok(answer)
    }

    /// Takes one away and forgets it.
    async fn take_back(
        &self,
        record: &Record,
        guest: Option<&Netns>,
        traffic: &Traffic,
        open: Option<&Operation>,
        answer: Answer,
    ) -> Result<(), Failure> {
        let made = GuestTraffic::over(&record.attachment.spec.ifname, traffic);
        let taken = self.host.take(guest, &[Step::RemoveTraffic(made.clone())]).await;
        if let Err(refused) = taken {
            let left = refused.error.to_string();
            let text = format!("{traffic} could not be taken back: {left}; ask again when the cause is gone");
            return Err(Failure::new(Reason::RollbackIncomplete, text).with("leftovers", left));
        }
        let mut record = record.clone();
        record.changing = None;
        Arc::make_mut(&mut record.plan)
            .retain(|step| !matches!(step, Step::AddTraffic(other) if *other == made));
        record.attachment.traffic.retain(|one| one != traffic);
        let record = self.shelf.put(record, None);
        let mut writes = vec![Write::Attachment(Arc::clone(&record))];
        writes.extend(answered(open, answer));
        self.records.settle(writes).await
    }

    /// Takes away what a crash left half added or half removed. The caller starts up: nobody else is there.
    pub(super) async fn finish_traffic(&self, record: &Record) {
        let Some(traffic) = record.changing.clone() else { return };
        let id = record.attachment.id;
        let _lock = self.locks.guest(record.attachment.guest.netns_cookie).await;
        let Some(record) = self.shelf.get(id).filter(|record| record.attachment.state == State::Attached)
        else {
            return;
        };
        let guest = self.reopen_guest(&record).await;
        if let Err(failure) = self.take_traffic(&record, guest.as_ref(), &traffic, None).await {
            tracing::error!(attachment = %id, guest = %record.attachment.spec.guest, "{failure}");
        }
    }
}
