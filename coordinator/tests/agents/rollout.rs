//! Hosts that answer, refuse, hang, die or lose their connections, and what is said of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pipewright_api::reason::{Failure, Reason};
use pipewright_coordinator::rollout::{self, Mode, Outcome, Pace, Progress};

use tokio::sync::{Barrier, mpsc};

use crate::scripted::{Act, Agents};

/// Rolls out to some hosts; the outcome of each by its name, and what was said meanwhile.
async fn roll_out(
    agents: &Agents,
    hosts: &[&str],
    mode: Mode,
    pace: Pace,
) -> (BTreeMap<String, Outcome>, Vec<Progress>) {
    let targets = hosts.iter().map(|host| agents.target(host)).collect();
    let (sender, mut receiver) = mpsc::channel(1);
    let told = async {
        let mut told = Vec::new();
        while let Some(progress) = receiver.recv().await {
            told.push(progress);
        }
        told
    };
    let (outcomes, told) = tokio::join!(rollout::roll_out(targets, mode, pace, sender), told);
    (outcomes.into_iter().map(|(host, outcome)| (host.to_string(), outcome)).collect(), told)
}

async fn apply(agents: &Agents, hosts: &[&str]) -> BTreeMap<String, Outcome> {
    roll_out(agents, hosts, Mode::Apply, Pace::default()).await.0
}

/// The request ids that a host has seen.
async fn ids(agents: &Agents, host: &str) -> Vec<String> {
    let applies = agents.seen[&host.parse().unwrap()].applies.lock().await;
    applies.iter().map(|request| request.request_id.clone()).collect()
}

fn changed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Changes(changes) if changes.len() == 1)
}

#[tokio::test]
async fn a_host_that_is_down_stops_no_other() {
    let mut agents = Agents::new();
    agents.start("a", &[Act::Change], &[]);
    agents.start("c", &[Act::Change], &[]);

    let outcomes = apply(&agents, &["a", "b", "c"]).await;

    assert!(changed(&outcomes["a"]) && changed(&outcomes["c"]), "{outcomes:?}");
    let Outcome::Unreachable(why) = &outcomes["b"] else { panic!("{outcomes:?}") };
    assert!(why.starts_with(&format!("cannot reach the agent at {}: ", agents.endpoint("b"))), "{why}");
}

