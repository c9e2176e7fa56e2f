//! One transaction a port, and the wait until ovs-vswitchd has done it: the least that Open vSwitch takes.

use std::io::{BufReader, Write as _};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Deserializer, StreamDeserializer, Value, json};

use super::kernel::Link;

type Messages = StreamDeserializer<'static, serde_json::de::IoRead<BufReader<UnixStream>>, Value>;

/// A warm connection that is told of every `cur_cfg`.
pub(crate) struct Ovsdb {
    stream: UnixStream,
    messages: Messages,
    cur_cfg: i64,
}

impl Ovsdb {
    pub(crate) fn connect(path: &str) -> Result<Self> {
        let stream = UnixStream::connect(path).with_context(|| path.to_owned())?;
        let messages = Deserializer::from_reader(BufReader::new(stream.try_clone()?)).into_iter();
        let mut ovsdb = Self { stream, messages, cur_cfg: 0 };
        let wanted = json!({"Open_vSwitch": {"columns": ["cur_cfg"]}});
        let rows = ovsdb.call("monitor", &json!(["Open_vSwitch", "floor", wanted]))?;
        ovsdb.note(&rows);
        Ok(ovsdb)
    }

    /// `ovs-vsctl --no-wait add-port BRIDGE PORT tag=TAG`; gives what `cur_cfg` becomes when it is done.
    pub(crate) fn add_port(&mut self, link: &Link, tag: u16) -> Result<i64> {
        let operations = json!([
            "Open_vSwitch",
            {"op": "insert", "table": "Interface", "uuid-name": "i", "row": {"name": link.host_end}},
            {"op": "insert", "table": "Port", "uuid-name": "p",
             "row": {"name": link.host_end, "interfaces": ["named-uuid", "i"], "tag": tag}},
            {"op": "mutate", "table": "Bridge", "where": [["name", "==", link.uplink]],
             "mutations": [["ports", "insert", ["named-uuid", "p"]]]},
            {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]},
            {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]},
        ]);
        let answer = self.call("transact", &operations)?;
        answer[4]["rows"][0]["next_cfg"].as_i64().with_context(|| format!("transact: {answer}"))
    }

    /// `ovs-vsctl --no-wait del-port PORT`
    pub(crate) fn delete_port(&mut self, bridge: &str, name: &str) -> Result<()> {
        let select = json!(["Open_vSwitch",
            {"op": "select", "table": "Port", "where": [["name", "==", name]], "columns": ["_uuid"]}]);
        let port = self.call("transact", &select)?[0]["rows"][0]["_uuid"].clone();
        let delete = json!(["Open_vSwitch",
            {"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]],
             "mutations": [["ports", "delete", port]]},
            {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]}]);
        let answer = self.call("transact", &delete)?;
        ensure!(answer[0]["count"] == 1, "transact: {answer}");
        Ok(())
    }

    pub(crate) fn await_cfg(&mut self, wanted: i64) -> Result<()> {
        while self.cur_cfg < wanted {
            self.next()?;
        }
        Ok(())
    }

    fn call(&mut self, method: &str, params: &Value) -> Result<Value> {
        let text = json!({"id": method, "method": method, "params": params}).to_string();
        self.stream.write_all(text.as_bytes())?;
        loop {
            if let Some(answer) = self.next()? {
                return Ok(answer);
            }
        }
    }

    /// The next message; `None` when it is not the answer to a call.
    fn next(&mut self) -> Result<Option<Value>> {
        let mut message = self.messages.next().context("ovsdb-server closed the connection")??;
        match message["method"].as_str() {
            Some("echo") => {
                let answer = json!({"id": message["id"], "result": message["params"], "error": null});
                self.stream.write_all(answer.to_string().as_bytes())?;
                Ok(None)
            }
            Some("update") => {
                self.note(&message["params"][1]);
                Ok(None)
            }
            Some(other) => bail!("ovsdb-server asks {other}"),
            None => {
                ensure!(message["error"].is_null(), "ovsdb-server: {message}");
                Ok(Some(message["result"].take()))
            }
        }
    }

    fn note(&mut self, update: &Value) {
        let rows = update["Open_vSwitch"].as_object();
        for row in rows.into_iter().flat_map(serde_json::Map::values) {
            self.cur_cfg = row["new"]["cur_cfg"].as_i64().unwrap_or(self.cur_cfg);
        }
    }
}
