//! Records as they lie in state directories, in `golden.json`: agents wrote them, and each later one has to read them. A
//! change that fails here needs a default for its field, or a new format with a way from the old one.

use serde_json::{Map, Value, json};

use super::*;

/// Of each table, as an agent left it when it was killed.
fn golden(table: &str) -> Vec<Value> {
    let mut all: Map<String, Value> = serde_json::from_str(include_str!("golden.json")).unwrap();
    serde_json::from_value(all.remove(table).unwrap()).unwrap()
}

/// What of a value is not in another one, as paths. More may be there.
fn lost(old: &Value, new: &Value, at: &str) -> Vec<String> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => old
            .iter()
            .flat_map(|(key, value)| {
                lost(value, new.get(key).unwrap_or(&Value::Null), &format!("{at}.{key}"))
            })
            .collect(),
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => old
            .iter()
            .zip(new)
            .enumerate()
            .flat_map(|(n, (old, new))| lost(old, new, &format!("{at}[{n}]")))
            .collect(),
        _ if old == new => Vec::new(),
        _ => vec![format!("{at}: {old} became {new}")],
    }
}

/// Parses what is stored and writes it again.
fn again<T: Serialize + DeserializeOwned>(stored: &Value) -> Value {
    let record: T = serde_json::from_slice(stored.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&json(&record).unwrap()).unwrap()
}

/// Gives every object of a value that is one of a record's structs a field that no agent knows.
fn with_later_fields(value: &mut Value) {
    let mut mark = |at: &str| {
        if let Some(Value::Object(object)) = value.pointer_mut(at)
            // It is what it adds, by name.
            && object.get("step") != Some(&json!("add_traffic"))
        {
            object.insert("of_a_later_agent".to_owned(), json!({ "more": [1, 2] }));
        }
    };
    for at in ["", "/attachment", "/attachment/spec", "/attachment/guest", "/asked", "/spec"] {
        mark(at);
    }
    for n in 0..64 {
        mark(&format!("/plan/{n}"));
        mark(&format!("/leases/{n}/v4"));
        for kind in ["route", "rule"] {
            mark(&format!("/attachment/traffic/{n}/{kind}"));
        }
    }
}

fn is_kept<T: Serialize + DeserializeOwned>(table: &str) {
    for stored in golden(table) {
        assert_eq!(lost(&stored, &again::<T>(&stored), table), [""; 0]);
    }
}

fn is_read_without_later_fields<T: Serialize + DeserializeOwned>(table: &str) {
    for stored in golden(table) {
        let mut later = stored.clone();
        with_later_fields(&mut later);

        assert_ne!(later, stored);
        assert_eq!(again::<T>(&later), again::<T>(&stored));
    }
}

#[test]
fn what_earlier_agents_wrote_is_read_and_nothing_of_it_is_lost() {
    is_kept::<Record>("attachments");
    is_kept::<SwitchRecord>("switches");
    is_kept::<Operation>("operations");
    is_kept::<Operation>("unanswered");
}

#[test]
fn what_a_later_agent_of_the_same_format_adds_does_not_hinder_an_earlier_one() {
    is_read_without_later_fields::<Record>("attachments");
    is_read_without_later_fields::<SwitchRecord>("switches");
    is_read_without_later_fields::<Operation>("operations");
    is_read_without_later_fields::<Operation>("unanswered");
}

#[test]
fn the_records_are_of_many_kinds() {
    let kinds: Vec<Value> =
        golden("attachments").iter().map(|one| one["attachment"]["spec"]["kind"].clone()).collect();

    for kind in ["linux-bridge", "ovs", "macvlan", "ptp", "direct"] {
        assert!(kinds.contains(&json!(kind)), "{kinds:?}");
    }
    for table in ["switches", "operations", "unanswered"] {
        assert!(!golden(table).is_empty(), "{table}");
    }
}

/// A store with one attachment, as an agent left it.
fn store(record: &Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::builder(dir.path()).worker_threads(1).open().unwrap();
    let table = |name: &str| db.keyspace(name, KeyspaceCreateOptions::default).unwrap();
    let id: Uuid = serde_json::from_value(record["attachment"]["id"].clone()).unwrap();
    table("attachments").insert(id.as_bytes(), record.to_string()).unwrap();
    table("meta").insert("generation", 7_u64.to_be_bytes()).unwrap();
    db.persist(PersistMode::SyncAll).unwrap();
    dir
}

#[test]
fn a_store_with_a_step_of_a_later_agent_is_refused_and_left_as_it_is() {
    let mut record = golden("attachments").remove(0);
    let good = record.clone();
    record["plan"][0]["step"] = json!("take_over_the_network");
    let dir = store(&record);

    let refusal = Records::open_or_begin_anew(dir.path()).unwrap_err().to_string();

    let id = record["attachment"]["id"].as_str().unwrap();
    for part in [id, "take_over_the_network", "nothing was changed", "run the agent that wrote it"] {
        assert!(refusal.contains(part), "{refusal}");
    }
    let db = Database::builder(dir.path()).worker_threads(1).open().unwrap();
    let table = |name: &str| db.keyspace(name, KeyspaceCreateOptions::default).unwrap();
    let (key, kept) = table("attachments").first_key_value().unwrap().into_inner().unwrap();
    assert_eq!(*kept, *record.to_string().as_bytes());
    assert_eq!(*table("meta").get("generation").unwrap().unwrap(), 7_u64.to_be_bytes());

    // The agent that knows it goes on where the other one was.
    table("attachments").insert(&*key, good.to_string()).unwrap();
    db.persist(PersistMode::SyncAll).unwrap();
    drop(db);
    let (_, loaded) = Records::open_or_begin_anew(dir.path()).unwrap();
    assert_eq!((loaded.attachments.len(), loaded.generation), (1, 8));
}
