//! What outlives the agent: attachments, switches and answered requests, in an embedded store.
//!
//! An intent is written before the first effect; a write is enough, since it outlives a killed process, and a power cut
//! takes the links along. What an answer says is on the disk before it is given; those that wait at the same time share one
//! fsync. Where the outcome can be told beforehand, the disk takes the intent while the kernel works, and the outcome is only
//! written: after a power cut, which ends all that the kernel had, an intent without an outcome counts as done.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use fjall::config::{BlockSizePolicy, CompressionPolicy, PartitioningPolicy, PinningPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use pipewright_api::net::LinkName;
use pipewright_api::reason::{Failure, Reason};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::engine::operations::Operation;

mod record;

pub use record::{Record, SwitchRecord};

/// Format of the records. A store with a higher one was written by a newer agent and is refused, unchanged.
const FORMAT: u64 = 1;
/// Another text after each start of the host (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Outcomes that may wait for the disk before callers have to.
const QUEUE: usize = 1024;

/// One change of the store.
#[derive(Debug)]
pub enum Write {
    /// Adds or replaces.
    Attachment(Arc<Record>),
    /// Removes.
    NoAttachment(Uuid),
    /// Adds or replaces.
    Switch(Box<SwitchRecord>),
    /// Removes.
    NoSwitch(LinkName),
    /// Adds or replaces.
    Operation(Box<Operation>),
    /// Removes one without an answer, which may be asked again.
    NoOperation(Uuid),
}

