//! The OVSDB client on real servers, also on ones that die and freeze.
#![allow(clippy::unwrap_used)]

mod ovs_server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ovs_server::OvsServer;
use ovs_server::proxy::{Proxy, Replies};
use pipewright_agent::ovsdb::ops::{
    Condition, Function, Mutation, Mutator, delete, durable, equal, expect_none, expect_one, insert, mutate,
    select, update,
};
use pipewright_agent::ovsdb::value::row;
use pipewright_agent::ovsdb::{
    Client, Monitor, NamedUuid, Operation, OvsdbError, Patience, Refusal, Value, Watcher,
};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

const DB: &str = "Open_vSwitch";
const LIMIT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(300);

fn connect(endpoint: &str) -> Client {
    Client::start(endpoint.parse().unwrap(), Patience::default(), vec![])
}

fn bridge(name: &'static str) -> [Operation; 2] {
    let id = NamedUuid::numbered("bridge", 0);
    [
        insert("Bridge", row([("name", name.into())]), Some(id.clone())),
        mutate("Open_vSwitch", vec![], Mutation::new("bridges", Mutator::Insert, id)),
    ]
}

/// The same, refused when it was done before.
fn guarded_bridge(name: &'static str) -> Vec<Operation> {
    let guard = expect_none("Bridge", equal("name", name), "name");
    std::iter::once(guard).chain(bridge(name)).collect()
}

#[tokio::test]
async fn every_kind_of_operation_works_on_a_real_server() {
    let server = OvsServer::start();
    let client = connect(&server.endpoint());
    let [make, join] = bridge("br0");
    let fail_mode = Mutation::new("external_ids", Mutator::Insert, Value::map([("k", "v")]));

    let replies = client
        .transact(
            DB,
            &[
                Operation::Comment { comment: "a test".to_owned() },
                expect_none("Bridge", equal("name", "br0"), "name"),
                make,
                join,
                mutate("Bridge", equal("name", "br0"), fail_mode),
                update("Bridge", equal("name", "br0"), row([("fail_mode", "secure".into())])),
                expect_one("Bridge", equal("name", "br0"), "fail_mode", "secure"),
                delete("Bridge", equal("name", "br1")),
                select("Bridge", equal("name", "br0"), ["name", "external_ids", "fail_mode", "ports"]),
                durable(),
            ],
            LIMIT,
        )
        .await
        .unwrap();

    assert!(replies[2].uuid.is_some());
    assert_eq!(
        (replies[3].count, replies[4].count, replies[5].count, replies[7].count),
        (Some(1), Some(1), Some(1), Some(0))
    );
    let found = &replies[8].rows[0];
    assert_eq!(found["external_ids"], Value::map([("k", "v")]));
    assert_eq!(found["ports"], Value::Set(vec![]));
    assert_eq!(server.find("Bridge", "fail_mode", "name=br0"), ["secure"]);
}

#[tokio::test]
async fn a_refused_transaction_says_which_operation_and_changes_nothing() {
    let server = OvsServer::start();
    let client = connect(&server.endpoint());
    let transact = async |operations: &[Operation]| client.transact(DB, operations, LIMIT).await.unwrap_err();
    let [make, join] = bridge("br0");

    let by_wait = transact(&[make.clone(), join.clone(), expect_one("Bridge", vec![], "name", "br1")]).await;
    let by_abort = transact(&[make.clone(), join.clone(), Operation::Abort]).await;
    let by_lock = transact(&[make.clone(), Operation::Assert { lock: "l".to_owned() }]).await;
    let by_schema = transact(&[select("Bridge", vec![], ["no_such_column"])]).await;
    let by_type = transact(&[update("Port", vec![], row([("tag", 5000.into())]))]).await;

    let refused = |error: &OvsdbError| match error {
        OvsdbError::Refused { operation, refusal, .. } => (*operation, refusal.clone()),
        other => panic!("{other}"),
    };
    assert_eq!(refused(&by_wait), (Some(2), Refusal::TimedOut));
    assert_eq!(refused(&by_abort), (Some(2), Refusal::Aborted));
    assert_eq!(refused(&by_lock), (Some(1), Refusal::NotOwner));
    assert_eq!(refused(&by_schema).0, Some(0));
    assert_eq!(refused(&by_type), (Some(0), Refusal::Constraint));
    assert_eq!(server.vsctl(&["list-br"]), "");
}

#[tokio::test]
async fn a_commit_that_fails_after_good_operations_is_refused() {
    let server = OvsServer::start();
    let client = connect(&server.endpoint());
    client.transact(DB, &bridge("br0"), LIMIT).await.unwrap();

    let error = client.transact(DB, &bridge("br0"), LIMIT).await.unwrap_err();

    let OvsdbError::Refused { operation: None, refusal: Refusal::Constraint, details, .. } = &error else {
        panic!("{error}");
    };
    assert!(details.contains("br0"), "{details}");
}

