//! Tables that are watched (RFC 7047 §4.1.5).

use std::collections::HashMap;
use std::fmt;

use serde_json::json;
use serde_json::value::RawValue;

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
    pub(super) watcher: Box<dyn Watcher>,
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

    pub(super) fn request(&self, id: u64, index: usize) -> Vec<u8> {
        let tables: HashMap<_, _> =
            self.columns.iter().map(|(table, columns)| (*table, json!({ "columns": columns }))).collect();
        let request = json!({ "id": id, "method": "monitor", "params": [self.database, index, tables] });
        request.to_string().into_bytes()
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("columns", &self.columns).finish_non_exhaustive()
    }
}
