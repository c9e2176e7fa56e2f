//! Operations of a transaction as values (RFC 7047 §5.2).

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use super::value::{NamedUuid, Row, Value};

/// One operation. All of a transaction happen, or none does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// §5.2.1. A row that nothing refers to when the transaction ends vanishes, unless its table is a root.
    Insert {
        /// Table.
        table: &'static str,
        /// Columns that are not the type's default.
        row: Row,
        /// How other operations of the transaction refer to it.
        #[serde(rename = "uuid-name", skip_serializing_if = "Option::is_none", serialize_with = "name")]
        named: Option<NamedUuid>,
    },
    /// §5.2.2.
    Select {
        /// Table.
        table: &'static str,
        /// Which rows; empty: all.
        #[serde(rename = "where")]
        rows: Vec<Condition>,
        /// Which columns.
        columns: Vec<&'static str>,
    },
    /// §5.2.3.
    Update {
        /// Table.
        table: &'static str,
        /// Which rows; empty: all.
        #[serde(rename = "where")]
        rows: Vec<Condition>,
        /// New values.
        row: Row,
    },
    /// §5.2.4.
    Mutate {
        /// Table.
        table: &'static str,
        /// Which rows; empty: all.
        #[serde(rename = "where")]
        rows: Vec<Condition>,
        /// One after another.
        mutations: Vec<Mutation>,
    },
    /// §5.2.5.
    Delete {
        /// Table.
        table: &'static str,
        /// Which rows; empty: all.
        #[serde(rename = "where")]
        rows: Vec<Condition>,
    },
    /// §5.2.6. With a timeout of 0 it is a precondition: not met, the transaction is refused at once.
    Wait {
        /// Milliseconds. We never let the server wait.
        timeout: u32,
        /// Table.
        table: &'static str,
        /// Which rows.
        #[serde(rename = "where")]
        of: Vec<Condition>,
        /// The columns to compare.
        columns: Vec<&'static str>,
        /// `==` or `!=`.
        until: Until,
        /// What those rows must be.
        rows: Vec<Row>,
    },
    /// §5.2.7. Durable: answered when it is on disk.
    Commit {
        /// Whether to wait for the disk.
        durable: bool,
    },
    /// §5.2.8. Takes everything back.
    Abort,
    /// §5.2.9. Goes to the server's log of transactions.
    Comment {
        /// The text.
        comment: String,
    },
    /// §5.2.10. Refused unless this connection holds the lock.
    Assert {
        /// The lock.
        lock: String,
    },
}

fn name<S: serde::Serializer>(name: &Option<NamedUuid>, out: S) -> Result<S::Ok, S::Error> {
    name.as_ref().map(NamedUuid::as_str).serialize(out)
}

/// A condition on a column (RFC 7047 §5.1 `<condition>`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Condition(&'static str, Function, Value);

/// How a column is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Function {
    /// Equal.
    #[serde(rename = "==")]
    Equal,
    /// Not equal.
    #[serde(rename = "!=")]
    NotEqual,
    /// A set or map holds these, perhaps more.
    #[serde(rename = "includes")]
    Includes,
    /// A set or map holds none of these.
    #[serde(rename = "excludes")]
    Excludes,
}

impl Condition {
    /// `column function value`.
    pub fn new(column: &'static str, function: Function, value: impl Into<Value>) -> Self {
        Self(column, function, value.into())
    }
}

/// A change of a column (RFC 7047 §5.1 `<mutation>`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mutation(&'static str, Mutator, Value);

/// How a column is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Mutator {
    /// Adds to a number.
    #[serde(rename = "+=")]
    Add,
    /// Subtracts from a number.
    #[serde(rename = "-=")]
    Subtract,
    /// Adds to a set or map; keys that a map has already stay as they are.
    #[serde(rename = "insert")]
    Insert,
    /// Removes from a set or map.
    #[serde(rename = "delete")]
    Delete,
}

impl Mutation {
    /// `column mutator value`.
    pub fn new(column: &'static str, mutator: Mutator, value: impl Into<Value>) -> Self {
        Self(column, mutator, value.into())
    }
}

/// What a wait waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Until {
    /// The rows are these.
    #[serde(rename = "==")]
    Equal,
    /// The rows are not these.
    #[serde(rename = "!=")]
    NotEqual,
}

