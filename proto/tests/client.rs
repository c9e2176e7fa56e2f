//! What a caller of the client can know, whatever becomes of the agent. The agent here is a stand-in that answers as
//! each test wants, on a socket of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod standin;

use std::time::Duration;

use pipewright_api::client::{Client, ClientError, Endpoint};
use pipewright_api::condition::Condition;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::{DetachTarget, ListFilter};
use pipewright_api::spec::{AttachmentSpec, HostSpec};
use pipewright_api::wire;
use tokio_stream::StreamExt;
use uuid::Uuid;

use standin::{Answer, Standin, attachment};

/// Longer than any answer of these tests takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// For calls that are never answered.
const IMPATIENCE: Duration = Duration::from_millis(200);

fn spec() -> AttachmentSpec {
    attachment(1).spec.unwrap().try_into().unwrap()
}

fn host_spec() -> HostSpec {
    HostSpec { fleet: "lab".parse().unwrap(), switches: Vec::new(), attachments: vec![spec()] }
}

fn client(endpoint: &Endpoint, timeout: Duration) -> Client {
    Client::connect(endpoint, timeout).unwrap()
}

#[track_caller]
fn assert_unknown<T: std::fmt::Debug>(answer: Result<T, ClientError>, id: Uuid) {
    let error = answer.unwrap_err();
    assert!(matches!(&error, ClientError::Unknown { request_id, .. } if *request_id == id), "{error:?}");
    assert!(error.to_string().contains("ask again with the same request id"), "{error}");
    assert!(error.to_string().contains(&id.to_string()), "{error}");
}

