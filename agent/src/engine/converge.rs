//! Making the host look like a fleet's document: desired (the document) against recorded and observed gives changes.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use pipewright_api::attachment::State;
use pipewright_api::host::{Change, ChangeAction};
use pipewright_api::net::LinkName;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::Apply;
use pipewright_api::spec::{AttachmentSpec, FleetName, HostSpec, SwitchSpec};
use uuid::Uuid;

use super::Engine;
use crate::engine::attach::{Wish, answered, open_operation};
use crate::engine::operations::{Answer, fingerprint, on_a_task};
use crate::engine::records::{Record, SwitchRecord};
use crate::engine::switch::vlans;
use crate::host::Host;

/// Attachments that are made or removed at once.
const AT_ONCE: usize = 8;

/// One thing to do.
#[derive(Debug)]
enum Todo {
    MakeSwitch { spec: SwitchSpec, action: ChangeAction, detail: String },
    RefuseSwitch { name: LinkName, failure: Failure },
    RemoveSwitch(Arc<SwitchRecord>),
    Attach(Box<AttachmentSpec>),
    Replace(Arc<Record>, Box<AttachmentSpec>),
    Detach(Arc<Record>),
}

impl<H: Host> Engine<H> {
    /// Makes the host look like the document, or says what would change.
    ///
    /// # Errors
    /// Only when nothing could be tried; what fails for one object is in its change.
    pub async fn apply(self: &Arc<Self>, asked: Apply) -> Result<Vec<Change>, Failure> {
        let Apply { request_id, spec, dry_run } = asked;
        if dry_run {
            let todo = self.differences(&spec).await?;
            return Ok(todo.iter().map(|todo| todo.change(todo.refusal())).collect());
        }
        let fingerprint = fingerprint(&("apply", &spec))?;
        let engine = Arc::clone(self);
        let open = open_operation(request_id, fingerprint.clone());
        let work = async move {
            let _alone = engine.applying.lock().await;
            let changes = engine.converge(&spec, request_id).await?;
            let answer = Answer::Applied(changes);
            engine.records.settle(answered(Some(&open), answer.clone()).into_iter().collect()).await?;
            Ok(answer)
        };
        match self.operations.answer(request_id, fingerprint, work, on_a_task).await? {
            Answer::Applied(changes) => Ok(changes),
            other => Err(super::list::strange_answer(&other)),
        }
    }

    async fn converge(&self, spec: &HostSpec, request: Uuid) -> Result<Vec<Change>, Failure> {
        let mut changes = Vec::new();
        let mut todo = self.differences(spec).await?;
        while let Some(phase) = todo.first().map(Todo::phase) {
            let count = todo.iter().take_while(|todo| todo.phase() == phase).count();
            let now: Vec<Todo> = todo.drain(..count).collect();
            let done = stream::iter(now)
                .map(|todo| async move {
                    let failure = self.carry_out(&todo, &spec.fleet, request).await.err();
                    todo.change(failure)
                })
                .buffered(AT_ONCE);
            changes.extend(done.collect::<Vec<_>>().await);
        }
        Ok(changes)
    }

    async fn carry_out(&self, todo: &Todo, fleet: &FleetName, request: Uuid) -> Result<(), Failure> {
        let _turn = self.turns.acquire().await;
        let make = |spec: &AttachmentSpec| {
            let (spec, fleet) = (spec.clone(), Some(fleet.clone()));
            Wish { request, spec, fleet, again: None, origin: None }
        };
        match todo {
            Todo::MakeSwitch { spec, .. } => self.make_switch(fleet, spec).await,
            Todo::RefuseSwitch { failure, .. } => Err(failure.clone()),
            Todo::RemoveSwitch(record) => self.remove_switch(record).await,
            Todo::Attach(spec) => self.make(&make(spec), None).await.map(|_| ()),
            Todo::Replace(record, spec) => {
                self.take_out(record.attachment.id, request).await?;
                self.make(&make(spec), None).await.map(|_| ())
            }
            Todo::Detach(record) => self.take_out(record.attachment.id, request).await,
        }
    }

    /// What is to be done, in this order: what is in the way goes, switches come, links are plugged, switches that nobody
    /// needs go.
    async fn differences(&self, spec: &HostSpec) -> Result<Vec<Todo>, Failure> {
        let mut todo = Vec::new();
        for switch in &spec.switches {
            todo.extend(self.switch_difference(&spec.fleet, switch).await?);
        }
        let is_unwanted = |record: &Arc<SwitchRecord>| {
            record.fleet == spec.fleet && !spec.switches.iter().any(|wanted| wanted.name == record.spec.name)
        };
        todo.extend(self.shelf.switches().into_iter().filter(is_unwanted).map(Todo::RemoveSwitch));
        let (mut records, _) = self.shelf.attachments();
        records.retain(|record| record.attachment.fleet.as_ref() == Some(&spec.fleet));
        let links = self.links().await?;
        for wanted in &spec.attachments {
            let is_it = |record: &Arc<Record>| {
                record.asked.guest == wanted.guest && record.asked.ifname == wanted.ifname
            };
            let place = records.iter().position(is_it);
            match place.map(|place| records.swap_remove(place)) {
                None => todo.push(Todo::Attach(Box::new(wanted.clone()))),
                Some(record)
                    if *record.asked == *wanted
                        && record.attachment.state == State::Attached
                        && self.is_plugged(&record, &links) => {}
                Some(record) if *record.asked == *wanted && record.attachment.state == State::Waiting => {
                    // One whose guest does not run comes when that does.
                    if self.guests.find(&wanted.guest).await.is_ok() {
                        todo.push(Todo::Attach(Box::new(wanted.clone())));
                    }
                }
                Some(record) => todo.push(Todo::Replace(record, Box::new(wanted.clone()))),
            }
        }
        todo.extend(records.into_iter().map(Todo::Detach));
        todo.sort_by_key(Todo::phase);
        Ok(todo)
    }

