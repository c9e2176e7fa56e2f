//! Answers of the service `Agent`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::time::{timestamp, to_timestamp};
use super::{At, attachment};
use crate::attachment::{Attached, Attachment, Listing, Page};
use crate::condition::GuestLinkState;
use crate::event::Event;
use crate::operation::{Operation, OperationState};
use crate::reason::Failure;
use crate::wire;

/// Items of a list in an answer: the agent that made it is trusted with its length.
pub(super) const ANY: usize = usize::MAX;

impl TryFrom<wire::AttachResponse> for Attached {
    type Error = Failure;

    fn try_from(answer: wire::AttachResponse) -> Result<Self, Failure> {
        let at = At::top("attachment");
        Ok(Self {
            attachment: attachment::parse(at.present(answer.attachment)?, &at)?,
            created: answer.created,
        })
    }
}

impl From<Attached> for wire::AttachResponse {
    fn from(attached: Attached) -> Self {
        Self { attachment: Some(attached.attachment.into()), created: attached.created }
    }
}

/// Attachments of an answer.
fn attachments(attachments: Vec<wire::Attachment>) -> Result<Vec<Attachment>, Failure> {
    At::top("attachments").list(attachments, ANY, |at, attachment| attachment::parse(attachment, at))
}

impl TryFrom<wire::DetachResponse> for Vec<Attachment> {
    type Error = Failure;

    fn try_from(answer: wire::DetachResponse) -> Result<Self, Failure> {
        attachments(answer.attachments)
    }
}

impl From<Vec<Attachment>> for wire::DetachResponse {
    fn from(detached: Vec<Attachment>) -> Self {
        Self { attachments: detached.into_iter().map(wire::Attachment::from).collect() }
    }
}

impl TryFrom<wire::ListResponse> for Listing {
    type Error = Failure;

    /// What is on the page; the token of the next one is for the agent alone to read.
    fn try_from(page: wire::ListResponse) -> Result<Self, Failure> {
        Ok(Self { attachments: attachments(page.attachments)?, revision: page.revision })
    }
}

impl From<Listing> for wire::ListResponse {
    fn from(listing: Listing) -> Self {
        Page { listing, next: None }.into()
    }
}

impl From<Page> for wire::ListResponse {
    fn from(page: Page) -> Self {
        Self {
            attachments: page.listing.attachments.into_iter().map(wire::Attachment::from).collect(),
            next_page_token: page.next.map(|id| id.to_string()).unwrap_or_default(),
            revision: page.listing.revision,
        }
    }
}

impl TryFrom<wire::WaitResponse> for GuestLinkState {
    type Error = Failure;

    fn try_from(answer: wire::WaitResponse) -> Result<Self, Failure> {
        let at = At::top("state");
        let state = at.present(answer.state)?;
        let nets = |at: &At<'_>, nets| at.list::<String, IpNet>(nets, ANY, |at, text| at.required(&text));
        Ok(Self {
            exists: state.exists,
            up: state.up,
            carrier: state.carrier,
            addresses: nets(&at.field("addresses"), state.addresses)?,
            tentative: nets(&at.field("tentative"), state.tentative)?,
            gateway: at.field("gateway").optional(&state.gateway)?,
            gateway_state: state.gateway_state,
        })
    }
}

impl From<GuestLinkState> for wire::WaitResponse {
    fn from(state: GuestLinkState) -> Self {
        Self { state: Some(state.into()) }
    }
}

impl From<GuestLinkState> for wire::GuestLinkState {
    fn from(state: GuestLinkState) -> Self {
        Self {
            exists: state.exists,
            up: state.up,
            carrier: state.carrier,
            addresses: state.addresses.iter().map(IpNet::to_string).collect(),
            tentative: state.tentative.iter().map(IpNet::to_string).collect(),
            gateway: state.gateway.as_ref().map(IpAddr::to_string).unwrap_or_default(),
            gateway_state: state.gateway_state,
        }
    }
}

impl TryFrom<wire::WatchResponse> for Event {
    type Error = Failure;

    fn try_from(event: wire::WatchResponse) -> Result<Self, Failure> {
        let at = At::top("attachment");
        Ok(Self {
            revision: event.revision,
            attachment: attachment::parse(at.present(event.attachment)?, &at)?,
            cause: Some(event.cause).filter(|cause| !cause.is_empty()),
        })
    }
}

impl From<Event> for wire::WatchResponse {
    fn from(event: Event) -> Self {
        Self {
            revision: event.revision,
            attachment: Some(event.attachment.into()),
            cause: event.cause.unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::GetOperationResponse> for Operation {
    type Error = Failure;

    fn try_from(answer: wire::GetOperationResponse) -> Result<Self, Failure> {
        let at = At::top("operation");
        let operation = at.present(answer.operation)?;
        Ok(Self {
            request_id: at.field("request_id").required(&operation.request_id)?,
            state: operation_state(operation.state, operation.failure, &at)?,
            attachment_ids: at
                .field("attachment_ids")
                .list(operation.attachment_ids, ANY, |at, id| at.required(&id))?,
            started_at: timestamp(operation.started_at, &at.field("started_at"))?,
        })
    }
}

fn operation_state(
    value: i32,
    failure: Option<wire::Failure>,
    at: &At<'_>,
) -> Result<OperationState, Failure> {
    let at_state = at.field("state");
    match at_state.variant::<wire::OperationState>(value, "running, done and failed")? {
        None | Some(wire::OperationState::Unspecified) => Err(at_state.refuse("it is required")),
        Some(wire::OperationState::Running) => Ok(OperationState::Running),
        Some(wire::OperationState::Done) => Ok(OperationState::Done),
        Some(wire::OperationState::Failed) => {
            Ok(OperationState::Failed(at.field("failure").present(failure)?.into()))
        }
    }
}

impl From<Operation> for wire::GetOperationResponse {
    fn from(operation: Operation) -> Self {
        Self { operation: Some(operation.into()) }
    }
}

impl From<Operation> for wire::Operation {
    fn from(operation: Operation) -> Self {
        let (state, failure) = match operation.state {
            OperationState::Running => (wire::OperationState::Running, None),
            OperationState::Done => (wire::OperationState::Done, None),
            OperationState::Failed(failure) => (wire::OperationState::Failed, Some(failure.into())),
        };
        Self {
            request_id: operation.request_id.to_string(),
            state: state.into(),
            attachment_ids: operation.attachment_ids.iter().map(ToString::to_string).collect(),
            failure,
            started_at: Some(to_timestamp(operation.started_at)),
        }
    }
}
