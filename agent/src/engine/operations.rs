//! Requests and their answers. The same request id gives the same answer for ever, also to those who ask while it is
//! still being worked on, and work that was begun goes on when the caller goes away.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use pipewright_api::attachment::Attachment;
use pipewright_api::host::Change;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::tool::Ran;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use uuid::Uuid;

use crate::engine::records::Records;

/// One request, from its intent on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Chosen by the caller.
    pub id: Uuid,
    /// Of what was asked.
    pub fingerprint: String,
    /// When its intent was written.
    pub started_at: SystemTime,
    /// `None` while steps are taken.
    pub answer: Option<Answer>,
    /// What the answer is when all goes well. A power cut may take the answer that was given, but not this, which is on the
    /// disk before; and it takes all links with it, so what was done by then makes no difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Answer>,
}

/// What the caller was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Of Attach.
    Attached {
        /// As it was then.
        attachment: Arc<Attachment>,
        /// False when it was there already.
        created: bool,
    },
    /// Of Detach.
    Detached(Vec<Attachment>),
    /// Of Apply.
    Applied(Vec<Change>),
    /// Of RunTool, when it can change something.
    Ran(Ran),
    /// Of AddTraffic and RemoveTraffic.
    Traffic {
        /// The link's; `None` when nothing was there to be removed.
        attachment: Option<Box<Attachment>>,
        /// False when it was so already.
        is_changed: bool,
    },
    /// Refused after its intent was written.
    Failed(Failure),
    /// The agent died over it, and nobody was told anything. Nothing of it is left, so it may be asked again.
    Interrupted,
}

/// The work of a request, for whoever has it go on by itself.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The end of the work of a request.
pub struct Done {
    /// What the caller is told.
    pub answer: Result<Answer, Failure>,
    /// What is done when the caller is told.
    pub then: Option<Box<dyn FnOnce() + Send>>,
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Done").field("answer", &self.answer).finish_non_exhaustive()
    }
}

impl From<Result<Answer, Failure>> for Done {
    fn from(answer: Result<Answer, Failure>) -> Self {
        Self { answer, then: None }
    }
}

/// Has it go on as a task of the runtime.
pub fn on_a_task(work: Work) {
    tokio::spawn(work);
}

/// What a request asks, in short.
pub fn fingerprint(asked: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_vec(asked).map_err(|error| {
        Failure::new(Reason::Internal, format!("the request cannot be written down: {error}"))
    })?;
    let digest = Sha256::digest(text);
    Ok(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// The requests that are being worked on.
#[derive(Debug)]
pub struct Operations {
    records: Records,
    running: Arc<Mutex<Board>>,
}

#[derive(Debug, Default)]
struct Board {
    stopping: bool,
    requests: HashMap<Uuid, Running>,
}

#[derive(Debug, Clone)]
struct Running {
    fingerprint: String,
    started_at: SystemTime,
    result: watch::Receiver<Option<Result<Answer, Failure>>>,
}

impl Operations {
    /// None yet.
    pub fn new(records: Records) -> Self {
        Self { records, running: Arc::default() }
    }

    /// Answers a request: from the record, from the one being worked on, or by doing `work`, which `begin` has go on by itself.
    ///
    /// # Errors
    /// SPEC_DIFFERS when the id was used for something else, STOPPING, or what `work` fails with.
    pub async fn answer<F>(
        &self,
        id: Uuid,
        fingerprint: String,
        work: F,
        begin: impl FnOnce(Work),
    ) -> Result<Answer, Failure>
    where
        F: Future<Output: Into<Done>> + Send + 'static,
    {
        let mut result = match self.join_or_begin(id, fingerprint, work, begin)? {
            Entry::Answered(answer) => return answer_of(answer),
            Entry::Running(result) => result,
        };
        let done = result.wait_for(Option::is_some).await;
        match done.ok().and_then(|value| value.clone()) {
            Some(result) => result.and_then(answer_of),
            None => Err(Failure::new(
                Reason::Internal,
                format!(
                    "request {id} ended in a defect of the agent; see its log, and ask again with the same id"
                ),
            )),
        }
    }

    fn join_or_begin<F>(
        &self,
        id: Uuid,
        fingerprint: String,
        work: F,
        begin: impl FnOnce(Work),
    ) -> Result<Entry, Failure>
    where
        F: Future<Output: Into<Done>> + Send + 'static,
    {
        let mut board = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = board.requests.get(&id) {
            same(id, &running.fingerprint, &fingerprint)?;
            return Ok(Entry::Running(running.result.clone()));
        }
        if let Some(stored) = self.records.operation(id)? {
            same(id, &stored.fingerprint, &fingerprint)?;
            match stored.answer {
                Some(Answer::Interrupted) | None => {}
                Some(answer) => return Ok(Entry::Answered(answer)),
            }
        }
        if board.stopping {
            return Err(Failure::new(Reason::Stopping, "the agent is stopping; ask again in a moment"));
        }
        let (publish, result) = watch::channel(None);
        let running = Running { fingerprint, started_at: SystemTime::now(), result: result.clone() };
        board.requests.insert(id, running);
        let board = Arc::clone(&self.running);
        begin(Box::pin(async move {
            // Dropped when the work is done or panics, so that no request stays on the board for ever.
            let listed = Listed { id, board };
            let Done { answer, then } = work.await.into();
            // Nobody may be waiting for it any more.
            let _unheard = publish.send(Some(answer));
            drop(listed);
            then.into_iter().for_each(|then| then());
        }));
        Ok(Entry::Running(result))
    }

    /// What became of a request.
    ///
    /// # Errors
    /// OPERATION_NOT_FOUND when it was never accepted.
    pub fn find(&self, id: Uuid) -> Result<Operation, Failure> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).requests.get(&id).cloned();
        if let Some(Running { fingerprint, started_at, .. }) = running {
            return Ok(Operation { id, fingerprint, started_at, answer: None, expected: None });
        }
        self.records.operation(id)?.ok_or_else(|| {
            let text =
                format!("request {id} was never accepted by this agent, so nothing was changed for it");
            Failure::new(Reason::OperationNotFound, text)
        })
    }

    /// Takes no more requests and waits for those that run.
    pub async fn drain(&self) {
        let running: Vec<_> = {
            let mut board = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            board.stopping = true;
            board.requests.values().map(|running| running.result.clone()).collect()
        };
        for mut result in running {
            // An error means that its work is gone, which is as good as done.
            let _ = result.wait_for(Option::is_some).await;
        }
    }
}

enum Entry {
    Answered(Answer),
    Running(watch::Receiver<Option<Result<Answer, Failure>>>),
}

struct Listed {
    id: Uuid,
    board: Arc<Mutex<Board>>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).requests.remove(&self.id);
    }
}

fn same(id: Uuid, known: &str, asked: &str) -> Result<(), Failure> {
    match known == asked {
        true => Ok(()),
        false => Err(Failure::new(
            Reason::SpecDiffers,
            format!("request id {id} was used for another request; use a new id for each"),
        )),
    }
}

fn answer_of(answer: Answer) -> Result<Answer, Failure> {
    match answer {
        Answer::Failed(failure) => Err(failure),
        answer => Ok(answer),
    }
}