    async fn switch_difference(
        &self,
        fleet: &FleetName,
        wanted: &SwitchSpec,
    ) -> Result<Option<Todo>, Failure> {
        let make = |action, detail: String| Some(Todo::MakeSwitch { spec: wanted.clone(), action, detail });
        let refuse = |failure| Some(Todo::RefuseSwitch { name: wanted.name.clone(), failure });
        let Some(record) = self.shelf.switch(&wanted.name) else {
            return Ok(make(ChangeAction::Create, described(wanted)));
        };
        if record.fleet != *fleet {
            let text = format!("switch {} belongs to fleet {} on this host", wanted.name, record.fleet);
            return Ok(refuse(
                Failure::new(Reason::UplinkBusy, text).with("holder", record.fleet.to_string()),
            ));
        }
        if record.spec.kind != wanted.kind {
            let text = format!(
                "switch {} is of kind {} and cannot become {}; destroy it first, or use another name",
                wanted.name, record.spec.kind, wanted.kind
            );
            return Ok(refuse(Failure::new(Reason::SpecDiffers, text)));
        }
        if record.spec != *wanted {
            return Ok(make(
                ChangeAction::Update,
                format!("{} → {}", described(&record.spec), described(wanted)),
            ));
        }
        match self.is_intact(&record).await {
            Ok(true) => Ok(None),
            Ok(false) => {
                Ok(make(ChangeAction::Update, format!("{}, which was changed meanwhile", described(wanted))))
            }
            Err(failure) => Ok(refuse(failure)),
        }
    }
}

impl Todo {
    fn phase(&self) -> u8 {
        match self {
            Self::Detach(_) => 0,
            Self::MakeSwitch { .. } | Self::RefuseSwitch { .. } => 1,
            Self::Attach(_) | Self::Replace(..) => 2,
            Self::RemoveSwitch(_) => 3,
        }
    }

    fn refusal(&self) -> Option<Failure> {
        match self {
            Self::RefuseSwitch { failure, .. } => Some(failure.clone()),
            Self::MakeSwitch { .. }
            | Self::RemoveSwitch(_)
            | Self::Attach(_)
            | Self::Replace(..)
            | Self::Detach(_) => None,
        }
    }

    fn change(&self, failure: Option<Failure>) -> Change {
        let link = |spec: &AttachmentSpec| format!("attachment {} in {}", spec.ifname, spec.guest);
        let (action, object, detail) = match self {
            Self::MakeSwitch { spec, action, detail } => {
                (*action, format!("switch {}", spec.name), detail.clone())
            }
            Self::RefuseSwitch { name, .. } => {
                (ChangeAction::Update, format!("switch {name}"), String::new())
            }
            Self::RemoveSwitch(record) => {
                (ChangeAction::Remove, format!("switch {}", record.spec.name), described(&record.spec))
            }
            Self::Attach(spec) => (ChangeAction::Create, link(spec), plugged(spec)),
            Self::Replace(record, spec) => {
                let detail = match *record.asked == **spec {
                    true => format!("{}, which was changed meanwhile", plugged(spec)),
                    false => format!("{} → {}", plugged(&record.asked), plugged(spec)),
                };
                (ChangeAction::Update, link(spec), detail)
            }
            Self::Detach(record) => (ChangeAction::Remove, link(&record.asked), plugged(&record.asked)),
        };
        Change { action, object, detail, failure }
    }
}

fn described(spec: &SwitchSpec) -> String {
    match &spec.uplink {
        None => format!("{} without uplink", spec.kind),
        Some(uplink) => format!("{} with uplink {} trunks {}", spec.kind, uplink.link, vlans(&uplink.trunk)),
    }
}

fn plugged(spec: &AttachmentSpec) -> String {
    use pipewright_api::spec::Vlan;
    let addresses: Vec<String> = spec.addressing.addresses().iter().map(ToString::to_string).collect();
    let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
    match &spec.vlan {
        None => format!("{addresses} on {}", spec.uplink),
        Some(Vlan::Access(vlan)) => format!("{addresses} on {} VLAN {vlan}", spec.uplink),
        Some(Vlan::Trunk(trunk)) => format!("{addresses} on {} trunks {}", spec.uplink, vlans(trunk)),
        Some(Vlan::Every) => format!("{addresses} on {} trunks every VLAN", spec.uplink),
    }
}
