//! What went wrong, for people: what, which object, why, and what to do.

use pipewright_api::client::ClientError;
use pipewright_api::reason::{Failure, Reason};
use uuid::Uuid;

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
    #[error("{}", explain(.0, None))]
    Client(#[from] ClientError),
    /// Standard output is closed or full.
    #[error("cannot write the answer: {0}")]
    Output(std::io::Error),
}

/// Explains an error of a change that can be asked for again: `again` makes the command that asks with the same id.
pub(crate) fn change(error: &ClientError, again: impl FnOnce(Uuid) -> String) -> Failed {
    match error {
        ClientError::Unknown { request_id, .. } => {
            let again = again(*request_id);
            Failed::Because(explain(error, Some(&again)))
        }
        ClientError::Refused(_) | ClientError::Unreachable { .. } | ClientError::Protocol { .. } => {
            Failed::Because(explain(error, None))
        }
    }
}

/// The text for an error, and the command that asks for the same change again.
fn explain(error: &ClientError, again: Option<&str>) -> String {
    match error {
        ClientError::Refused(failure) => refusal(failure),
        ClientError::Unknown { request_id, why } => {
            let mut text = format!(
                "it is unknown whether the change was made: {why}\nrequest {request_id}; see what became of it with\n  \
                 pwctl operation {request_id}"
            );
            if let Some(again) = again {
                text.push_str(&format!("\nor ask again, which makes it once at most, with\n  {again}"));
            }
            text
        }
        ClientError::Unreachable { .. } | ClientError::Protocol { .. } => error.to_string(),
    }
}

/// What an agent said, with the facts that its message may leave out, and what to do.
pub(crate) fn refusal(failure: &Failure) -> String {
    let mut text = format!("{} [{}]", failure.message(), failure.reason().name());
    let shown: Vec<&str> = match failure.reason() {
        // The field is in the message.
        Reason::InvalidField => Vec::new(),
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
        Reason::SpecDiffers => Some("detach it first, or ask for what is there; `pwctl list` shows it"),
        Reason::GuestAmbiguous => Some("say which, as docker:NAME or netns:NAME"),
        Reason::RollbackIncomplete => Some("`pwctl detach` tries again to remove what is left"),
        Reason::Stopping => Some("ask again when it has started"),
        Reason::OperationNotFound => Some("the agent never accepted that request, so it changed nothing"),
        Reason::Resync => Some("watch again from now on, without --resume, and list what is there"),
        Reason::Internal => Some("this is a defect of the agent; its log says more"),
        Reason::Unspecified
        | Reason::InvalidField
        | Reason::GuestNotFound
        | Reason::AttachmentNotFound
        | Reason::IfnameTaken
        | Reason::GuestNotRunning
        | Reason::GuestIsHost
        | Reason::NoUplink
        | Reason::UplinkBusy
        | Reason::NotSupportedHere
        | Reason::DockerDown
        | Reason::OvsdbDown
        | Reason::NotGranted
        | Reason::NotReady
        | Reason::StepFailed
        | Reason::GuestChanged
        | Reason::Exhausted => None,
    }
}

/// The command line that was given, for a shell, with more arguments at its end unless they are there already.
pub(crate) fn command_again(more: &[&str]) -> String {
    let given = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    again(given, more)
}

fn again(given: impl Iterator<Item = String>, more: &[&str]) -> String {
    let mut words = vec!["pwctl".to_owned()];
    words.extend(given);
    if more.first().is_some_and(|flag| !words.iter().any(|word| word.split('=').next() == Some(*flag))) {
        words.extend(more.iter().map(|word| (*word).to_owned()));
    }
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
    use pipewright_api::client::Endpoint;

    const ID: Uuid = Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0001);

    #[test]
    fn a_lost_answer_is_unknown_and_says_how_to_ask_again() {
        let error = ClientError::Unknown { request_id: ID, why: "no answer in time".to_owned() };

        let failed = change(&error, |id| format!("pwctl attach br0 web --request-id {id}"));

        let expected = "\
it is unknown whether the change was made: no answer in time
request 0198c0de-0000-7000-8000-000000000001; see what became of it with
  pwctl operation 0198c0de-0000-7000-8000-000000000001
or ask again, which makes it once at most, with
  pwctl attach br0 web --request-id 0198c0de-0000-7000-8000-000000000001";
        assert_eq!(failed.to_string(), expected);
    }

    #[test]
    fn a_refusal_has_its_reason_its_facts_and_what_to_do() {
        let failure =
            Failure::new(Reason::RollbackIncomplete, "cannot detach eth1 from web: 1 step left undone")
                .with("leftovers", "link pwh7f3a\nport pwh7f3a of ovs0");

        let failed = change(&ClientError::Refused(failure), |_| unreachable!("a refusal is known"));

        let expected = "\
cannot detach eth1 from web: 1 step left undone [ROLLBACK_INCOMPLETE]
  leftovers: link pwh7f3a
    port pwh7f3a of ovs0
`pwctl detach` tries again to remove what is left";
        assert_eq!(failed.to_string(), expected);
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

    #[test]
    fn the_command_to_ask_again_can_be_pasted_into_a_shell() {
        let given = ["attach", "br0", "it's", "--mac", "U:two words"].map(str::to_owned);

        assert_eq!(
            again(given.into_iter(), &["--request-id", "7"]),
            "pwctl attach br0 'it'\\''s' --mac 'U:two words' --request-id 7"
        );
    }

    #[test]
    fn a_request_id_that_was_given_is_not_given_twice() {
        for given in [&["attach", "--request-id", "7"][..], &["attach", "--request-id=7"]] {
            let line = again(given.iter().map(|word| (*word).to_owned()), &["--request-id", "7"]);

            assert_eq!(line, format!("pwctl {}", given.join(" ")));
        }
    }
}