#[tokio::test]
async fn hosts_are_asked_at_the_same_time_and_no_more_than_allowed() {
    let mut agents = Agents::new();
    let hosts = ["a", "b", "c", "d", "e", "f"];
    // Each answers only when a second one is being asked.
    let barrier = Arc::new(Barrier::new(2));
    for host in hosts {
        agents.start(host, &[Act::Meet(barrier.clone())], &[]);
    }
    let pace = Pace { at_once: 2, ..Pace::default() };

    let (outcomes, _) = roll_out(&agents, &hosts, Mode::Apply, pace).await;

    assert!(outcomes.values().all(changed), "{outcomes:?}");
    assert_eq!(agents.crowd.most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_by_the_same_id() {
    let mut agents = Agents::new();
    agents.start("a", &[Act::Lose, Act::Change], &[]);

    let (outcomes, told) = roll_out(&agents, &["a"], Mode::Apply, Pace::default()).await;

    assert!(changed(&outcomes["a"]), "{outcomes:?}");
    let ids = ids(&agents, "a").await;
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
    assert!(
        matches!(&told[..], [Progress::Asked(_), Progress::Finished(_, outcome)] if changed(outcome)),
        "{told:?}"
    );
}

#[tokio::test]
async fn an_answer_that_was_lost_twice_is_unknown_with_the_id_that_was_used() {
    let mut agents = Agents::new();
    agents.start("a", &[Act::Lose, Act::Lose, Act::Die], &[]);

    let outcomes = apply(&agents, &["a"]).await;

    let ids = ids(&agents, "a").await;
    let Outcome::Unknown { request_id, .. } = &outcomes["a"] else { panic!("{outcomes:?}") };
    assert_eq!(ids, [(); 3].map(|()| request_id.to_string()));
}

#[tokio::test]
async fn a_host_that_died_after_it_was_asked_is_unknown_and_not_unreachable() {
    let mut agents = Agents::new();
    agents.start("a", &[Act::Die], &[]);

    let outcomes = apply(&agents, &["a"]).await;

    assert!(matches!(outcomes["a"], Outcome::Unknown { .. }), "{outcomes:?}");
}

#[tokio::test]
async fn an_agent_that_is_stopping_when_asked_again_leaves_it_unknown() {
    let mut agents = Agents::new();
    let stopping = Failure::new(Reason::Stopping, "the agent is stopping");
    agents.start("a", &[Act::Lose, Act::Refuse(stopping), Act::Die], &[]);

    let outcomes = apply(&agents, &["a"]).await;

    assert!(matches!(outcomes["a"], Outcome::Unknown { .. }), "{outcomes:?}");
}

#[tokio::test]
async fn a_refusal_is_final() {
    let mut agents = Agents::new();
    let refusal = Failure::field("spec.switches[0].name", "use another");
    agents.start("a", &[Act::Refuse(refusal.clone())], &[]);
    agents.start("b", &[Act::Lose, Act::Refuse(refusal.clone())], &[]);

    let outcomes = apply(&agents, &["a", "b"]).await;

    assert_eq!(outcomes["a"], Outcome::Refused(refusal.clone()));
    assert_eq!(outcomes["b"], Outcome::Refused(refusal));
    assert_eq!(ids(&agents, "a").await.len(), 1);
}

#[tokio::test]
async fn a_host_that_hangs_is_given_up_in_its_time_and_stops_no_other() {
    let mut agents = Agents::new();
    agents.start("a", &[Act::Hang, Act::Hang], &[]);
    agents.start("b", &[Act::Change], &[]);
    let pace = Pace { at_once: 1, per_host: Duration::from_millis(300), ..Pace::default() };
    let begin = std::time::Instant::now();

    let (outcomes, _) = roll_out(&agents, &["a", "b"], Mode::Apply, pace).await;

    assert!(matches!(outcomes["a"], Outcome::Unknown { .. }), "{outcomes:?}");
    assert!(changed(&outcomes["b"]), "{outcomes:?}");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_plan_asks_for_no_change_and_its_lost_answer_leaves_nothing_open() {
    let mut agents = Agents::new();
    agents.start("a", &[Act::Change], &[]);
    agents.start("b", &[Act::Die], &[]);

    let (outcomes, _) = roll_out(&agents, &["a", "b"], Mode::Plan, Pace::default()).await;

    assert!(changed(&outcomes["a"]), "{outcomes:?}");
    assert!(matches!(outcomes["b"], Outcome::Unreachable(_)), "{outcomes:?}");
    for seen in agents.seen.values() {
        assert!(seen.applies.lock().await.iter().all(|request| request.dry_run));
    }
}

#[tokio::test]
async fn every_request_has_an_id_of_its_own() {
    let mut agents = Agents::new();
    agents.start("a", &[Act::Change], &[]);
    agents.start("b", &[Act::Change], &[]);

    apply(&agents, &["a", "b"]).await;

    let all = [ids(&agents, "a").await, ids(&agents, "b").await].concat();
    assert_eq!(BTreeSet::from_iter(&all).len(), 2, "{all:?}");
}

#[tokio::test]
async fn nobody_has_to_listen_to_the_progress() {
    let mut agents = Agents::new();
    agents.start("a", &[Act::Change], &[]);
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);

    let targets = [agents.target("a")].into();
    let outcomes = rollout::roll_out(targets, Mode::Apply, Pace::default(), sender).await;

    assert!(outcomes.values().all(changed), "{outcomes:?}");
}
