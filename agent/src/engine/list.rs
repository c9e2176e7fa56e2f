//! What there is: records with what the host shows of them now, changes, and what became of requests.

use std::collections::HashMap;
use std::sync::Arc;

use pipewright_api::attachment::{Attachment, Listing, ObservedLink, Page};
use pipewright_api::event::Event;
use pipewright_api::operation::{Operation, OperationState};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::{List, ListFilter};
use pipewright_api::spec::Kind;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::Engine;
use crate::engine::ground::unreadable;
use crate::engine::operations::Answer;
use crate::engine::records::Record;
use crate::engine::shelf::is_meant;
use crate::host::link::LinkFacts;
use crate::host::{Host, mark};

impl<H: Host> Engine<H> {
    /// Attachments that fit a filter, with what is observed of them.
    ///
    /// # Errors
    /// INTERNAL when the kernel does not list its links.
    pub async fn list(&self, asked: &List) -> Result<Page, Failure> {
        let (records, revision) = self.shelf.attachments();
        let mut found = records
            .iter()
            .filter(|record| asked.after.is_none_or(|after| record.attachment.id > after))
            .filter(|record| fits(record, &asked.filter));
        let page: Vec<&Arc<Record>> = found.by_ref().take(asked.page_size as usize).collect();
        let next = found.next().and(page.last()).map(|record| record.attachment.id);
        let links = match page.is_empty() {
            true => Vec::new(),
            false => self.kernel.links().await.map_err(unreadable)?,
        };
        let by_name: HashMap<&str, &LinkFacts> =
            links.iter().map(|link| (link.name.as_str(), link)).collect();
        let by_index: HashMap<u32, &LinkFacts> = links.iter().map(|link| (link.index, link)).collect();
        let attachments = page
            .into_iter()
            .map(|record| {
                let link = by_name.get(record.attachment.host_ifname.as_str()).copied();
                let observed = self.observe(&record.attachment, link, &by_index);
                Attachment { observed: Some(observed), ..record.attachment.clone() }
            })
            .collect();
        Ok(Page { listing: Listing { attachments, revision }, next })
    }

    fn observe(
        &self,
        attachment: &Attachment,
        link: Option<&LinkFacts>,
        by_index: &HashMap<u32, &LinkFacts>,
    ) -> ObservedLink {
        let Some(link) = link.filter(|link| link.group == mark::group(attachment.id)) else {
            return ObservedLink::default();
        };
        let port = match attachment.spec.kind {
            Some(Kind::Ovs) => self.ovs.port(&attachment.host_ifname),
            Some(Kind::LinuxBridge) | None => None,
        };
        let bridge = match &port {
            Some(port) => port.bridge.clone().unwrap_or_default(),
            None => link
                .master
                .and_then(|index| by_index.get(&index))
                .map_or_else(String::new, |l| l.name.clone()),
        };
        ObservedLink {
            present: true,
            operstate: link.operstate.to_string(),
            mtu: link.mtu,
            bridge,
            ofport: port.as_ref().and_then(|port| port.ofport).unwrap_or_default(),
            ovs_error: port.and_then(|port| port.error).unwrap_or_default(),
        }
    }

    /// Changes after a revision, and those to come.
    ///
    /// # Errors
    /// RESYNC.
    pub fn watch(&self, resume: Option<u64>) -> Result<(Vec<Event>, broadcast::Receiver<Event>), Failure> {
        self.shelf.watch(resume)
    }

    /// What became of a request.
    ///
    /// # Errors
    /// OPERATION_NOT_FOUND.
    pub fn operation(&self, id: Uuid) -> Result<Operation, Failure> {
        let found = self.operations.find(id)?;
        let (state, attachment_ids) = match found.answer {
            None => (OperationState::Running, Vec::new()),
            Some(Answer::Attached { attachment, .. }) => (OperationState::Done, vec![attachment.id]),
            Some(Answer::Detached(gone)) => (OperationState::Done, gone.iter().map(|one| one.id).collect()),
            Some(Answer::Applied(_) | Answer::Ran(_)) => (OperationState::Done, Vec::new()),
            Some(Answer::Failed(failure)) => (OperationState::Failed(failure), Vec::new()),
            Some(Answer::Interrupted) => (OperationState::Failed(interrupted()), Vec::new()),
        };
        Ok(Operation { request_id: id, state, attachment_ids, started_at: found.started_at })
    }
}

fn interrupted() -> Failure {
    let text = "the agent was ended over it; no link of it is left, only what a tool did in a guest, and it may be asked again with the same id";
    Failure::new(Reason::Stopping, text)
}

/// A request id that was used for another kind of call is refused by its fingerprint, so this is a defect of ours.
pub(super) fn strange_answer(answer: &Answer) -> Failure {
    Failure::new(Reason::Internal, format!("the recorded answer belongs to another call: {answer:?}"))
}

fn fits(record: &Record, filter: &ListFilter) -> bool {
    let ListFilter { guest, bridge, fleet, id } = filter;
    let Attachment { spec, guest: identity, fleet: of, id: own, .. } = &record.attachment;
    guest.as_ref().is_none_or(|guest| is_meant(guest, identity))
        && bridge.as_ref().is_none_or(|bridge| *bridge == spec.uplink)
        && fleet.as_ref().is_none_or(|fleet| Some(fleet) == of.as_ref())
        && id.is_none_or(|id| id == *own)
}
