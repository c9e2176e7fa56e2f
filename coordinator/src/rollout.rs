//! Handing each host its document: many at once, each within its own time, and one that is down stops no other.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use pipewright_api::client::{Client, ClientError, Endpoint, PATIENCE};
use pipewright_api::host::Change;
use pipewright_api::reason::Failure;
use pipewright_api::spec::HostSpec;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::name::Name;

/// How a rollout goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How many hosts are asked at the same time.
    pub at_once: usize,
    /// How long one host may take, asking again included.
    pub per_host: Duration,
    /// How long of that it is asked again when its connection ended before the answer.
    pub retry_for: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { at_once: 16, per_host: Duration::from_secs(30), retry_for: PATIENCE }
    }
}

impl Pace {
    /// A client of one host's agent.
    pub(crate) fn client(&self, endpoint: &Endpoint) -> Result<Client, ClientError> {
        Ok(Client::connect(endpoint, self.per_host)?.asking_again_for(self.retry_for))
    }
}

/// Whether hosts are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only say what would change.
    Plan,
    /// Change it.
    Apply,
}

/// What came of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What was changed, or would be; each change that could not be made carries its failure.
    Changes(Vec<Change>),
    /// Nothing was changed: the agent cannot be reached.
    Unreachable(String),
    /// The answer was lost, twice. Asking again with this id tells.
    Unknown {
        /// Of the request.
        request_id: Uuid,
        /// How the answer was lost.
        why: String,
    },
    /// The agent refused the document and changed nothing.
    Refused(Failure),
    /// What answers there does not speak our contract.
    Misunderstood(String),
}

impl Outcome {
    /// Whether the host is as wanted now; for a plan, whether it could be told.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Changes(changes) => changes.iter().all(|change| change.failure.is_none()),
            Self::Unreachable(_) | Self::Unknown { .. } | Self::Refused(_) | Self::Misunderstood(_) => false,
        }
    }

    /// The changes, if the host answered.
    pub fn changes(&self) -> &[Change] {
        match self {
            Self::Changes(changes) => changes,
            Self::Unreachable(_) | Self::Unknown { .. } | Self::Refused(_) | Self::Misunderstood(_) => &[],
        }
    }
}

/// What happens while a rollout runs.
#[derive(Debug, Clone)]
pub enum Progress {
    /// The host is being asked.
    Asked(Name),
    /// It is done.
    Finished(Name, Outcome),
}

/// A host, where it is, and what is wanted of it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where its agent listens.
    pub endpoint: Endpoint,
    /// Its document.
    pub spec: HostSpec,
}

/// Joins hosts and documents.
pub fn targets(
    hosts: &BTreeMap<Name, Endpoint>,
    documents: BTreeMap<Name, HostSpec>,
) -> BTreeMap<Name, Target> {
    let target = |(host, spec): (Name, HostSpec)| {
        let endpoint = hosts.get(&host)?.clone();
        Some((host, Target { endpoint, spec }))
    };
    documents.into_iter().filter_map(target).collect()
}

/// Hands each host its document and gathers what came of it. Needs a tokio runtime with I/O and time.
///
/// Nobody needs to read `progress`; when it is read, it is read to its end, or the rollout waits for the reader.
pub async fn roll_out(
    targets: BTreeMap<Name, Target>,
    mode: Mode,
    pace: Pace,
    progress: mpsc::Sender<Progress>,
) -> BTreeMap<Name, Outcome> {
    let one = |(host, target): (Name, Target)| {
        let progress = Reporter { host: host.clone(), to: progress.clone() };
        async move {
            progress.say(Progress::Asked).await;
            let outcome = ask(&target, mode, pace).await;
            progress.say(|host| Progress::Finished(host, outcome.clone())).await;
            (host, outcome)
        }
    };
    futures_util::stream::iter(targets).map(one).buffer_unordered(pace.at_once.max(1)).collect().await
}

struct Reporter {
    host: Name,
    to: mpsc::Sender<Progress>,
}

impl Reporter {
    async fn say(&self, what: impl FnOnce(Name) -> Progress) {
        // A reader that has left is one that does not want to know.
        let _ = self.to.send(what(self.host.clone())).await;
    }
}

async fn ask(target: &Target, mode: Mode, pace: Pace) -> Outcome {
    let request_id = Uuid::new_v4();
    outcome(apply(target, mode, request_id, pace).await, request_id)
}

async fn apply(target: &Target, mode: Mode, id: Uuid, pace: Pace) -> Result<Vec<Change>, ClientError> {
    let client = pace.client(&target.endpoint)?;
    client.apply(id, &target.spec, mode == Mode::Plan).await
}

fn outcome(answer: Result<Vec<Change>, ClientError>, request_id: Uuid) -> Outcome {
    match answer {
        Ok(changes) => Outcome::Changes(changes),
        Err(ClientError::Refused(failure)) => Outcome::Refused(failure),
        Err(ClientError::Unknown { why, .. }) => Outcome::Unknown { request_id, why },
        Err(error @ ClientError::Unreachable { .. }) => Outcome::Unreachable(error.to_string()),
        Err(error @ ClientError::Protocol { .. }) => Outcome::Misunderstood(error.to_string()),
    }
}
