//! Group commit: a task takes all changes that are waiting and makes them in one transaction.
//!
//! ovs-vswitchd looks at every port for each change it sees, so fifty ports in one transaction cost it little more than
//! one. When a common transaction is refused, the guilty change is looked at again and the others go on.
//!
//! When no answer comes, the outcome is unknown. Then the task waits until the server answers again, by which time the
//! live copy shows what is there, and decides anew from that. Preconditions make it harmless to send a change twice. It is
//! enough to ask on a new connection: ovsdb-server serves connections in the order in which they came, so what the lost
//! one carried is done before (there is a test of that; RFC 7047 does not promise it).

use std::collections::HashSet;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::SwitchError;
use super::batch::{Batch, next_cfg};
use super::change::{Change, Finding, Verdict};
use super::desk::{Desk, Loss};
use super::rows::DATABASE;
use crate::ovsdb::OvsdbError;

/// Changes that go together. At 1,000 ports the gain per port is spent at about fifty.
const TOGETHER_MAX: usize = 64;
/// How often a precondition may fail although the live copy says that it holds.
const REFUSALS_MAX: u8 = 3;

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Made, by the transaction of this `next_cfg`.
    Made(i64),
    /// There was nothing to do.
    Found(Finding),
}

/// A change that somebody waits for.
#[derive(Debug)]
pub(super) struct Request {
    change: Change,
    /// No attempt begins after this.
    deadline: Instant,
    answer: oneshot::Sender<Result<Outcome, SwitchError>>,
    /// A transaction with it is without an answer.
    is_unsure: bool,
    refusals: u8,
}

impl Request {
    pub(super) fn new(
        change: Change,
        deadline: Instant,
        answer: oneshot::Sender<Result<Outcome, SwitchError>>,
    ) -> Self {
        Self { change, deadline, answer, is_unsure: false, refusals: 0 }
    }

    fn answer(self, outcome: Result<Outcome, SwitchError>) {
        // The caller may have gone away; the change is made all the same.
        let _ = self.answer.send(outcome);
    }

    /// Answers that it cannot be done, as certainly as that can be said.
    fn give_up(self, error: &SwitchError) {
        let error = match error {
            SwitchError::Down { cause } if self.is_unsure => {
                SwitchError::Unknown { what: self.change.what(), cause: cause.clone() }
            }
            other => other.clone(),
        };
        self.answer(Err(error));
    }

    fn refuse(self, details: String) {
        let what = format!("cannot {}", self.change.what());
        self.answer(Err(SwitchError::Refused { what, details }));
    }
}

/// How well the live copy is known to be what the server holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// As of the last update.
    Usual,
    /// The server has answered since the changes were asked for.
    Confirmed,
    /// Something happened that the live copy may not show yet.
    Doubtful,
}

/// Runs until nobody can ask any more.
pub(super) async fn run(desk: Desk, mut requests: mpsc::Receiver<Request>) {
    let mut together = Vec::new();
    while requests.recv_many(&mut together, TOGETHER_MAX).await > 0 {
        while !together.is_empty() {
            let group = apart(&mut together);
            settle(&desk, group).await;
        }
    }
}

/// Takes those out that can go in one transaction: no two of the same bridge or port, since each is decided without the
/// others. The later ones then find what the first did.
fn apart(together: &mut Vec<Request>) -> Vec<Request> {
    let mut objects = HashSet::new();
    together.extract_if(.., |request| objects.insert(request.change.object().clone())).collect()
}