/// What was in the store when it was opened.
#[derive(Debug)]
pub struct Loaded {
    /// Every attachment.
    pub attachments: Vec<Record>,
    /// Every switch.
    pub switches: Vec<SwitchRecord>,
    /// Requests without an answer.
    pub unanswered: Vec<Operation>,
    /// How many times the store was opened, this time included.
    pub generation: u64,
    /// The host was started anew since the store was last open.
    pub has_rebooted: bool,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another agent has it.
    #[error(
        "state directory {0} is in use by another agent; stop it, or give this one its own with --state-dir"
    )]
    InUse(String),
    /// It was written by a newer agent.
    #[error("state directory {dir} has format {found}, this agent knows up to {FORMAT}; run the newer agent")]
    Newer {
        /// The directory.
        dir: String,
        /// What it has.
        found: u64,
    },
    /// It cannot be read or written.
    #[error("state directory {dir}: {source}")]
    Broken {
        /// The directory.
        dir: String,
        /// The store's words.
        source: fjall::Error,
    },
    /// The kernel does not say which start of the host this is.
    #[error("{BOOT_ID}: {source}; the agent needs /proc")]
    Boot {
        /// Why.
        source: io::Error,
    },
    /// A record that we do not understand, such as one with a step of a newer agent.
    #[error(
        "state directory {dir}: record {key} does not parse: {source}; nothing was changed, run the agent that wrote it"
    )]
    Strange {
        /// The directory.
        dir: String,
        /// Its key.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// The open store.
#[derive(Debug, Clone)]
pub struct Records {
    tables: Tables,
    outcomes: mpsc::Sender<Outcome>,
}

type Outcome = (Vec<Write>, oneshot::Sender<Result<(), Failure>>);

/// An intent on its way to the disk.
#[derive(Debug)]
#[must_use = "the answer must wait for it"]
pub struct Durable(oneshot::Receiver<Result<(), Failure>>);

impl Records {
    /// Opens the store in a directory, or makes one.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is changed then.
    pub fn open(dir: &Path) -> Result<(Self, Loaded), StoreError> {
        let name = || dir.display().to_string();
        let broken = |source| match source {
            fjall::Error::Locked => StoreError::InUse(name()),
            source => StoreError::Broken { dir: name(), source },
        };
        // One background thread, small buffers and the smallest journal: there are thousands of records, not millions.
        let db = Database::builder(dir)
            .worker_threads(1)
            .cache_size(1 << 20)
            .max_journaling_size(1 << 26)
            .open()
            .map_err(broken)?;
        let small = || KeyspaceCreateOptions::default().max_memtable_size(1 << 19);
        let table = |name: &str| db.keyspace(name, small).map_err(broken);
        let tables = Tables {
            attachments: table("attachments")?,
            switches: table("switches")?,
            operations: db.keyspace("operations", || for_ever(small())).map_err(broken)?,
            unanswered: table("unanswered")?,
            meta: table("meta")?,
            db: db.clone(),
        };
        let found = tables.number("format").map_err(broken)?.unwrap_or(FORMAT);
        if found > FORMAT {
            return Err(StoreError::Newer { dir: name(), found });
        }
        let generation = tables.number("generation").map_err(broken)?.unwrap_or(0) + 1;
        let boot = fs::read(BOOT_ID).map_err(|source| StoreError::Boot { source })?;
        let last_boot = tables.meta.get("boot").map_err(broken)?;
        let loaded = Loaded {
            has_rebooted: last_boot.is_some_and(|last| *last != *boot),
            attachments: tables.all(&tables.attachments, dir)?,
            switches: tables.all(&tables.switches, dir)?,
            unanswered: tables.all(&tables.unanswered, dir)?,
            generation,
        };
        tables.meta.insert("format", FORMAT.to_be_bytes()).map_err(broken)?;
        tables.meta.insert("generation", generation.to_be_bytes()).map_err(broken)?;
        tables.meta.insert("boot", boot).map_err(broken)?;
        db.persist(PersistMode::SyncData).map_err(broken)?;
        let (outcomes, queue) = mpsc::channel(QUEUE);
        let writer = Writer { tables: tables.clone(), queue };
        thread::Builder::new()
            .name("records".into())
            .spawn(move || writer.run())
            .map_err(|source| StoreError::Broken { dir: name(), source: source.into() })?;
        Ok((Self { tables, outcomes }, loaded))
    }

    /// Writes what is about to be done. It outlives a killed agent from now on.
    ///
    /// # Errors
    /// EXHAUSTED when the store does not take it; nothing must be done then.
    pub fn intend(&self, writes: &[Write]) -> Result<(), Failure> {
        self.tables.batch(writes).and_then(OwnedWriteBatch::commit).map_err(|error| refuse(&error))
    }

    /// Writes what is about to be done, and has the disk take it meanwhile.
    ///
    /// # Errors
    /// EXHAUSTED when the store does not take it; nothing must be done then.
    pub async fn begin(&self, writes: &[Write]) -> Result<Durable, Failure> {
        self.intend(writes)?;
        let (done, answer) = oneshot::channel();
        self.outcomes.send((Vec::new(), done)).await.map_err(|_| stopped())?;
        Ok(Durable(answer))
    }

    /// Writes what was done as was intended, and returns once the disk has the intent.
    ///
    /// # Errors
    /// EXHAUSTED when the store or the disk does not take it.
    pub async fn finish(&self, writes: &[Write], intent: Durable) -> Result<(), Failure> {
        self.intend(writes)?;
        intent.0.await.map_err(|_| stopped())?
    }

    /// Writes what was done, and returns once the disk has it.
    ///
    /// # Errors
    /// EXHAUSTED when the store does not take it.
    pub async fn settle(&self, writes: Vec<Write>) -> Result<(), Failure> {
        let (done, answer) = oneshot::channel();
        self.outcomes.send((writes, done)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// The stored request of that id.
    ///
    /// # Errors
    /// EXHAUSTED when the store cannot be read, INTERNAL when the record does not parse.
    pub fn operation(&self, id: Uuid) -> Result<Option<Operation>, Failure> {
        for table in [&self.tables.operations, &self.tables.unanswered] {
            if let Some(bytes) = table.get(id.as_bytes()).map_err(|error| refuse(&error))? {
                let parsed = serde_json::from_slice(&bytes);
                return parsed.map(Some).map_err(|error| {
                    Failure::new(
                        Reason::Internal,
                        format!("the record of request {id} does not parse: {error}"),
                    )
                });
            }
        }
        Ok(None)
    }
}

/// For records that only become more and are hardly ever read: large compressed blocks, since they are much alike, and no
/// index or filter of them in memory but what the cache holds.
fn for_ever(options: KeyspaceCreateOptions) -> KeyspaceCreateOptions {
    options
        .data_block_size_policy(BlockSizePolicy::all(1 << 15))
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
        .index_block_pinning_policy(PinningPolicy::disabled())
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .filter_block_pinning_policy(PinningPolicy::disabled())
}

fn stopped() -> Failure {
    Failure::new(Reason::Internal, "the record store has stopped; restart the agent")
}

fn refuse(error: &fjall::Error) -> Failure {
    if matches!(error, fjall::Error::Poisoned) {
        // After an error of the disk the store does not know what of its last write is there; the next start reads it.
        let text = "the record store stopped at an error of its disk; free some space in the state directory, then \
                    restart the agent";
        return Failure::new(Reason::Exhausted, text);
    }
    Failure::new(
        Reason::Exhausted,
        format!("the record store refuses to write: {error}; free some space in the state directory"),
    )
}

/// The store's tables. Requests without an answer have their own, so that a start need not read all that ever was.
#[derive(Clone)]
struct Tables {
    db: Database,
    attachments: Keyspace,
    switches: Keyspace,
    operations: Keyspace,
    unanswered: Keyspace,
    meta: Keyspace,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tables")
    }
}

impl Tables {
    fn number(&self, key: &str) -> fjall::Result<Option<u64>> {
        let bytes = self.meta.get(key)?;
        Ok(bytes.and_then(|bytes| <[u8; 8]>::try_from(&*bytes).ok()).map(u64::from_be_bytes))
    }

    fn all<T: DeserializeOwned>(&self, table: &Keyspace, dir: &Path) -> Result<Vec<T>, StoreError> {
        let dir = || dir.display().to_string();
        let read = |entry: fjall::Guard| {
            let (key, bytes) =
                entry.into_inner().map_err(|source| StoreError::Broken { dir: dir(), source })?;
            let key = || match Uuid::from_slice(&key) {
                Ok(id) => id.to_string(),
                // A switch's is its name, which is shorter.
                Err(_) => String::from_utf8_lossy(&key).into_owned(),
            };
            serde_json::from_slice(&bytes).map_err(|source| StoreError::Strange {
                dir: dir(),
                key: key(),
                source,
            })
        };
        table.iter().map(read).collect()
    }

    fn batch(&self, writes: &[Write]) -> fjall::Result<OwnedWriteBatch> {
        let mut batch = self.db.batch();
        for write in writes {
            match write {
                Write::Attachment(record) => {
                    batch.insert(&self.attachments, record.attachment.id.as_bytes(), json(record)?);
                }
                Write::NoAttachment(id) => batch.remove(&self.attachments, id.as_bytes()),
                Write::Switch(record) => {
                    batch.insert(&self.switches, record.spec.name.as_str(), json(record)?);
                }
                Write::NoSwitch(name) => batch.remove(&self.switches, name.as_str()),
                Write::NoOperation(id) => batch.remove(&self.unanswered, id.as_bytes()),
                Write::Operation(operation) if operation.answer.is_none() => {
                    batch.insert(&self.unanswered, operation.id.as_bytes(), json(operation)?);
                }
                Write::Operation(operation) => {
                    batch.remove(&self.unanswered, operation.id.as_bytes());
                    batch.insert(&self.operations, operation.id.as_bytes(), json(operation)?);
                }
            }
        }
        Ok(batch)
    }
}

fn json<T: Serialize>(record: &T) -> fjall::Result<Vec<u8>> {
    /// Most records fit.
    const LENGTH: usize = 3 << 10;
    let mut bytes = Vec::with_capacity(LENGTH);
    serde_json::to_writer(&mut bytes, record).map_err(|error| fjall::Error::Io(error.into()))?;
    Ok(bytes)
}

/// Writes outcomes, as many as wait in one go.
struct Writer {
    tables: Tables,
    queue: mpsc::Receiver<Outcome>,
}

impl Writer {
    fn run(mut self) {
        let mut waiting = Vec::new();
        while self.queue.blocking_recv_many(&mut waiting, QUEUE) > 0 {
            let written: Vec<_> = waiting
                .drain(..)
                .map(|(writes, done)| (self.tables.batch(&writes).and_then(OwnedWriteBatch::commit), done))
                .collect();
            let synced = self.tables.db.persist(PersistMode::SyncData);
            for (result, done) in written {
                let result = result.as_ref().and(synced.as_ref());
                // A caller that went away has no use for the answer; the record is written all the same.
                let _ = done.send(result.map(|&()| ()).map_err(refuse));
            }
        }
    }
}

#[cfg(test)]
mod tests;