#[track_caller]
fn assert_unreachable<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> String {
    match answer.unwrap_err() {
        ClientError::Unreachable { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_change_that_was_never_sent_is_unreachable_and_says_where_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::Unix(folder.path().join("agent.sock"));
    let client = client(&endpoint, PATIENCE);

    let error = client.attach(Uuid::now_v7(), &spec(), false).await.unwrap_err();

    assert!(
        matches!(&error, ClientError::Unreachable { endpoint: asked, .. } if *asked == endpoint),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.contains(&endpoint.to_string()) && text.contains("check that pwagent runs"), "{text}");
    assert!(text.contains("No such file or directory"), "{text}");
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_unreachable() {
    // Bound and not listened on, so that nobody else gets the port meanwhile.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}", socket.local_addr().unwrap()).parse().unwrap();

    let why =
        assert_unreachable(client(&endpoint, PATIENCE).apply(Uuid::now_v7(), &host_spec(), false).await);

    assert!(why.contains("Connection refused"), "{why}");
}

#[tokio::test]
async fn a_refusal_arrives_as_the_agent_made_it() {
    let failure = Failure::new(Reason::GuestNotFound, "guest \"web\" not found").with("guest", "web");
    let agent = Standin::start(Answer::Refuse(failure.clone()));
    let client = client(&agent.endpoint, PATIENCE);

    let error = client.attach(Uuid::now_v7(), &spec(), false).await.unwrap_err();

    assert_eq!(error, ClientError::Refused(failure));
    assert_eq!(error.to_string(), "guest \"web\" not found");
}

#[tokio::test]
async fn a_change_whose_connection_is_lost_for_good_is_unknown() {
    let agent = Standin::start(Answer::Never);
    let client = client(&agent.endpoint, PATIENCE).asking_again_for(IMPATIENCE);
    let id = Uuid::now_v7();
    let call = tokio::spawn(async move { client.attach(id, &spec(), false).await });
    agent.is_asked().await;

    agent.kill().await;

    assert_unknown(call.await.unwrap(), id);
}

#[tokio::test]
async fn a_question_whose_connection_is_lost_for_good_is_unreachable() {
    let agent = Standin::start(Answer::Never);
    let client = client(&agent.endpoint, PATIENCE).asking_again_for(IMPATIENCE);
    let call = tokio::spawn(async move { client.list(&ListFilter::default()).await });
    agent.is_asked().await;

    agent.kill().await;

    let why = assert_unreachable(call.await.unwrap());
    assert!(why.contains("ask again"), "{why}");
}

#[tokio::test]
async fn what_the_next_agent_answers_is_the_answer() {
    let agent = Standin::start(Answer::Never);
    let client = client(&agent.endpoint, PATIENCE).asking_again_for(PATIENCE);
    let call = tokio::spawn(async move { client.attach(Uuid::now_v7(), &spec(), false).await });
    agent.is_asked().await;

    let folder = agent.kill().await;
    let answer = wire::AttachResponse { attachment: Some(attachment(1)), created: true };
    let _next = Standin::start_in(folder, Answer::Attach(Box::new(answer)));

    assert!(call.await.unwrap().unwrap().created);
}

#[tokio::test]
async fn an_agent_that_only_stops_is_asked_again_and_then_said_to_be_stopping() {
    let failure = Failure::new(Reason::Stopping, "the agent is stopping");
    let agent = Standin::start(Answer::Refuse(failure.clone()));
    let id = Uuid::now_v7();
    let client = client(&agent.endpoint, PATIENCE).asking_again_for(PATIENCE);
    let asks = client.clone();
    let call = tokio::spawn(async move { asks.attach(id, &spec(), false).await });
    agent.is_asked().await;

    let folder = agent.kill().await;
    let answer = wire::AttachResponse { attachment: Some(attachment(1)), created: true };
    let next = Standin::start_in(folder, Answer::Attach(Box::new(answer)));
    assert!(call.await.unwrap().unwrap().created);

    let folder = next.kill().await;
    let _last = Standin::start_in(folder, Answer::Refuse(failure.clone()));
    let gone = client.asking_again_for(IMPATIENCE).attach(id, &spec(), false).await;
    assert_eq!(gone.unwrap_err(), ClientError::Refused(failure));
}

#[tokio::test]
async fn every_change_without_an_answer_in_time_is_unknown() {
    let agent = Standin::start(Answer::Never);
    let client = client(&agent.endpoint, IMPATIENCE);
    let id = Uuid::now_v7();

    assert_unknown(client.attach(id, &spec(), false).await, id);
    assert_unknown(client.detach(id, &DetachTarget::Id(id), false).await, id);
    assert_unknown(client.apply(id, &host_spec(), false).await, id);
}

#[tokio::test]
async fn a_dry_run_changes_nothing_so_it_is_never_unknown() {
    let agent = Standin::start(Answer::Never);
    let client = client(&agent.endpoint, IMPATIENCE);
    let id = Uuid::now_v7();

    assert_unreachable(client.attach(id, &spec(), true).await);
    assert_unreachable(client.detach(id, &DetachTarget::Id(id), true).await);
    assert_unreachable(client.apply(id, &host_spec(), true).await);
}

/// A server's own limit answers CANCELLED, as a client's does.
#[tokio::test]
async fn a_change_that_the_server_gives_up_is_unknown() {
    let agent = Standin::start(Answer::Status(tonic::Status::cancelled("Timeout expired")));
    let id = Uuid::now_v7();

    let answer = client(&agent.endpoint, PATIENCE).attach(id, &spec(), false).await;

    assert!(
        answer.as_ref().is_err_and(|error| error.to_string().contains("no answer in time")),
        "{answer:?}"
    );
    assert_unknown(answer, id);
}

#[tokio::test]
async fn a_status_of_something_in_between_leaves_a_change_unknown() {
    for code in [tonic::Code::Internal, tonic::Code::PermissionDenied, tonic::Code::ResourceExhausted] {
        let agent = Standin::start(Answer::Status(tonic::Status::new(code, "proxy")));
        let id = Uuid::now_v7();

        assert_unknown(client(&agent.endpoint, PATIENCE).attach(id, &spec(), false).await, id);
    }
}

#[tokio::test]
async fn an_agent_without_the_call_is_a_matter_of_protocol() {
    let agent = Standin::start(Answer::Status(tonic::Status::unimplemented("")));

    let error = client(&agent.endpoint, PATIENCE).attach(Uuid::now_v7(), &spec(), false).await.unwrap_err();

    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_does_not_parse_is_a_matter_of_protocol_and_names_the_field() {
    let answer = wire::AttachResponse { attachment: None, created: true };
    let agent = Standin::start(Answer::Attach(Box::new(answer)));

    let error = client(&agent.endpoint, PATIENCE).attach(Uuid::now_v7(), &spec(), false).await.unwrap_err();

    assert!(
        matches!(&error, ClientError::Protocol { why, .. } if why.starts_with("attachment: ")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_client_works_again_when_the_agent_is_back() {
    let answer = wire::AttachResponse { attachment: Some(attachment(1)), created: true };
    let agent = Standin::start(Answer::Attach(Box::new(answer.clone())));
    let client = client(&agent.endpoint, PATIENCE);
    let id = Uuid::now_v7();
    assert!(client.attach(id, &spec(), false).await.unwrap().created);

    let folder = agent.kill().await;
    let gone = client.clone().asking_again_for(IMPATIENCE).attach(id, &spec(), false).await;
    let agent = Standin::start_in(folder, Answer::Attach(Box::new(answer.clone())));
    let back = client.attach(id, &spec(), false).await;
    let folder = agent.kill().await;
    let _agent = Standin::start_in(folder, Answer::Attach(Box::new(answer)));
    let restarted_meanwhile = client.attach(id, &spec(), false).await;

    assert!(matches!(gone, Err(ClientError::Unreachable { .. } | ClientError::Unknown { .. })), "{gone:?}");
    assert!(back.unwrap().created && restarted_meanwhile.unwrap().created);
}

#[tokio::test]
async fn a_list_follows_its_pages_and_keeps_the_first_revision() {
    let page = |number: u128, next: &str| wire::ListResponse {
        attachments: vec![attachment(number)],
        next_page_token: next.to_owned(),
        revision: 10 + u64::try_from(number).unwrap(),
    };
    let agent = Standin::start(Answer::Pages(vec![page(1, "a"), page(2, "b"), page(3, "")]));

    let listing = client(&agent.endpoint, PATIENCE).list(&ListFilter::default()).await.unwrap();

    let ids: Vec<u128> = listing.attachments.iter().map(|attachment| attachment.id.as_u128()).collect();
    assert_eq!((ids, listing.revision), (vec![1, 2, 3], 11));
}

#[tokio::test]
async fn a_list_whose_page_follows_itself_ends() {
    let page = wire::ListResponse { next_page_token: "a".to_owned(), ..wire::ListResponse::default() };
    let agent = Standin::start(Answer::Pages(vec![page.clone(), page.clone(), page]));

    let error = client(&agent.endpoint, PATIENCE).list(&ListFilter::default()).await.unwrap_err();

    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn a_watch_gives_events_until_the_agent_says_why_not() {
    let event =
        |revision| wire::WatchResponse { revision, attachment: Some(attachment(1)), cause: String::new() };
    let resync = Failure::new(Reason::Resync, "revision 2 is no longer known");
    let agent = Standin::start(Answer::Events(vec![event(1), event(2)], resync.clone()));
    let client = client(&agent.endpoint, PATIENCE);

    let events: Vec<_> = client.watch(None, None).await.unwrap().collect().await;

    let revisions: Vec<_> = events.iter().map(|event| event.as_ref().map(|event| event.revision)).collect();
    assert_eq!(revisions, [Ok(1), Ok(2), Err(&ClientError::Refused(resync))]);
}

/// The agent answers after the client's own limit, within the wait's.
#[tokio::test]
async fn a_wait_may_take_longer_than_other_calls() {
    let agent = Standin::start(Answer::WaitFor(IMPATIENCE * 2));
    let client = client(&agent.endpoint, IMPATIENCE);
    let (guest, ifname) = ("web".parse().unwrap(), "eth1".parse().unwrap());

    let state = client.wait(&guest, &ifname, Condition::Up, PATIENCE).await.unwrap();

    assert!(state.up);
}
