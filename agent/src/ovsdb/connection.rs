//! The task that owns the connection: it connects, answers and sends probes, matches answers to calls, feeds monitors,
//! and starts anew when the connection is lost.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::BytesMut;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::codec::FramedRead;

use super::codec::JsonFrames;
use super::endpoint::{Endpoint, Stream};

/// No new calls are taken while this many bytes wait to be sent.
const UNSENT_MAX: usize = 1 << 20;
/// Id of our own probes. Calls count from 1.
const PROBE: u64 = 0;
/// Ids of monitors count from here. The server keeps ids as signed 64-bit numbers.
const MONITORS: u64 = 1 << 62;

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// Silence after which the server is probed, and then again until it is given up.
    pub probe: Duration,
    /// First pause between attempts to connect; doubled each time, up to `backoff_max`, with jitter.
    pub backoff_min: Duration,
    /// Longest pause between attempts to connect.
    pub backoff_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            probe: Duration::from_secs(5),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(8),
        }
    }
}

/// Sees the rows of a monitor (RFC 7047 §4.1.5, §4.1.6), in the connection's own task and in the order of the server:
/// what a transaction of this client changes is seen before the transaction is answered.
pub trait Watcher: Send {
    /// All rows, as the answer to `monitor`: after each connect. What was known before is void.
    ///
    /// # Errors
    /// What cannot be read; the connection is given up, and the next one begins with all rows.
    fn replaced(&mut self, tables: &RawValue) -> Result<(), serde_json::Error>;
    /// Rows that changed.
    ///
    /// # Errors
    /// As above.
    fn updated(&mut self, tables: &RawValue) -> Result<(), serde_json::Error>;
    /// The server refuses the monitor, perhaps because its schema lacks a column.
    fn refused(&mut self, error: &str);
    /// The connection is lost: what is known grows stale.
    fn lost(&mut self, cause: &str);
}

/// Tables to watch, for as long as the client lives.
pub struct Monitor {
    database: &'static str,
    columns: HashMap<&'static str, Vec<&'static str>>,
    watcher: Box<dyn Watcher>,
}

impl Monitor {
    /// Watches these columns of these tables.
    pub fn new<const N: usize>(
        database: &'static str,
        tables: [(&'static str, &[&'static str]); N],
        watcher: impl Watcher + 'static,
    ) -> Self {
        let columns = tables.map(|(table, columns)| (table, columns.to_vec())).into();
        Self { database, columns, watcher: Box::new(watcher) }
    }

    fn request(&self, id: u64, index: usize) -> Vec<u8> {
        let tables: HashMap<_, _> =
            self.columns.iter().map(|(table, columns)| (*table, json!({ "columns": columns }))).collect();
        line(&json!({ "id": id, "method": "monitor", "params": [self.database, index, tables] }))
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("columns", &self.columns).finish_non_exhaustive()
    }
}

/// Whether a call went out: settled once, by whoever comes first, so that "never sent" is certain.
#[derive(Debug, Default)]
pub(super) struct Ticket(AtomicU8);