#[tokio::test]
async fn names_locks_and_schemas_can_be_asked_for() {
    let server = OvsServer::start();
    let (client, other) = (connect(&server.endpoint()), connect(&server.endpoint()));

    assert!(client.list_dbs(LIMIT).await.unwrap().contains(&DB.to_owned()));
    assert!(client.get_schema(DB, LIMIT).await.unwrap().get().contains("\"Bridge\""));
    assert!(matches!(client.get_schema("none", LIMIT).await, Err(OvsdbError::Rejected { .. })));
    assert!(client.lock("l", LIMIT).await.unwrap());
    assert!(!other.lock("l", LIMIT).await.unwrap());
    let held = [Operation::Assert { lock: "l".to_owned() }];
    client.transact(DB, &held, LIMIT).await.unwrap();
    assert!(other.transact(DB, &held, LIMIT).await.is_err());
    client.unlock("l", LIMIT).await.unwrap();
    other.transact(DB, &held, LIMIT).await.unwrap();
    assert!(client.steal("l", LIMIT).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_the_same_time_get_their_own_answers() {
    let server = OvsServer::start();
    let client = connect(&server.endpoint());

    let calls = (0..400_i64).map(|n| {
        let client = client.clone();
        tokio::spawn(async move {
            let kept = row([("name", format!("q{n}").into())]);
            let made = client
                .transact(
                    DB,
                    &[
                        insert("Bridge", kept, None),
                        select("Bridge", equal("name", format!("q{n}")), ["name"]),
                    ],
                    LIMIT,
                )
                .await
                .unwrap();
            assert_eq!(made[1].rows, [row([("name", format!("q{n}").into())])]);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn a_frozen_server_leaves_the_outcome_unknown_and_repeating_makes_no_second_row() {
    let server = OvsServer::start();
    let client = connect(&server.endpoint());
    client.echo(LIMIT).await.unwrap();
    server.freeze_database();

    let error = client.transact(DB, &guarded_bridge("br0"), SHORT).await.unwrap_err();
    server.thaw_database();
    let again = client.transact(DB, &guarded_bridge("br0"), LIMIT).await.unwrap_err();

    assert!(matches!(error, OvsdbError::Unknown { .. }), "{error}");
    // It was carried out; the precondition of the second stopped that.
    assert!(matches!(again, OvsdbError::Refused { refusal: Refusal::TimedOut, .. }), "{again}");
    assert_eq!(server.vsctl(&["list-br"]), "br0\n");
}

#[tokio::test]
async fn what_a_lost_connection_carried_is_done_before_the_next_one_is_answered() {
    let server = OvsServer::start();
    let client = connect(&server.endpoint());
    client.echo(LIMIT).await.unwrap();
    server.freeze_database();
    client.transact(DB, &guarded_bridge("br0"), SHORT).await.unwrap_err();
    drop(client);

    let mut proxy = Proxy::start(server.path("proxy.sock"), &server.socket(), Replies::Split(100));
    let next = connect(&proxy.endpoint());
    let question = [select("Bridge", vec![], ["name"])];
    let read = tokio::spawn(async move { next.transact(DB, &question, LIMIT).await });
    proxy.asked("select").await;
    server.thaw_database();

    // Were it the other way round, a reading could not tell what became of a call that had no answer.
    assert_eq!(read.await.unwrap().unwrap()[0].rows, [row([("name", "br0".into())])]);
}

#[tokio::test]
async fn a_server_killed_in_mid_transaction_leaves_the_outcome_unknown() {
    let mut server = OvsServer::start();
    let mut proxy = Proxy::start(server.path("proxy.sock"), &server.socket(), Replies::LostAfter("transact"));
    let client = connect(&proxy.endpoint());
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.transact(DB, &guarded_bridge("br0"), LIMIT).await }
    });
    proxy.asked("transact").await;
    server.vsctl(&["wait-until", "Bridge", "br0"]);

    server.kill_database();

    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, OvsdbError::Unknown { .. }), "{error}");
    server.start_database();
    assert_eq!(server.vsctl(&["list-br"]), "br0\n");
}

#[tokio::test]
async fn a_call_is_down_while_there_is_no_server_and_goes_through_as_soon_as_there_is() {
    let mut server = OvsServer::start();
    server.kill_database();
    let patience = Patience { backoff_min: Duration::from_secs(3600), ..Patience::default() };
    let patience = Patience { backoff_max: Duration::from_secs(7200), ..patience };
    let client = Client::start(server.endpoint().parse().unwrap(), patience, vec![]);

    let error = client.echo(LIMIT).await.unwrap_err();
    server.start_database();

    let OvsdbError::Down { endpoint, .. } = &error else { panic!("{error}") };
    assert_eq!(*endpoint, server.endpoint());
    // The pause would be an hour; the call does not wait for it.
    client.echo(LIMIT).await.unwrap();
}

/// What a monitor saw.
#[derive(Debug, PartialEq)]
enum Seen {
    Replaced(String),
    Updated(String),
    Refused(String),
    Lost,
}

struct Notes(mpsc::UnboundedSender<Seen>, Arc<Mutex<Vec<String>>>);

impl Watcher for Notes {
    fn replaced(&mut self, tables: &RawValue) -> Result<(), serde_json::Error> {
        self.0.send(Seen::Replaced(tables.get().to_owned())).unwrap();
        Ok(())
    }

    fn updated(&mut self, tables: &RawValue) -> Result<(), serde_json::Error> {
        self.1.lock().unwrap().push(tables.get().to_owned());
        self.0.send(Seen::Updated(tables.get().to_owned())).unwrap();
        Ok(())
    }

    fn refused(&mut self, error: &str) {
        self.0.send(Seen::Refused(error.to_owned())).unwrap();
    }

    fn lost(&mut self, _cause: &str) {
        // The test may be over.
        let _ = self.0.send(Seen::Lost);
    }
}

type Watched = (Client, mpsc::UnboundedReceiver<Seen>, Arc<Mutex<Vec<String>>>);

fn watch(endpoint: &str, column: &'static str, patience: Patience) -> Watched {
    let (note, seen) = mpsc::unbounded_channel();
    let updates = Arc::default();
    let columns: &'static [&'static str] = Box::leak(Box::new([column]));
    let monitor = Monitor::new(DB, [("Bridge", columns)], Notes(note, Arc::clone(&updates)));
    (Client::start(endpoint.parse().unwrap(), patience, vec![monitor]), seen, updates)
}

#[tokio::test]
async fn a_monitor_sees_a_change_before_it_is_answered_and_everything_after_a_restart() {
    let mut server = OvsServer::start();
    let (client, mut seen, updates) = watch(&server.endpoint(), "name", Patience::default());

    client.transact(DB, &bridge("br0"), LIMIT).await.unwrap();
    let at_the_answer = updates.lock().unwrap().concat();
    server.kill_database();
    server.start_database();

    assert!(at_the_answer.contains("br0"), "{at_the_answer}");
    assert_eq!(seen.recv().await, Some(Seen::Replaced("{}".to_owned())));
    assert!(matches!(seen.recv().await, Some(Seen::Updated(tables)) if tables.contains("br0")));
    assert_eq!(seen.recv().await, Some(Seen::Lost));
    // Nobody calls: the client comes back by itself.
    assert!(matches!(seen.recv().await, Some(Seen::Replaced(tables)) if tables.contains("br0")));
}

#[tokio::test]
async fn a_monitor_of_what_the_schema_lacks_is_refused_and_calls_still_work() {
    let server = OvsServer::start();
    let (client, mut seen, _) = watch(&server.endpoint(), "no_such_column", Patience::default());

    client.echo(LIMIT).await.unwrap();

    assert!(matches!(seen.recv().await, Some(Seen::Refused(why)) if why.contains("no_such_column")));
}

#[tokio::test]
async fn silence_of_the_server_is_noticed_without_any_call() {
    let server = OvsServer::start();
    let patience = Patience { probe: Duration::from_millis(100), ..Patience::default() };
    let (_client, mut seen, _) = watch(&server.endpoint(), "name", patience);
    assert!(matches!(seen.recv().await, Some(Seen::Replaced(_))));

    server.freeze_database();
    assert_eq!(seen.recv().await, Some(Seen::Lost));
    server.thaw_database();
    assert!(matches!(seen.recv().await, Some(Seen::Replaced(_))));
}

#[tokio::test]
async fn an_idle_connection_over_tcp_answers_the_probes_of_the_server() {
    let server = OvsServer::start();
    server.appctl(&["ovsdb-server/add-remote", "db:Open_vSwitch,Open_vSwitch,manager_options"]);
    let probe = "inactivity_probe=100";
    server.vsctl(&["set-manager", "ptcp:0:127.0.0.1", "--", "set", "Manager", ".", probe]);
    server.vsctl(&["wait-until", "Manager", ".", "status:bound_port!=0"]);
    let port = server.vsctl(&["get", "Manager", ".", "status:bound_port"]).replace('"', "");
    let patience = Patience { probe: Duration::from_secs(3600), ..Patience::default() };
    let (_client, mut seen, _) = watch(&format!("tcp:127.0.0.1:{}", port.trim()), "name", patience);
    assert!(matches!(seen.recv().await, Some(Seen::Replaced(_))));

    // Five times as long as the server bears with silence.
    let lost = tokio::time::timeout(Duration::from_secs(1), seen.recv()).await;

    assert!(lost.is_err(), "{lost:?}");
}

#[tokio::test]
async fn conditions_compare_sets_and_maps() {
    let server = OvsServer::start();
    server.vsctl(&["add-br", "br0", "--", "set", "Bridge", "br0", "external_ids:k=v"]);
    let client = connect(&server.endpoint());
    let find = async |function, key: &'static str| {
        let of = vec![Condition::new("external_ids", function, Value::map([(key, "v")]))];
        client.transact(DB, &[select("Bridge", of, ["name"])], LIMIT).await.unwrap()[0].rows.len()
    };

    assert_eq!((find(Function::Includes, "k").await, find(Function::Excludes, "k").await), (1, 0));
    assert_eq!((find(Function::Includes, "j").await, find(Function::Excludes, "j").await), (0, 1));
}
