//! A client of one agent that takes and returns domain types.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use pipewright_api::client::{Client, Endpoint};
//! use pipewright_api::request::ListFilter;
//!
//! let client = Client::connect(&Endpoint::default(), std::time::Duration::from_secs(10))?;
//! for attachment in client.list(&ListFilter::default()).await?.attachments {
//!     println!("{} {}", attachment.spec.guest, attachment.spec.ifname);
//! }
//! # Ok(())
//! # }
//! ```

mod again;
mod endpoint;
mod error;
mod events;

use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Response, Status};
use uuid::Uuid;

use crate::attachment::{Attached, Attachment, GuestIdentity, Listing};
use crate::condition::{Condition, GuestLinkState};
use crate::finding::Findings;
use crate::host::{Change, HostFacts};
use crate::net::LinkName;
use crate::operation::Operation;
use crate::reason::Failure;
use crate::request::{
    Apply, Attach, ChangeTraffic, Detach, DetachTarget, Diagnose, Find, GetOperation, List, ListFilter,
    ListTraffic, RunTool, TrafficTarget, Wait, Watch,
};
use crate::spec::{AttachmentSpec, GuestRef, HostSpec};
use crate::tool::{Ran, ToolLine};
use crate::traffic::{LinkTraffic, Traffic, TrafficChanged};
use crate::wire;
use crate::wire::agent_client::AgentClient;
use crate::wire::guest_client::GuestClient;
use crate::wire::host_client::HostClient;

use again::Limits;
pub use again::PATIENCE;
pub use endpoint::{Endpoint, LOCAL};
use error::Asked;
pub use error::ClientError;
pub use events::Events;

/// Attachments that are asked for at once: an agent has each of them in memory three times until the page is sent.
const PAGE_SIZE: u32 = 250;
/// Largest answer that is read, in bytes: a page of attachments, or what a host shows of itself.
const ANSWER_MAX: usize = 16 << 20;
/// A wait must be asked for some time.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// A client of one agent. Clones share one connection and cost nothing.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
    timeout: Duration,
    patience: Duration,
    agent: AgentClient<Channel>,
    host: HostClient<Channel>,
    guest: GuestClient<Channel>,
}