/// Makes the changes, together if it can be, and answers each.
async fn settle(desk: &Desk, mut requests: Vec<Request>) {
    let mut trust = Trust::Usual;
    while let Some(deadline) = requests.iter().map(|request| request.deadline).min() {
        let loss = match requests.iter().any(|request| request.is_unsure) {
            true => Loss::IsWaitedOut,
            false => Loss::IsFinal,
        };
        let known = match trust {
            Trust::Usual | Trust::Confirmed => desk.sync(deadline).await,
            Trust::Doubtful => desk.confirm(deadline, loss).await,
        };
        if let Err(error) = known {
            return requests.into_iter().for_each(|request| request.give_up(&error));
        }
        if trust == Trust::Doubtful {
            trust = Trust::Confirmed;
        }
        let batch = match prepare(desk, &mut requests, trust) {
            Some(batch) if batch.is_empty() => return,
            Some(batch) => batch,
            None => {
                trust = Trust::Doubtful;
                continue;
            }
        };
        trust = Trust::Doubtful;
        match desk.client.transact(DATABASE, &batch.operations(), desk.call).await {
            Ok(replies) => return committed(desk, requests, next_cfg(&replies)),
            Err(OvsdbError::Unknown { cause, .. } | OvsdbError::Unreadable { why: cause, .. }) => {
                tracing::warn!(cause, changes = requests.len(), "no answer of OVSDB; reading what it holds");
                requests.iter_mut().for_each(|request| request.is_unsure = true);
            }
            // What was sent before and is without an answer must be read first.
            Err(OvsdbError::Down { .. }) if loss == Loss::IsWaitedOut => {}
            Err(error @ OvsdbError::Down { .. }) => {
                let error = SwitchError::Down { cause: error.to_string() };
                return requests.into_iter().for_each(|request| request.give_up(&error));
            }
            Err(OvsdbError::Rejected { error, .. }) => {
                return requests.into_iter().for_each(|request| request.refuse(error.clone()));
            }
            Err(ref error @ OvsdbError::Refused { operation, .. }) => {
                match operation.and_then(|at| batch.owner_of(at)) {
                    // The live copy was behind. What is there now says more than the refusal does.
                    Some(guilty) if requests[guilty].refusals < REFUSALS_MAX => {
                        requests[guilty].refusals += 1;
                    }
                    Some(guilty) => requests.remove(guilty).refuse(error.to_string()),
                    None if requests.len() == 1 => return requests.remove(0).refuse(error.to_string()),
                    None => {
                        for request in requests {
                            Box::pin(settle(desk, vec![request])).await;
                        }
                        return;
                    }
                }
            }
        }
    }
}

/// Answers what needs no transaction and puts the rest together. `None` if the live copy must be confirmed first.
fn prepare(desk: &Desk, requests: &mut Vec<Request>, trust: Trust) -> Option<Batch> {
    let live = desk.live.read();
    let verdicts: Vec<_> = requests
        .iter()
        .enumerate()
        .map(|(number, request)| live.root().and_then(|_| request.change.decide(&live, number)))
        .collect();
    // What is not there may be on its way, from an attempt that was given up.
    let is_absent = |verdict: &Result<Verdict, _>| matches!(verdict, Ok(Verdict::Settled(Finding::Absent)));
    if trust != Trust::Confirmed && verdicts.iter().any(is_absent) {
        return None;
    }
    let asked = live.root().map_or(0, |root| root.next_cfg);
    let mut batch = Batch::default();
    let mut left = Vec::new();
    for (request, verdict) in requests.drain(..).zip(verdicts) {
        match verdict {
            Ok(Verdict::Commit(operations, membership)) => {
                batch.add(left.len(), operations, membership);
                left.push(request);
            }
            // It was we who did it, by the attempt that had no answer.
            Ok(Verdict::Settled(Finding::AsWanted | Finding::Absent)) if request.is_unsure => {
                request.answer(Ok(Outcome::Made(asked)));
            }
            Ok(Verdict::Settled(finding)) => request.answer(Ok(Outcome::Found(finding))),
            Err(error) => request.answer(Err(error)),
        }
    }
    *requests = left;
    Some(batch)
}

fn committed(desk: &Desk, requests: Vec<Request>, next_cfg: Option<i64>) {
    let asked = || desk.live.read().root().map_or(0, |root| root.next_cfg);
    let next_cfg = next_cfg.unwrap_or_else(asked);
    for request in requests {
        match &request.change {
            Change::Plug(plug) => desk.live.note_commit(plug.id, Some(next_cfg)),
            Change::SetVlan { id, .. } => desk.live.note_commit(*id, Some(next_cfg)),
            Change::Unplug { id, .. } => desk.live.note_commit(*id, None),
            Change::EnsureBridge { .. } | Change::ReleaseBridge { .. } => {}
        }
        request.answer(Ok(Outcome::Made(next_cfg)));
    }
}
