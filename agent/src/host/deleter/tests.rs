use std::pin::pin;

use futures_util::FutureExt as _;

use super::*;

fn link(index: u8) -> LinkFacts {
    LinkFacts::read(&[0, 0, 0, 0, index, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap()
}

/// With one idle thread, which the test plays.
fn deleter() -> Deleter {
    let queue = Queue::default();
    queue.state().threads = 1;
    queue.state().idle = 1;
    Deleter { queue: Arc::new(queue) }
}

fn delete(deleter: &Deleter, index: u8) {
    deleter.delete(&link(index), mpsc::channel().0);
}

fn waiting_and_attaching(deleter: &Deleter) -> (usize, usize) {
    let state = deleter.queue.state();
    (state.waiting.len(), state.attaches)
}

#[tokio::test]
async fn an_attach_has_its_turn_at_once_when_no_link_waits() {
    let deleter = deleter();

    let turn = deleter.turn_to_attach().now_or_never();

    assert!(turn.is_some());
    assert_eq!(deleter.queue.state().attaches, 1);
}

#[tokio::test]
async fn an_attach_that_comes_while_links_wait_lets_one_batch_go_first() {
    let deleter = deleter();
    let attaching = deleter.attaching();
    delete(&deleter, 7);
    let mut turn = pin!(deleter.turn_to_attach());
    assert!(turn.as_mut().now_or_never().is_none());

    drop(attaching);
    let batch = deleter.queue.take().unwrap();

    assert_eq!(batch.jobs.len(), 1);
    assert_eq!(waiting_and_attaching(&deleter), (1, 0));
    deleter.queue.is_gone(7);
    assert_eq!(waiting_and_attaching(&deleter), (0, 1));
    drop(turn.await);
    assert_eq!(deleter.queue.state().attaches, 0);
}

#[tokio::test]
async fn a_batch_leaves_the_turn_to_attaches_that_came_during_the_one_before() {
    let deleter = deleter();
    delete(&deleter, 7);
    deleter.queue.take().unwrap();
    delete(&deleter, 8);
    // As far as batches are concerned, another could go to wait at the kernel's lock.
    assert!(matches!(deleter.queue.state().pause(), Pause::None));

    let mut turn = pin!(deleter.turn_to_attach());
    assert!(turn.as_mut().now_or_never().is_none());

    assert!(matches!(deleter.queue.state().pause(), Pause::UntilTold));
}

#[tokio::test]
async fn who_went_away_before_its_turn_holds_up_nothing() {
    let deleter = deleter();
    delete(&deleter, 7);
    deleter.queue.take().unwrap();
    assert!(deleter.turn_to_attach().now_or_never().is_none());

    deleter.queue.is_gone(7);

    assert_eq!(waiting_and_attaching(&deleter), (0, 0));
}
