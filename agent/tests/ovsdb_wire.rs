//! The OVSDB client and the bytes: split, run together, in mid-transaction, and nonsense.
#![allow(clippy::unwrap_used)]

mod ovs_server;

use std::time::Duration;

use ovs_server::OvsServer;
use ovs_server::proxy::{Proxy, Replies};
use pipewright_agent::ovsdb::ops::{durable, select, update};
use pipewright_agent::ovsdb::value::row;
use pipewright_agent::ovsdb::{Atom, Client, OvsdbError, Patience, Value};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

const DB: &str = "Open_vSwitch";
const LIMIT: Duration = Duration::from_secs(5);

fn connect(endpoint: &str) -> Client {
    Client::start(endpoint.parse().unwrap(), Patience::default(), vec![])
}

#[tokio::test]
async fn bytes_that_are_split_or_run_together_change_nothing() {
    let server = OvsServer::start();
    let long = "{\"]}\\\"é😀".repeat(2000);
    let pause = Duration::from_millis(20);
    for (number, replies) in
        [Replies::Split(1), Replies::Split(7), Replies::Split(4096), Replies::Coalesced(pause)]
            .into_iter()
            .enumerate()
    {
        let path = server.path(&format!("proxy{number}.sock"));
        let client = connect(&Proxy::start(path, &server.socket(), replies).endpoint());
        let text = long.clone();
        let set = update("Open_vSwitch", vec![], row([("external_ids", Value::map([("long", text)]))]));
        let read = [set, select("Open_vSwitch", vec![], ["external_ids"])];

        let (first, second, third) = tokio::join!(
            client.transact(DB, &read, LIMIT),
            client.transact(DB, &read, LIMIT),
            client.echo(LIMIT),
        );

        third.unwrap();
        for replies in [first.unwrap(), second.unwrap()] {
            assert_eq!(replies[1].rows[0]["external_ids"], Value::map([("long", long.clone())]));
        }
    }
}

#[tokio::test]
async fn the_servers_echo_is_answered_while_a_transaction_is_on_its_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let client = connect(&format!("unix:{}", path.display()));
    let transaction = tokio::spawn({
        let client = client.clone();
        async move { client.transact(DB, &[select("Bridge", vec![], ["name"])], LIMIT).await }
    });

    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut request = Vec::new();
    while !request.ends_with(b"]}]}") {
        request.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(br#"{"id":"probe","method":"echo","params":["a",1]}"#).await.unwrap();
    let mut answer = Vec::new();
    stream.read_until(b'}', &mut answer).await.unwrap();
    stream.write_all(br#"{"id":1,"result":[{"rows":[{"name":"br0"}]}],"error":null}"#).await.unwrap();

    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer, serde_json::json!({"id": "probe", "result": ["a", 1], "error": null}));
    let replies = transaction.await.unwrap().unwrap();
    assert_eq!(replies[0].rows[0]["name"], Value::Atom(Atom::from("br0")));
}

#[tokio::test]
async fn a_server_that_talks_nonsense_is_hung_up_on_and_the_outcome_is_unknown() {
    for nonsense in ["HTTP/1.1 400 Bad Request\r\n", "{\"id\":", "{}", "{\"id\":1,]}", "{\"id\":1}{"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let client = connect(&format!("unix:{}", path.display()));
        let call = tokio::spawn(async move { client.transact(DB, &[durable()], LIMIT).await });

        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(nonsense.as_bytes()).await.unwrap();
        drop(stream);

        let error = call.await.unwrap().unwrap_err();
        let is_unknown = matches!(error, OvsdbError::Unknown { .. } | OvsdbError::Unreadable { .. });
        assert!(is_unknown, "{nonsense}: {error}");
    }
}