impl Client {
    /// A client that connects with its first call, and again when the connection was lost. `timeout` is how long one
    /// call may take; [`Client::wait`] adds it to its own.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] if the endpoint cannot be an authority of HTTP.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<Self, ClientError> {
        let unreachable = |error: tonic::transport::Error| ClientError::Unreachable {
            endpoint: endpoint.clone(),
            why: error.to_string(),
        };
        let channel = endpoint.channel(timeout).map_err(unreachable)?;
        Ok(Self {
            endpoint: endpoint.clone(),
            timeout,
            patience: PATIENCE,
            agent: AgentClient::new(channel.clone()).max_decoding_message_size(ANSWER_MAX),
            host: HostClient::new(channel.clone()).max_decoding_message_size(ANSWER_MAX),
            guest: GuestClient::new(channel).max_decoding_message_size(ANSWER_MAX),
        })
    }

    /// How long to go on asking when the connection ended before the answer, or the agent was stopping, within the time of
    /// the call; [`PATIENCE`] unless this says it, and zero for not at all. The same request id is asked with, so a change is made once
    /// at most. Where nobody listens to begin with, it is said at once.
    #[must_use]
    pub fn asking_again_for(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Whom it asks.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Plugs a link into a guest. Asking again with the same request id gives the same answer.
    ///
    /// # Errors
    /// [`ClientError`]; the refusals are those of `Agent.Attach`.
    pub async fn attach(
        &self,
        request_id: Uuid,
        spec: &AttachmentSpec,
        dry_run: bool,
    ) -> Result<Attached, ClientError> {
        let request: wire::AttachRequest = Attach { request_id, spec: spec.clone(), dry_run }.into();
        self.ask(Asked::change(request_id, dry_run), &self.agent, request, |mut agent, request| async move {
            agent.attach(request).await
        })
        .await
    }

    /// Takes links out of a guest, and answers which; none when nothing was there.
    ///
    /// # Errors
    /// [`ClientError`]; the refusals are those of `Agent.Detach`.
    pub async fn detach(
        &self,
        request_id: Uuid,
        target: &DetachTarget,
        dry_run: bool,
    ) -> Result<Vec<Attachment>, ClientError> {
        let request: wire::DetachRequest = Detach { request_id, target: target.clone(), dry_run }.into();
        self.ask(Asked::change(request_id, dry_run), &self.agent, request, |mut agent, request| async move {
            agent.detach(request).await
        })
        .await
    }

    /// All attachments that fit the filter, page by page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list(&self, filter: &ListFilter) -> Result<Listing, ClientError> {
        let first = List { filter: filter.clone(), page_size: PAGE_SIZE, after: None };
        let mut request: wire::ListRequest = first.into();
        // The first page's revision stays: a watch from a later one would miss what changed on a page already read.
        let mut listing = self.page(&mut request).await?;
        while !request.page_token.is_empty() {
            listing.attachments.extend(self.page(&mut request).await?.attachments);
        }
        Ok(listing)
    }

    /// One page; turns the request into that of the next page, whose token is empty when there is none.
    async fn page(&self, request: &mut wire::ListRequest) -> Result<Listing, ClientError> {
        let asked = |mut agent: AgentClient<Channel>, request| async move { agent.list(request).await };
        let mut page = self.call(Asked::Only, &self.agent, request.clone(), asked).await?;
        let next = std::mem::take(&mut page.next_page_token);
        if !next.is_empty() && next == request.page_token {
            let why = format!("page {next:?} of its list follows itself");
            return Err(ClientError::Protocol { endpoint: self.endpoint.clone(), why });
        }
        request.page_token = next;
        self.parse(page)
    }

    /// Waits until a condition holds for a link in a guest, and answers its state then. `timeout` is above zero and at
    /// most [`crate::request::WAIT_MAX`].
    ///
    /// # Errors
    /// [`ClientError::Refused`] with NOT_READY and the last state seen when the time is over.
    pub async fn wait(
        &self,
        guest: &GuestRef,
        ifname: &LinkName,
        condition: Condition,
        timeout: Duration,
    ) -> Result<GuestLinkState, ClientError> {
        let limits = Limits { within: timeout.saturating_add(self.timeout), patience: self.patience };
        let answer = again::until_answered(limits, |left| {
            // What is asked again waits for what is left.
            let timeout = left.saturating_sub(self.timeout).max(LEAST_WAIT);
            let wait = Wait { guest: guest.clone(), ifname: ifname.clone(), condition, timeout };
            let mut agent = self.agent.clone();
            async move { agent.wait(wire::WaitRequest::from(wait)).await }
        });
        let answer: Result<wire::WaitResponse, _> = answer.await;
        self.parse(answer.map_err(|ended| ended.into_error(Asked::Only, &self.endpoint))?)
    }

    /// Changes of attachments after a revision; `None`: from now on. The stream ends with the connection: watch again
    /// from the last event's revision.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with RESYNC, here or in the stream, when changes were missed: list again, and watch
    /// from the list's revision.
    pub async fn watch(&self, resume: Option<u64>, guest: Option<&GuestRef>) -> Result<Events, ClientError> {
        let request: wire::WatchRequest = Watch { resume, guest: guest.cloned() }.into();
        let asked = |mut agent: AgentClient<Channel>, request| async move { agent.watch(request).await };
        let stream = self.call(Asked::Only, &self.agent, request, asked).await?;
        Ok(Events::new(stream, self.endpoint.clone()))
    }

    /// What became of a request.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with OPERATION_NOT_FOUND when the agent never accepted it.
    pub async fn operation(&self, request_id: Uuid) -> Result<Operation, ClientError> {
        let request: wire::GetOperationRequest = GetOperation { request_id }.into();
        self.ask(Asked::Only, &self.agent, request, |mut agent, request| async move {
            agent.get_operation(request).await
        })
        .await
    }

    /// Which guest a name means.
    ///
    /// # Errors
    /// [`ClientError`]; the refusals are those of `Guest.Find`.
    pub async fn find(&self, guest: &GuestRef) -> Result<GuestIdentity, ClientError> {
        let request: wire::FindRequest = Find { guest: guest.clone() }.into();
        self.ask(
            Asked::Only,
            &self.guest,
            request,
            |mut guest, request| async move { guest.find(request).await },
        )
        .await
    }

    /// Runs a tool in a guest. One that fails is an answer, too.
    ///
    /// # Errors
    /// [`ClientError`]; the refusals are those of `Guest.RunTool`.
    pub async fn run_tool(
        &self,
        request_id: Uuid,
        guest: &GuestRef,
        line: &ToolLine,
    ) -> Result<Ran, ClientError> {
        let asked = Asked::change(request_id, !line.changes());
        let request: wire::RunToolRequest =
            RunTool { request_id, guest: guest.clone(), line: line.clone() }.into();
        self.ask(
            asked,
            &self.guest,
            request,
            |mut guest, request| async move { guest.run_tool(request).await },
        )
        .await
    }

    /// Adds what steers traffic to a link of ours.
    ///
    /// # Errors
    /// [`ClientError`]; the refusals are those of `Guest.AddTraffic`.
    pub async fn add_traffic(
        &self,
        request_id: Uuid,
        target: &TrafficTarget,
        traffic: &Traffic,
    ) -> Result<TrafficChanged, ClientError> {
        let change = ChangeTraffic { request_id, target: target.clone(), traffic: traffic.clone() };
        let request: wire::AddTrafficRequest = change.into();
        self.ask(Asked::change(request_id, false), &self.guest, request, |mut guest, request| async move {
            guest.add_traffic(request).await
        })
        .await
    }

    /// Removes what was added to a link of ours.
    ///
    /// # Errors
    /// [`ClientError`]; the refusals are those of `Guest.RemoveTraffic`.
    pub async fn remove_traffic(
        &self,
        request_id: Uuid,
        target: &TrafficTarget,
        traffic: &Traffic,
    ) -> Result<TrafficChanged, ClientError> {
        let change = ChangeTraffic { request_id, target: target.clone(), traffic: traffic.clone() };
        let request: wire::RemoveTrafficRequest = change.into();
        self.ask(Asked::change(request_id, false), &self.guest, request, |mut guest, request| async move {
            guest.remove_traffic(request).await
        })
        .await
    }

    /// What steers a guest's traffic over links of ours.
    ///
    /// # Errors
    /// [`ClientError`]; the refusals are those of `Guest.ListTraffic`.
    pub async fn list_traffic(&self, guest: &GuestRef) -> Result<Vec<LinkTraffic>, ClientError> {
        let request: wire::ListTrafficRequest = ListTraffic { guest: guest.clone() }.into();
        self.ask(Asked::Only, &self.guest, request, |mut guest, request| async move {
            guest.list_traffic(request).await
        })
        .await
    }

    /// What the host is and can do.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn show(&self) -> Result<HostFacts, ClientError> {
        self.ask(Asked::Only, &self.host, wire::ShowRequest {}, |mut host, request| async move {
            host.show(request).await
        })
        .await
    }

    /// What is wrong on the host, or with one attachment. Nothing is changed.
    ///
    /// # Errors
    /// [`ClientError`]; the refusals are those of `Host.Diagnose`.
    pub async fn diagnose(&self, asked: Diagnose) -> Result<Findings, ClientError> {
        self.ask(
            Asked::Only,
            &self.host,
            wire::DiagnoseRequest::from(asked),
            |mut host, request| async move { host.diagnose(request).await },
        )
        .await
    }

    /// Makes the host look like a fleet's document, and answers what changed; a change that could not be made carries
    /// its failure.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn apply(
        &self,
        request_id: Uuid,
        spec: &HostSpec,
        dry_run: bool,
    ) -> Result<Vec<Change>, ClientError> {
        let request: wire::ApplyRequest = Apply { request_id, spec: spec.clone(), dry_run }.into();
        self.ask(Asked::change(request_id, dry_run), &self.host, request, |mut host, request| async move {
            host.apply(request).await
        })
        .await
    }

    /// A call whose answer is one message.
    async fn ask<S: Clone, R: Clone, W, C, T: TryFrom<W, Error = Failure>>(
        &self,
        asked: Asked,
        service: &S,
        request: R,
        call: impl Fn(S, R) -> C,
    ) -> Result<T, ClientError>
    where
        C: Future<Output = Result<Response<W>, Status>>,
    {
        let answer = self.call(asked, service, request, call).await?;
        self.parse(answer)
    }

    async fn call<S: Clone, R: Clone, W, C>(
        &self,
        asked: Asked,
        service: &S,
        request: R,
        call: impl Fn(S, R) -> C,
    ) -> Result<W, ClientError>
    where
        C: Future<Output = Result<Response<W>, Status>>,
    {
        let limits = Limits { within: self.timeout, patience: self.patience };
        let answer = again::until_answered(limits, |_| call(service.clone(), request.clone())).await;
        answer.map_err(|ended| ended.into_error(asked, &self.endpoint))
    }

    fn parse<W, T: TryFrom<W, Error = Failure>>(&self, answer: W) -> Result<T, ClientError> {
        T::try_from(answer).map_err(|why| ClientError::Protocol {
            endpoint: self.endpoint.clone(),
            why: why.message().to_owned(),
        })
    }
}