const QUEUED: u8 = 0;
const SENT: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Ticket {
    fn send(&self) -> bool {
        self.0.compare_exchange(QUEUED, SENT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Takes the call back; false if it is too late for that.
    pub(super) fn withdraw(&self) -> bool {
        self.0.compare_exchange(QUEUED, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// Not sent.
    Down(String),
    /// Sent.
    Unknown(String),
    /// JSON-RPC `error`.
    Rejected(String),
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) line: Vec<u8>,
    pub(super) ticket: Arc<Ticket>,
    pub(super) answer: oneshot::Sender<Result<Box<RawValue>, Lost>>,
}

/// Runs until every handle is gone.
pub(super) async fn run(
    endpoint: Arc<Endpoint>,
    patience: Patience,
    mut monitors: Vec<Monitor>,
    mut calls: mpsc::Receiver<Call>,
) {
    let fresh = || backoff(patience);
    let mut pauses = fresh();
    let mut urgent: Option<Call> = None;
    loop {
        let cause = match timeout(patience.connect, endpoint.connect()).await {
            Ok(Ok(stream)) => {
                tracing::debug!(%endpoint, "connected to OVSDB");
                let since = Instant::now();
                let mut session = Session::new(stream, &mut monitors, patience.probe);
                let end = session.serve(urgent.take(), &mut calls).await;
                let End::Lost(cause) = end else { return };
                session.close(&cause);
                // One that lasted was a good one; a server that hangs up at once is not run at.
                if since.elapsed() > patience.backoff_max {
                    pauses = fresh();
                }
                tracing::info!(%endpoint, cause, "lost the connection to OVSDB");
                cause
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {} s", patience.connect.as_secs_f32()),
        };
        for call in urgent.take().into_iter().chain(std::iter::from_fn(|| calls.try_recv().ok())) {
            // The caller may have gone away; then nobody waits for this.
            let _ = call.answer.send(Err(Lost::Down(cause.clone())));
        }
        let pause = pauses.next().unwrap_or(patience.backoff_max);
        // A call does not wait for the pause to end: it finds out now whether the server is back.
        tokio::select! {
            () = sleep(pause) => {}
            call = calls.recv() => match call {
                Some(call) => urgent = Some(call),
                None => return,
            },
        }
    }
}

fn backoff(patience: Patience) -> ExponentialBackoff {
    // Jitter adds up to the pause itself.
    ExponentialBuilder::new()
        .with_min_delay(patience.backoff_min)
        .with_max_delay(patience.backoff_max / 2)
        .without_max_times()
        .with_jitter()
        .build()
}

enum End {
    /// No handle is left.
    Unwanted,
    Lost(String),
}

/// One connection.
struct Session<'a> {
    frames: FramedRead<tokio::io::ReadHalf<Box<dyn Stream>>, JsonFrames>,
    writer: tokio::io::WriteHalf<Box<dyn Stream>>,
    unsent: BytesMut,
    monitors: &'a mut [Monitor],
    /// Monitors whose first rows are not here yet, by id of the request.
    opening: HashMap<u64, usize>,
    waiting: HashMap<u64, oneshot::Sender<Result<Box<RawValue>, Lost>>>,
    probe: Duration,
}

/// Any message (RFC 7047 §4): a request, a notice or an answer.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Json>,
}

impl<'a> Session<'a> {
    fn new(stream: Box<dyn Stream>, monitors: &'a mut [Monitor], probe: Duration) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let frames = FramedRead::with_capacity(reader, JsonFrames::default(), 8 << 10);
        let (mut unsent, mut opening) = (BytesMut::new(), HashMap::new());
        // Monitors come first on the connection, so whoever has an answer has the rows, too.
        for (index, monitor) in monitors.iter().enumerate() {
            let id = MONITORS + index as u64;
            unsent.extend_from_slice(&monitor.request(id, index));
            opening.insert(id, index);
        }
        Self { frames, writer, unsent, monitors, opening, waiting: HashMap::new(), probe }
    }

    async fn serve(&mut self, urgent: Option<Call>, calls: &mut mpsc::Receiver<Call>) -> End {
        urgent.into_iter().for_each(|call| self.send(call));
        let mut heard = Instant::now();
        let mut probed = false;
        loop {
            let has_room = self.unsent.len() < UNSENT_MAX;
            tokio::select! {
                frame = self.frames.next() => {
                    heard = Instant::now();
                    probed = false;
                    match frame {
                        None => return End::Lost("the server hung up".to_owned()),
                        Some(Err(error)) => return End::Lost(error.to_string()),
                        Some(Ok(frame)) => if let Err(why) = self.receive(&frame) {
                            return End::Lost(why);
                        },
                    }
                }
                call = calls.recv(), if has_room => match call {
                    None => return End::Unwanted,
                    Some(call) => self.send(call),
                },
                written = self.writer.write_buf(&mut self.unsent), if !self.unsent.is_empty() => match written {
                    Ok(0) => return End::Lost("the server hung up".to_owned()),
                    Ok(_) => {}
                    Err(error) => return End::Lost(error.to_string()),
                },
                () = sleep_until(heard + self.probe), if !probed => {
                    probed = true;
                    self.unsent.extend_from_slice(&line(&json!({ "id": PROBE, "method": "echo", "params": [] })));
                }
                () = sleep_until(heard + 2 * self.probe), if probed => {
                    return End::Lost(format!("the server was silent for {} s", 2.0 * self.probe.as_secs_f32()));
                }
            }
        }
    }

    fn send(&mut self, call: Call) {
        if !call.answer.is_closed() && call.ticket.send() {
            self.unsent.extend_from_slice(&call.line);
            self.waiting.insert(call.id, call.answer);
        }
    }

    /// # Errors
    /// What is wrong with the message; nothing after it can be trusted.
    fn receive(&mut self, frame: &[u8]) -> Result<(), String> {
        let bad = |error: serde_json::Error| format!("the server sent what cannot be read: {error}");
        let message: Message<'_> = serde_json::from_slice(frame).map_err(bad)?;
        match (message.method.as_deref(), message.id) {
            (Some("echo"), Some(id)) => {
                let answer = json!({ "id": id, "result": message.params, "error": null });
                self.unsent.extend_from_slice(&line(&answer));
            }
            (Some(method), Some(id)) => {
                let answer = json!({ "id": id, "result": null, "error": format!("unknown method {method}") });
                self.unsent.extend_from_slice(&line(&answer));
            }
            (Some("update"), None) => {
                let params = message.params.ok_or("the server sent an update of nothing")?;
                let (index, tables): (usize, &RawValue) = serde_json::from_str(params.get()).map_err(bad)?;
                if let Some(monitor) = self.monitors.get_mut(index) {
                    monitor.watcher.updated(tables).map_err(bad)?;
                }
            }
            (Some(method), None) => tracing::debug!(method, "a notice of OVSDB that we do not use"),
            (None, id) => {
                let id =
                    id.and_then(|id| id.get().parse().ok()).ok_or("the server answered without an id")?;
                self.answer(id, message.result, message.error).map_err(bad)?;
            }
        }
        Ok(())
    }

    fn answer(
        &mut self,
        id: u64,
        result: Option<&RawValue>,
        error: Option<Json>,
    ) -> Result<(), serde_json::Error> {
        let null = RawValue::NULL;
        if let Some(index) = self.opening.remove(&id) {
            let watcher = &mut self.monitors[index].watcher;
            return match error {
                Some(error) => {
                    watcher.refused(&text(error));
                    Ok(())
                }
                None => watcher.replaced(result.unwrap_or(null)),
            };
        }
        if let Some(answer) = self.waiting.remove(&id) {
            let result = match error {
                Some(error) => Err(Lost::Rejected(text(error))),
                None => Ok(result.unwrap_or(null).to_owned()),
            };
            // The caller may have stopped waiting: it knows then that the outcome is unknown.
            let _ = answer.send(result);
        }
        Ok(())
    }

    fn close(self, cause: &str) {
        for monitor in self.monitors {
            monitor.watcher.lost(cause);
        }
        for answer in self.waiting.into_values() {
            // As above.
            let _ = answer.send(Err(Lost::Unknown(cause.to_owned())));
        }
    }
}

/// A JSON-RPC error as text: ovsdb-server sends a string or an object.
fn text(error: Json) -> String {
    match error {
        Json::String(text) => text,
        other => {
            let part = |key: &str| other.get(key).and_then(Json::as_str);
            match (part("error"), part("details")) {
                (Some(error), Some(details)) => format!("{error}: {details}"),
                _ => other.to_string(),
            }
        }
    }
}

fn line(message: &Json) -> Vec<u8> {
    message.to_string().into_bytes()
}
