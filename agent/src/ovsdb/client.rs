//! Calls to an OVSDB server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use super::connection::{self, Patience};
use super::endpoint::Endpoint;
use super::error::{OvsdbError, Refusal};
use super::monitor::Monitor;
use super::ops::Operation;
use super::session::{Call, Lost, Ticket};
use super::value::{Row, Set};

/// Calls that may wait to be sent.
const QUEUE: usize = 256;

/// A handle to one warm connection; cheap to clone. The connection is made when there is a server, and ends with the
/// last handle.
#[derive(Debug, Clone)]
pub struct Client {
    calls: mpsc::Sender<Call>,
    endpoint: Arc<Endpoint>,
    ids: Arc<AtomicU64>,
}

/// What an operation gives back. Which part it has follows from the operation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// The row that was inserted.
    pub uuid: Option<Uuid>,
    /// Rows that were updated, mutated or deleted.
    pub count: Option<u64>,
    /// Rows that were selected.
    pub rows: Vec<Row>,
}

/// A reply, or what stands in its place.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Element {
    error: Option<String>,
    details: Option<String>,
    uuid: Set<Uuid>,
    count: Option<u64>,
    rows: Vec<Row>,
}

impl Client {
    /// Starts the task that keeps the connection. Never fails: without a server, calls do. Needs a tokio runtime.
    pub fn start(endpoint: Endpoint, patience: Patience, monitors: Vec<Monitor>) -> Self {
        let (sender, calls) = mpsc::channel(QUEUE);
        let endpoint = Arc::new(endpoint);
        tokio::spawn(connection::run(endpoint.clone(), patience, monitors, calls));
        Self { calls: sender, endpoint, ids: Arc::new(AtomicU64::new(1)) }
    }

    /// The server.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Carries out a transaction (RFC 7047 §4.1.3): one reply for each operation.
    ///
    /// # Errors
    /// [`OvsdbError::Refused`] if nothing of it happened; [`OvsdbError::Down`] if it was not even sent;
    /// [`OvsdbError::Unknown`] if it may have happened.
    pub async fn transact(
        &self,
        database: &'static str,
        operations: &[Operation],
        limit: Duration,
    ) -> Result<Vec<Reply>, OvsdbError> {
        let params = Params { database, operations };
        let answer = self.call("transact", &params, limit).await?;
        replies(operations, answer.get())
    }

    /// Answers once the server did (RFC 7047 §4.1.11). By then monitors show all that the server did before.
    ///
    /// # Errors
    /// [`OvsdbError::Down`], or [`OvsdbError::Unknown`] when it did not answer in time.
    pub async fn echo(&self, limit: Duration) -> Result<(), OvsdbError> {
        self.call("echo", &[(); 0], limit).await.map(|_| ())
    }

    /// Names of the databases (RFC 7047 §4.1.1).
    ///
    /// # Errors
    /// As [`Client::echo`].
    pub async fn list_dbs(&self, limit: Duration) -> Result<Vec<String>, OvsdbError> {
        read("list_dbs", self.call("list_dbs", &[(); 0], limit).await?.get())
    }

    /// A database's schema as JSON (RFC 7047 §4.1.2, §3.2).
    ///
    /// # Errors
    /// As [`Client::echo`], and [`OvsdbError::Rejected`] for a database that is not there.
    pub async fn get_schema(&self, database: &str, limit: Duration) -> Result<Box<RawValue>, OvsdbError> {
        self.call("get_schema", &[database], limit).await
    }

    /// Asks for a lock (RFC 7047 §4.1.8) and says whether it is held now. It is lost with the connection, so what depends
    /// on it must be in transactions with [`Operation::Assert`].
    ///
    /// # Errors
    /// As [`Client::echo`].
    pub async fn lock(&self, name: &str, limit: Duration) -> Result<bool, OvsdbError> {
        self.locked("lock", name, limit).await
    }

    /// Takes a lock from whoever has it (RFC 7047 §4.1.8).
    ///
    /// # Errors
    /// As [`Client::echo`].
    pub async fn steal(&self, name: &str, limit: Duration) -> Result<bool, OvsdbError> {
        self.locked("steal", name, limit).await
    }

    /// Gives a lock up (RFC 7047 §4.1.8).
    ///
    /// # Errors
    /// As [`Client::echo`].
    pub async fn unlock(&self, name: &str, limit: Duration) -> Result<(), OvsdbError> {
        self.call("unlock", &[name], limit).await.map(|_| ())
    }

    async fn locked(&self, method: &'static str, name: &str, limit: Duration) -> Result<bool, OvsdbError> {
        #[derive(Deserialize)]
        struct Locked {
            locked: bool,
        }
        let answer = self.call(method, &[name], limit).await?;
        read::<Locked>(method, answer.get()).map(|answer| answer.locked)
    }

