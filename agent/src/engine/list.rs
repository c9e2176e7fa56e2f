//! What there is: records with what the host shows of them now, changes, and what became of requests.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use pipewright_api::attachment::{Attachment, Listing, ObservedLink, Page};
use pipewright_api::net::LinkName;
use pipewright_api::operation::{Operation, OperationState};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::{List, ListFilter};
use pipewright_api::spec::{Kind, SwitchKind};
use uuid::Uuid;

use super::Engine;
use crate::dhcp::given::Family;
use crate::engine::ground::unreadable;
use crate::engine::operations::Answer;
use crate::engine::records::Record;
use crate::engine::shelf::{Changes, meant};
use crate::host::dhcp::now;
use crate::host::link::LinkFacts;
use crate::host::{Host, mark};
use crate::step;

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
        let host_ends = page.iter().filter_map(|record| record.attachment.host_ifname.clone()).collect();
        let links = self.kernel.ports_and_bridges(host_ends).await.map_err(unreadable)?;
        let by_name: HashMap<&str, &LinkFacts> =
            links.iter().map(|link| (link.name.as_str(), link)).collect();
        let by_index: HashMap<u32, &LinkFacts> = links.iter().map(|link| (link.index, link)).collect();
        let in_guests = self.in_guests(&page).await.map_err(unreadable)?;
        let attachments = page
            .into_iter()
            .map(|record| {
                let link = match &record.attachment.host_ifname {
                    Some(name) => by_name.get(name.as_str()).copied(),
                    None => in_guests.get(&record.attachment.id),
                };
                let observed = self.observe(&record.attachment, link, &by_index);
                // By the wall clock as it is now; somebody may have set it since.
                let shown = |family| Some(record.lease(family)?.shown(now(), SystemTime::now()));
                let (lease, lease6) = (shown(Family::V4), shown(Family::V6));
                let (observed, lease, lease6) =
                    (Some(Box::new(observed)), lease.map(Box::new), lease6.map(Box::new));
                Attachment { observed, lease, lease6, ..record.shown() }
            })
            .collect();
        Ok(Page { listing: Listing { attachments, revision }, next })
    }

    /// The links that are only in guests.
    async fn in_guests(&self, records: &[&Arc<Record>]) -> io::Result<HashMap<Uuid, LinkFacts>> {
        let wanted = |record: &&&Arc<Record>| record.attachment.host_ifname.is_none();
        let (ids, places): (Vec<Uuid>, Vec<_>) = records
            .iter()
            .filter(wanted)
            .filter_map(|record| Some((record.attachment.id, place(record)?)))
            .unzip();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.kernel.guest_links(places).await?;
        Ok(ids.into_iter().zip(found).filter_map(|(id, link)| Some((id, link?))).collect())
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
        let host_end = attachment.host_ifname.as_ref();
        let port = match attachment.spec.kind.and_then(Kind::switch) {
            Some(SwitchKind::Ovs) => host_end.and_then(|name| self.ovs.port(name)),
            Some(SwitchKind::LinuxBridge) | None => None,
        };
        let bridge = match &port {
            Some(port) => port.bridge.clone().unwrap_or_default(),
            // Of a guest's link the index of a bridge would be one of the guest's.
            None if host_end.is_none() => String::new(),
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
    pub(crate) fn watch(&self, resume: Option<u64>) -> Result<Changes, Failure> {
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
            Some(Answer::Traffic { attachment, .. }) => {
                (OperationState::Done, attachment.iter().map(|attachment| attachment.id).collect())
            }
            Some(Answer::Applied(_) | Answer::Ran(_)) => (OperationState::Done, Vec::new()),
            Some(Answer::Failed(failure)) => (OperationState::Failed(failure), Vec::new()),
            Some(Answer::Interrupted) => (OperationState::Failed(interrupted()), Vec::new()),
        };
        Ok(Operation { request_id: id, state, attachment_ids, started_at: found.started_at })
    }
}

/// Where a link without a host's end is.
pub(super) fn place(record: &Record) -> Option<(i32, LinkName)> {
    Some((record.netns_id?, record.attachment.spec.ifname.clone()))
}

/// Whether a link is on that bridge or other link of the host.
fn is_on(record: &Record, link: &LinkName) -> bool {
    record.attachment.spec.uplink.link() == Some(link)
        || step::needs(&record.plan).any(|shared| shared.link() == link)
}

fn interrupted() -> Failure {
    let text = "the agent was ended over it; no link of it is left, and it may be asked again with the same id, but for a \
                tool: how far that came only its guest shows";
    Failure::new(Reason::Stopping, text)
}

/// A request id that was used for another kind of call is refused by its fingerprint, so this is a defect of ours.
pub(super) fn strange_answer(answer: &Answer) -> Failure {
    Failure::new(Reason::Internal, format!("the recorded answer belongs to another call: {answer:?}"))
}

fn fits(record: &Record, filter: &ListFilter) -> bool {
    let ListFilter { guest, bridge, fleet, id } = filter;
    let Attachment { fleet: of, id: own, .. } = &record.attachment;
    guest.as_ref().is_none_or(|guest| meant(guest, record).is_some())
        && bridge.as_ref().is_none_or(|bridge| is_on(record, bridge))
        && fleet.as_ref().is_none_or(|fleet| Some(fleet) == of.as_ref())
        && id.is_none_or(|id| id == *own)
}
