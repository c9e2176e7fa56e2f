//! What went wrong, for people: what, which object, why, and what to do.

use pipewright_api::client::ClientError;
use pipewright_api::reason::{Failure, Reason};
use uuid::Uuid;

use crate::args::Global;
use crate::connect;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// The arguments, the environment or the configuration cannot be; nothing was connected.
    #[error("{0}")]
    Usage(String),
    /// It was tried.
    #[error("{0}")]
    Because(String),
    /// An agent refused, or could not be asked.
    #[error("{}", explain(.0))]
    Client(#[from] ClientError),
    /// Standard output is closed or full.
    #[error("cannot write the answer: {0}")]
    Output(std::io::Error),
}

/// Explains an error of a change: one whose answer was lost says which commands tell, and make it once at most.
pub(crate) fn change(error: &ClientError, global: &Global) -> Failed {
    let given = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    Failed::Because(change_text(error, global, given))
}

/// Explains an error of a change whose line takes no request id: asking what became of it is all that can be done.
pub(crate) fn unrepeatable(error: &ClientError, global: &Global) -> Failed {
    let text = explain(error);
    Failed::Because(match error {
        ClientError::Unknown { request_id, .. } => {
            format!("{text}\nsee what became of it with\n  {}", operation(global, *request_id))
        }
        ClientError::Refused(_) | ClientError::Unreachable { .. } | ClientError::Protocol { .. } => text,
    })
}

fn change_text(error: &ClientError, global: &Global, given: impl Iterator<Item = String>) -> String {
    match error {
        ClientError::Unknown { request_id, .. } => format!(
            "{}\nsee what became of it with\n  {}\nor ask again, which makes it once at most, with\n  {}",
            explain(error),
            operation(global, *request_id),
            again(given, *request_id)
        ),
        ClientError::Refused(_) | ClientError::Unreachable { .. } | ClientError::Protocol { .. } => {
            explain(error)
        }
    }
}

fn explain(error: &ClientError) -> String {
    match error {
        ClientError::Refused(failure) => refusal(failure),
        ClientError::Unknown { request_id, why } => {
            format!("it is unknown whether the change was made: {why}; request {request_id}")
        }
        ClientError::Unreachable { endpoint, .. } => format!("{error}{}", connect::elsewhere(endpoint)),
        ClientError::Protocol { .. } => error.to_string(),
    }
}

/// What an agent said, with the facts that its message may leave out, and what to do.
pub(crate) fn refusal(failure: &Failure) -> String {
    let mut text = format!("{} [{}]", failure.message(), failure.reason().name());
    let shown: Vec<&str> = match failure.reason() {
        // The field is in the message, and so is what a wait did not see.
        Reason::InvalidField | Reason::NotReady => Vec::new(),
        _ => failure.facts().keys().map(String::as_str).filter(|key| *key != "field").collect(),
    };
    for key in shown {
        let Some(fact) = failure.fact(key).filter(|fact| !failure.message().contains(fact)) else { continue };
        text.push_str(&format!("\n  {key}: {}", fact.replace('\n', "\n    ")));
    }
    if let Some(advice) = advice(failure.reason()) {
        text.push('\n');
        text.push_str(advice);
    }
    text
}

/// What can be done about a refusal, where the agent cannot know it.
fn advice(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::GuestAmbiguous => Some("say which, as docker:NAME, lxc:NAME or netns:NAME"),
        Reason::RollbackIncomplete => Some("`pwctl detach` tries again to remove what is left"),
        Reason::Stopping => Some("ask again when it has started"),
        Reason::Resync => Some("watch again from now on, without --resume, and list what is there"),
        Reason::Internal => Some("this is a defect of the agent; its log says more"),
        Reason::Unspecified
        | Reason::InvalidField
        | Reason::GuestNotFound
        | Reason::AttachmentNotFound
        | Reason::OperationNotFound
        | Reason::SpecDiffers
        | Reason::IfnameTaken
        | Reason::GuestNotRunning
        | Reason::GuestIsHost
        | Reason::NoUplink
        | Reason::UplinkBusy
        | Reason::NotSupportedHere
        | Reason::DockerDown
        | Reason::PodmanDown
        | Reason::OvsdbDown
        | Reason::NotGranted
        | Reason::NotReady
        | Reason::StepFailed
        | Reason::AddressInUse
        | Reason::GuestChanged
        | Reason::Exhausted => None,
    }
}