    async fn call(
        &self,
        method: &'static str,
        params: &impl Serialize,
        limit: Duration,
    ) -> Result<Box<RawValue>, OvsdbError> {
        #[derive(Serialize)]
        struct Request<'a, P> {
            id: u64,
            method: &'static str,
            params: &'a P,
        }
        let down = |cause: String| OvsdbError::Down { endpoint: self.endpoint.to_string(), cause };
        let unknown = |cause: String| OvsdbError::Unknown { endpoint: self.endpoint.to_string(), cause };

        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let line = serde_json::to_vec(&Request { id, method, params })
            .map_err(|error| OvsdbError::Unreadable { method, why: error.to_string() })?;
        let (answer, result) = oneshot::channel();
        let ticket = Arc::new(Ticket::default());
        let call = Call { id, line, ticket: ticket.clone(), answer };
        let sent = async {
            self.calls.send(call).await.map_err(|_| Lost::Down("the client has stopped".to_owned()))?;
            result.await.unwrap_or_else(|_| Err(Lost::Unknown("the client has stopped".to_owned())))
        };
        match timeout(limit, sent).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Lost::Down(cause))) => Err(down(cause)),
            Ok(Err(Lost::Unknown(cause))) => Err(unknown(cause)),
            Ok(Err(Lost::Rejected(error))) => Err(OvsdbError::Rejected { method, error }),
            Err(_) if ticket.withdraw() => {
                Err(down(format!("not connected within {} s", limit.as_secs_f32())))
            }
            Err(_) => Err(unknown(format!("no answer within {} s", limit.as_secs_f32()))),
        }
    }
}

/// `[database, operation, …]`.
struct Params<'a> {
    database: &'static str,
    operations: &'a [Operation],
}

impl Serialize for Params<'_> {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut list = out.serialize_seq(Some(self.operations.len() + 1))?;
        list.serialize_element(self.database)?;
        for operation in self.operations {
            list.serialize_element(operation)?;
        }
        list.end()
    }
}

fn read<T: DeserializeOwned>(method: &'static str, answer: &str) -> Result<T, OvsdbError> {
    serde_json::from_str(answer).map_err(|error| OvsdbError::Unreadable { method, why: error.to_string() })
}

/// Reads the answer to a transaction. A refused operation has an error in its place and nulls after it; a refused commit
/// has good replies throughout and one element more, the error (RFC 7047 §4.1.3).
fn replies(operations: &[Operation], answer: &str) -> Result<Vec<Reply>, OvsdbError> {
    let elements: Vec<Option<Element>> = read("transact", answer)?;
    let refused = elements.iter().enumerate().find_map(|(at, element)| {
        let element = element.as_ref()?;
        Some((at, element.error.as_deref()?, element.details.clone().unwrap_or_default()))
    });
    if let Some((at, error, details)) = refused {
        let (operation, what) = match operations.get(at) {
            Some(operation) => (Some(at), format!("operation {at}, {operation}")),
            None => (None, "the commit".to_owned()),
        };
        return Err(OvsdbError::Refused { operation, what, refusal: Refusal::from(error), details });
    }
    let reply = |element: Element| Reply {
        uuid: element.uuid.into_first(),
        count: element.count,
        rows: element.rows,
    };
    let replies: Vec<Reply> = elements.into_iter().flatten().map(reply).collect();
    match replies.len() == operations.len() {
        true => Ok(replies),
        false => Err(OvsdbError::Unreadable {
            method: "transact",
            why: format!("{} replies to {} operations", replies.len(), operations.len()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ops::{durable, select};
    use super::*;

    fn answer(text: &str) -> Result<Vec<Reply>, OvsdbError> {
        replies(&[select("Bridge", vec![], ["name"]), durable()], text)
    }

    #[test]
    fn each_operation_has_its_reply() {
        let found = answer(r#"[{"rows":[{"name":"br0"}]},{}]"#).unwrap();

        assert_eq!(found[0].rows[0]["name"], "br0".into());
        assert_eq!(found[1], Reply::default());
    }

    #[test]
    fn the_element_after_the_last_reply_refuses_the_commit() {
        let error =
            answer(r#"[{"rows":[]},{},{"error":"constraint violation","details":"twice"}]"#).unwrap_err();

        assert_eq!(
            error,
            OvsdbError::Refused {
                operation: None,
                what: "the commit".to_owned(),
                refusal: Refusal::Constraint,
                details: "twice".to_owned()
            }
        );
        assert_eq!(error.to_string(), "OVSDB refused the commit: it breaks a rule of the database (twice)");
    }

    #[test]
    fn a_refused_operation_is_named() {
        let error = answer(r#"[{"error":"timed out","details":""},null]"#).unwrap_err();

        assert!(matches!(error, OvsdbError::Refused { operation: Some(0), refusal: Refusal::TimedOut, .. }));
        assert_eq!(error.to_string(), "OVSDB refused operation 0, select Bridge: a precondition is not met");
    }

    #[test]
    fn an_answer_of_another_length_is_no_success() {
        for text in ["[]", r#"[{"rows":[]}]"#, r#"[{"rows":[]},null]"#, r#"[{},{},{}]"#, "{}", "7"] {
            assert!(matches!(answer(text), Err(OvsdbError::Unreadable { .. })), "{text}");
        }
    }
}
