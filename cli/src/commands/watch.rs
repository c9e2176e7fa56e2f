//! `pwctl watch`.

use clap::Args;
use pipewright_api::event::Event;
use pipewright_api::spec::GuestRef;
use pipewright_api::wire;
use tokio_stream::StreamExt;

use crate::args::Global;
use crate::connect;
use crate::explain::Failed;
use crate::output;
use crate::table;
use crate::values;

/// Watch links in guests change, one line a change
///
/// Runs until it is interrupted, or until the connection ends: then it exits with 1 and says from which revision to go on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pwctl watch
  pwctl watch --guest docker:web
  pwctl watch -o json | jq -r '.attachment.state'
  Everything since a list was made:
    pwctl watch --resume $(pwctl list -o json | jq -r .revision)")]
pub(crate) struct Watch {
    /// Only of this guest
    #[arg(long, value_name = "GUEST", value_parser = values::checked::<GuestRef>)]
    guest: Option<GuestRef>,
    /// Begin after this revision [default: now]
    #[arg(long, value_name = "REVISION")]
    resume: Option<u64>,
}

impl Watch {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failed> {
        let client = connect::client(global)?;
        let mut last = self.resume;
        let mut events = client.watch(self.resume, self.guest.as_ref()).await?;
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| ended(&Failed::Client(error).to_string(), last))?;
            last = Some(event.revision);
            let answer: wire::WatchResponse = Event::into(event);
            output::item(global.output, &answer, line)?;
        }
        Err(ended("the agent closed the connection", last))
    }
}

fn ended(why: &str, last: Option<u64>) -> Failed {
    Failed::Because(match last {
        Some(revision) => format!("{why}\ngo on with `pwctl watch --resume {revision}`"),
        None => why.to_owned(),
    })
}

fn line(event: &wire::WatchResponse) -> String {
    let Some(attachment) = &event.attachment else { return format!("{} ?", event.revision) };
    let spec = attachment.spec.clone().unwrap_or_default();
    let mut words = vec![
        event.revision.to_string(),
        table::state(attachment),
        spec.guest.clone(),
        spec.ifname.clone(),
        spec.uplink.clone(),
    ];
    words.extend(table::addresses(attachment).into_iter().map(str::to_owned));
    if !event.cause.is_empty() {
        words.push(format!("({})", event.cause));
    }
    // One line an event, whatever is in it.
    table::clean(&words.join("  ")).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = wire::WatchResponse {
            revision: 7,
            attachment: Some(wire::Attachment {
                spec: Some(wire::AttachmentSpec {
                    guest: "docker:web".to_owned(),
                    ifname: "eth1".to_owned(),
                    uplink: "br0".to_owned(),
                    ..wire::AttachmentSpec::default()
                }),
                state: wire::AttachmentState::Detached.into(),
                ..wire::Attachment::default()
            }),
            cause: "guest is\ngone".to_owned(),
        };

        assert_eq!(line(&event), "7  detached  docker:web  eth1  br0  (guest is gone)");
    }

    #[test]
    fn an_end_says_how_to_go_on() {
        let end = ended("the agent closed the connection", Some(41)).to_string();

        assert_eq!(end, "the agent closed the connection\ngo on with `pwctl watch --resume 41`");
    }
}