/// The command that asks the same agent what became of a request.
fn operation(global: &Global, id: Uuid) -> String {
    let mut words = vec!["pwctl".to_owned()];
    if let Some(host) = &global.host {
        words.extend(["--host".to_owned(), host.to_string()]);
    }
    if let Some(endpoint) = &global.endpoint {
        words.extend(["--endpoint".to_owned(), endpoint.to_string()]);
    }
    words.extend(["operation".to_owned(), id.to_string()]);
    line(&words)
}

/// The command line that was given, with the request's id.
fn again(given: impl Iterator<Item = String>, id: Uuid) -> String {
    const FLAG: &str = "--request-id";
    let mut words = vec!["pwctl".to_owned()];
    words.extend(given);
    if !words.iter().any(|word| word.split('=').next() == Some(FLAG)) {
        words.extend([FLAG.to_owned(), id.to_string()]);
    }
    line(&words)
}

fn line(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@=+%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;
    use pipewright_api::client::Endpoint;

    const ID: Uuid = Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0001);

    /// What is said of an error of a command line.
    fn said(error: &ClientError, given: &[&str]) -> String {
        let global = Cli::try_parse_from(["pwctl"].iter().chain(given)).unwrap().global;
        change_text(error, &global, given.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn a_lost_answer_is_unknown_and_says_how_to_ask_again() {
        let error = ClientError::Unknown { request_id: ID, why: "no answer in time".to_owned() };

        let said =
            said(&error, &["--host", "a", "attach", "br0", "web", "--no-ip", "--mac", "U:it's two words"]);

        let expected = "\
it is unknown whether the change was made: no answer in time; request 0198c0de-0000-7000-8000-000000000001
see what became of it with
  pwctl --host a operation 0198c0de-0000-7000-8000-000000000001
or ask again, which makes it once at most, with
  pwctl --host a attach br0 web --no-ip --mac 'U:it'\\''s two words' --request-id 0198c0de-0000-7000-8000-000000000001";
        assert_eq!(said, expected);
    }

    #[test]
    fn a_line_that_takes_no_request_id_is_not_said_to_take_one() {
        let error = ClientError::Unknown { request_id: ID, why: "no answer in time".to_owned() };

        let said = unrepeatable(&error, &Global::default()).to_string();

        assert!(said.ends_with(&format!("\nsee what became of it with\n  pwctl operation {ID}")), "{said}");
    }

    #[test]
    fn a_request_id_that_was_given_is_not_given_twice() {
        let error = ClientError::Unknown { request_id: ID, why: "no answer in time".to_owned() };
        let id = ID.to_string();
        let with_equals = format!("--request-id={id}");
        for given in [&["detach", "web", "--request-id", &id][..], &["detach", "web", &with_equals]] {
            let said = said(&error, given);

            assert_eq!(said.lines().last().unwrap(), format!("  pwctl {}", given.join(" ")));
        }
    }

    #[test]
    fn a_refusal_has_its_reason_its_facts_and_what_to_do() {
        let failure =
            Failure::new(Reason::RollbackIncomplete, "cannot detach eth1 from web: 1 step left undone")
                .with("leftovers", "link pwh7f3a\nport pwh7f3a of ovs0");

        let said = said(&ClientError::Refused(failure), &["detach", "web"]);

        let expected = "\
cannot detach eth1 from web: 1 step left undone [ROLLBACK_INCOMPLETE]
  leftovers: link pwh7f3a
    port pwh7f3a of ovs0
`pwctl detach` tries again to remove what is left";
        assert_eq!(said, expected);
    }

    #[test]
    fn a_fact_that_the_message_has_is_not_said_twice() {
        let failure = Failure::new(Reason::UplinkBusy, "cannot plug eth1 into br0: bridge br1 holds it")
            .with("holder", "bridge br1");

        assert_eq!(refusal(&failure), "cannot plug eth1 into br0: bridge br1 holds it [UPLINK_BUSY]");
    }

    #[test]
    fn an_agent_that_is_not_there_is_named() {
        let error = ClientError::Unreachable {
            endpoint: Endpoint::default(),
            why: "No such file or directory (os error 2); check that pwagent runs there".to_owned(),
        };

        assert_eq!(
            Failed::from(error).to_string(),
            "cannot reach the agent at unix:/run/pipewright/agent.sock: No such file or directory (os error 2); check \
             that pwagent runs there"
        );
    }
}
