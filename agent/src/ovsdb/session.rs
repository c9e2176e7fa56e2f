//! One connection: calls and answers, probes both ways, and updates for monitors.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::codec::FramedRead;

use super::codec::JsonFrames;
use super::endpoint::Stream;
use super::monitor::Monitor;

/// No new calls are taken while this many bytes wait to be sent.
const UNSENT_MAX: usize = 1 << 20;
/// Id of our own probes. Calls count from 1.
const PROBE: u64 = 0;
/// Ids of monitors count from here. The server keeps ids as signed 64-bit numbers.
const MONITORS: u64 = 1 << 62;

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

/// Why a connection ended.
pub(super) enum End {
    /// No handle is left.
    Unwanted,
    Lost(String),
}

/// One connection.
pub(super) struct Session<'a> {
    frames: FramedRead<ReadHalf<Box<dyn Stream>>, JsonFrames>,
    writer: WriteHalf<Box<dyn Stream>>,
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
    pub(super) fn new(stream: Box<dyn Stream>, monitors: &'a mut [Monitor], probe: Duration) -> Self {
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

    pub(super) async fn serve(&mut self, urgent: Option<Call>, calls: &mut mpsc::Receiver<Call>) -> End {
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

    pub(super) fn close(self, cause: &str) {
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
