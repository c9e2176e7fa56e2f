//! Containers whose labels are to be read, and what was refused of those that were.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pipewright_api::attachment::Runtime;
use pipewright_api::reason::Failure;
use uuid::Uuid;

use crate::engine::declared::derived;

/// Containers whose refusals are remembered. There may be more; those are in the log.
const MOST: usize = 1024;

/// Whose labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// Those of every container that runs.
    All(Runtime),
    /// Those of one, by its id.
    Container(Runtime, String),
}

impl Subject {
    /// What it is called in the timetable.
    pub(super) fn key(&self) -> Uuid {
        match self {
            Self::All(runtime) => derived(&[&runtime.to_string()]),
            Self::Container(runtime, id) => derived(&[&runtime.to_string(), id]),
        }
    }
}

/// What was refused of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) runtime: Runtime,
    pub(super) id: String,
    pub(super) name: String,
    /// By the names of labels and variables.
    pub(super) whys: BTreeMap<String, Failure>,
}

/// What is up on it.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// What is to be read. Whoever reads takes it first, so what is told meanwhile is read again.
    due: BTreeMap<Uuid, Subject>,
    refused: BTreeMap<Uuid, Refused>,
}

impl Board {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts up whose labels are to be read.
    pub(super) fn put(&self, subject: Subject) {
        self.entries().due.insert(subject.key(), subject);
    }

    /// Takes down whose labels are read now.
    pub(super) fn take(&self, key: Uuid) -> Option<Subject> {
        self.entries().due.remove(&key)
    }

    /// Remembers what was refused of a container, in place of what was before; gives what is new of it.
    pub(super) fn tell(&self, key: Uuid, refused: Refused) -> Vec<(String, Failure)> {
        let mut entries = self.entries();
        let before = entries.refused.remove(&key);
        let is_known = |label: &String, why: &Failure| {
            before.as_ref().is_some_and(|before| before.whys.get(label) == Some(why))
        };
        let news = refused.whys.iter().filter(|(label, why)| !is_known(label, why));
        let news = news.map(|(label, why)| (label.clone(), why.clone())).collect();
        if !refused.whys.is_empty() && entries.refused.len() < MOST {
            entries.refused.insert(key, refused);
        }
        news
    }

    /// Forgets what was refused of a container that does not run.
    pub(super) fn forget(&self, key: Uuid) {
        self.entries().refused.remove(&key);
    }

    /// Everything that was refused and still is.
    pub(super) fn refused(&self) -> Vec<Refused> {
        self.entries().refused.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use pipewright_api::reason::Reason;

    use super::*;

    fn refused(why: &str) -> Refused {
        let failure = |why: &str| Failure::new(Reason::NotGranted, why);
        let whys = why.split_terminator(' ').map(|why| (why.to_owned(), failure(why))).collect();
        Refused { runtime: Runtime::Docker, id: "a".to_owned(), name: "web".to_owned(), whys }
    }

    #[test]
    fn what_is_told_while_it_is_read_is_read_again() {
        let (board, subject) = (Board::default(), Subject::Container(Runtime::Docker, "a".to_owned()));
        let key = subject.key();

        board.put(subject.clone());
        board.put(subject.clone());
        let first = board.take(key);
        board.put(subject.clone());

        assert_eq!((first, board.take(key), board.take(key)), (Some(subject.clone()), Some(subject), None));
        assert_ne!(key, Subject::Container(Runtime::Podman, "a".to_owned()).key());
        assert_ne!(key, Subject::All(Runtime::Docker).key());
    }

    #[test]
    fn a_refusal_is_told_once_and_held_for_as_long_as_it_is_one() {
        let (board, key) = (Board::default(), Uuid::nil());
        let told = |refused| board.tell(key, refused).len();

        assert_eq!([told(refused("a b")), told(refused("a b")), told(refused("a c"))], [2, 0, 1]);
        assert_eq!(board.refused(), [refused("a c")]);
        assert_eq!((told(refused("")), board.refused()), (0, Vec::new()));
        assert_eq!(told(refused("a")), 1);
        board.forget(key);
        assert_eq!(board.refused(), []);
    }
}
