//! `pwctl detach`.

use clap::Args;
use pipewright_api::client::{Client, ClientError};
use pipewright_api::net::LinkName;
use pipewright_api::reason::Reason;
use pipewright_api::request::{DetachTarget, ListFilter};
use pipewright_api::spec::GuestRef;
use pipewright_api::wire;
use uuid::Uuid;

use crate::args::Global;
use crate::connect;
use crate::explain::{self, Failed};
use crate::output;
use crate::table;
use crate::values;

/// Take links out of a guest
///
/// Removes what attach made and puts back what it replaced. Detaching what is not there is done, not failed, so it can be
/// repeated at will. What others made is never touched.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  All links of ours in a guest, also in one that is gone:
    pwctl detach docker:web
  One of them:
    pwctl detach docker:web --ifname eth2
  By id, or by the beginning of one that `pwctl list` shows:
    pwctl detach 0198c0de")]
pub(crate) struct Detach {
    /// A guest, an attachment's id, or at least 8 characters of one
    #[arg(value_name = "ID|GUEST", value_parser = values::checked::<GuestRef>)]
    target: GuestRef,
    /// Only the link of this name
    #[arg(long, value_name = "NAME", value_parser = values::checked::<LinkName>)]
    ifname: Option<LinkName>,
    /// Show what would be undone and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The request's own id: the same id gives the same answer for ever [default: a new one]
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
}

impl Detach {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failed> {
        let whole = self.whole_id()?;
        let client = connect::client(global)?;
        let target = match whole {
            Some(id) => DetachTarget::Id(id),
            None => self.look_up(&client).await?,
        };
        let request_id = self.request_id.unwrap_or_else(Uuid::new_v4);
        let detached = match client.detach(request_id, &target, self.dry_run).await {
            Ok(detached) => detached,
            Err(ClientError::Refused(failure)) if is_gone(failure.reason()) => Vec::new(),
            Err(error) => return Err(explain::change(&error, global)),
        };
        let answer: wire::DetachResponse = detached.into();
        output::answer(global.output, &answer, |answer| lines(answer, self.dry_run))
    }

    /// The id, if one was given in full.
    fn whole_id(&self) -> Result<Option<Uuid>, Failed> {
        let GuestRef::Bare(word) = &self.target else { return Ok(None) };
        let Ok(id) = Uuid::try_parse(word) else { return Ok(None) };
        // A container's full id has 64 digits and is no UUID.
        match &self.ifname {
            Some(_) => Err(Failed::Usage("an id names one link: leave out --ifname".to_owned())),
            None => Ok(Some(id)),
        }
    }

    /// A word that could be the beginning of an id is one if an attachment has it. It can be a guest's name or the
    /// beginning of a container's id, too, and then it has to be said which.
    async fn look_up(&self, client: &Client) -> Result<DetachTarget, Failed> {
        let guest = DetachTarget::Guest { guest: self.target.clone(), ifname: self.ifname.clone() };
        let GuestRef::Bare(word) = &self.target else { return Ok(guest) };
        if self.ifname.is_some() || !could_begin_an_id(word) {
            return Ok(guest);
        }
        let listing = client.list(&ListFilter::default()).await?;
        let begins =
            listing.attachments.iter().filter(|attachment| attachment.id.to_string().starts_with(word));
        let ids: Vec<Uuid> = begins.map(|attachment| attachment.id).collect();
        let is_guest = listing.attachments.iter().any(|attachment| {
            attachment.guest.name == *word
                || attachment.guest.id.rsplit('/').next().is_some_and(|id| id.starts_with(word))
                || attachment.spec.guest == self.target
        });
        choose(word, &ids, is_guest, guest)
    }
}

/// Hexadecimal digits and dashes, as many as `pwctl list` shows at least.
fn could_begin_an_id(word: &str) -> bool {
    (8..=36).contains(&word.len()) && word.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f' | '-'))
}

fn choose(word: &str, ids: &[Uuid], is_guest: bool, guest: DetachTarget) -> Result<DetachTarget, Failed> {
    match ids {
        [] => Ok(guest),
        [id] if !is_guest => Ok(DetachTarget::Id(*id)),
        ids => {
            let mut could_be: Vec<String> = ids.iter().map(|id| format!("attachment {id}")).collect();
            if is_guest {
                could_be.push(format!("guest {word}"));
            }
            Err(Failed::Because(format!(
                "{word} could be {}: give the whole id, or docker:NAME or netns:NAME for a guest",
                could_be.join(" or ")
            )))
        }
    }
}

/// Detach of what is not there is done.
fn is_gone(reason: Reason) -> bool {
    matches!(reason, Reason::AttachmentNotFound | Reason::GuestNotFound)
}

fn lines(answer: &wire::DetachResponse, dry_run: bool) -> String {
    if answer.attachments.is_empty() {
        return "nothing to detach".to_owned();
    }
    let mut text = table::attachments(&answer.attachments);
    if dry_run {
        text.push_str("\n\nnothing was changed; these would be detached");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Uuid = Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0001);
    const OTHER: Uuid = Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0002);

    fn guest() -> DetachTarget {
        DetachTarget::Guest { guest: "0198c0de".parse().unwrap(), ifname: None }
    }

    #[test]
    fn a_word_is_the_beginning_of_an_id_only_where_nothing_else_fits() {
        assert_eq!(choose("0198c0de", &[ONE], false, guest()).unwrap(), DetachTarget::Id(ONE));
        assert_eq!(choose("0198c0de", &[], true, guest()).unwrap(), guest());
        assert_eq!(choose("0198c0de", &[], false, guest()).unwrap(), guest());

        let both = choose("0198c0de", &[ONE], true, guest()).unwrap_err().to_string();
        assert_eq!(
            both,
            "0198c0de could be attachment 0198c0de-0000-7000-8000-000000000001 or guest 0198c0de: give the whole id, or \
             docker:NAME or netns:NAME for a guest"
        );
        let two = choose("0198c0de", &[ONE, OTHER], false, guest()).unwrap_err().to_string();
        assert!(two.contains("000000000001 or attachment") && two.contains("000000000002:"), "{two}");
    }

    #[test]
    fn names_of_guests_are_not_looked_up_as_ids() {
        for word in ["web", "0198c0d", "docker-web", "0198C0DE"] {
            assert!(!could_begin_an_id(word), "{word}");
        }
        assert!(could_begin_an_id("0198c0de") && could_begin_an_id("0198c0de-0000-7000"));
    }

    #[test]
    fn nothing_there_is_said_and_is_no_failure() {
        assert_eq!(lines(&wire::DetachResponse::default(), false), "nothing to detach");
        assert!(is_gone(Reason::GuestNotFound) && !is_gone(Reason::GuestNotRunning));
    }
}