/// The rows where `column` is `value`.
pub fn equal(column: &'static str, value: impl Into<Value>) -> Vec<Condition> {
    vec![Condition::new(column, Function::Equal, value)]
}

/// Adds a row; `named` if something else of the transaction refers to it.
pub fn insert(table: &'static str, row: Row, named: Option<NamedUuid>) -> Operation {
    Operation::Insert { table, row, named }
}

/// Reads columns of rows.
pub fn select<const N: usize>(
    table: &'static str,
    rows: Vec<Condition>,
    columns: [&'static str; N],
) -> Operation {
    Operation::Select { table, rows, columns: columns.to_vec() }
}

/// Sets columns of rows.
pub fn update(table: &'static str, rows: Vec<Condition>, row: Row) -> Operation {
    Operation::Update { table, rows, row }
}

/// Changes a column of rows.
pub fn mutate(table: &'static str, rows: Vec<Condition>, mutation: Mutation) -> Operation {
    Operation::Mutate { table, rows, mutations: vec![mutation] }
}

/// Removes rows.
pub fn delete(table: &'static str, rows: Vec<Condition>) -> Operation {
    Operation::Delete { table, rows }
}

/// Precondition: there are no such rows. `column` is any column of the table.
pub fn expect_none(table: &'static str, of: Vec<Condition>, column: &'static str) -> Operation {
    Operation::Wait { timeout: 0, table, of, columns: vec![column], until: Until::Equal, rows: Vec::new() }
}

/// Precondition: there is exactly one such row, and `column` of it is `value`.
pub fn expect_one(
    table: &'static str,
    of: Vec<Condition>,
    column: &'static str,
    value: impl Into<Value>,
) -> Operation {
    let row = Row::from([(Cow::Borrowed(column), value.into())]);
    Operation::Wait { timeout: 0, table, of, columns: vec![column], until: Until::Equal, rows: vec![row] }
}

/// Answer when the transaction is on disk.
pub fn durable() -> Operation {
    Operation::Commit { durable: true }
}

/// What and where, for messages: `wait Interface`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Insert { table, .. } => write!(f, "insert {table}"),
            Self::Select { table, .. } => write!(f, "select {table}"),
            Self::Update { table, .. } => write!(f, "update {table}"),
            Self::Mutate { table, .. } => write!(f, "mutate {table}"),
            Self::Delete { table, .. } => write!(f, "delete {table}"),
            Self::Wait { table, .. } => write!(f, "wait {table}"),
            Self::Commit { .. } => f.write_str("commit"),
            Self::Abort => f.write_str("abort"),
            Self::Comment { .. } => f.write_str("comment"),
            Self::Assert { lock } => write!(f, "assert {lock}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::super::value::row;
    use super::*;

    #[test]
    fn operations_are_written_as_the_rfc_does() {
        let port = NamedUuid::numbered("port", 0);
        let operations = [
            (
                insert("Port", row([("name", "p".into()), ("tag", 42.into())]), Some(port.clone())),
                json!({"op": "insert", "table": "Port", "row": {"name": "p", "tag": 42}, "uuid-name": "port0"}),
            ),
            (
                mutate(
                    "Bridge",
                    equal("name", "b"),
                    Mutation::new("ports", Mutator::Insert, Value::set([port])),
                ),
                json!({"op": "mutate", "table": "Bridge", "where": [["name", "==", "b"]],
                    "mutations": [["ports", "insert", ["set", [["named-uuid", "port0"]]]]]}),
            ),
            (
                expect_none("Interface", equal("name", "p"), "name"),
                json!({"op": "wait", "timeout": 0, "table": "Interface", "where": [["name", "==", "p"]],
                    "columns": ["name"], "until": "==", "rows": []}),
            ),
            (
                select("Bridge", vec![], ["name"]),
                json!({"op": "select", "table": "Bridge", "where": [], "columns": ["name"]}),
            ),
            (delete("QoS", vec![]), json!({"op": "delete", "table": "QoS", "where": []})),
            (durable(), json!({"op": "commit", "durable": true})),
            (Operation::Abort, json!({"op": "abort"})),
            (Operation::Assert { lock: "l".into() }, json!({"op": "assert", "lock": "l"})),
            (Operation::Comment { comment: "c".into() }, json!({"op": "comment", "comment": "c"})),
        ];

        for (operation, form) in operations {
            assert_eq!(to_value(&operation).unwrap(), form);
        }
    }
}
