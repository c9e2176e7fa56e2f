//! `pwctl doctor` and `pwctl check`.

use std::process::ExitCode;

use clap::Args;
use pipewright_api::finding::{FindingCode, Severity};
use pipewright_api::request::{Diagnose, ListFilter};
use pipewright_api::wire;
use uuid::Uuid;

use crate::args::Global;
use crate::connect;
use crate::explain::Failed;
use crate::output;
use crate::table::clean;

/// Say what is wrong on a host, and what to do about it
///
/// Compares every attachment with what is there, and looks at what the agent needs of its host. Nothing is changed. Exits
/// with 1 when there is an error, with 0 when there is none or only warnings.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pwctl doctor
  pwctl doctor -o json | jq -r '.findings[] | [.code, .object] | @tsv'
  Whatever is left of attachments that nobody knows any more:
    pwctl doctor --residue")]
pub(crate) struct Doctor {
    /// Only what carries our mark and belongs to no record, and records without their link
    #[arg(long)]
    residue: bool,
}

/// Say what is wrong with an attachment, or with all of them
///
/// As `pwctl doctor`, which without an id this is. Nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pwctl check
  pwctl check 0198c0de")]
pub(crate) struct Check {
    /// An attachment's id, or the beginning of one
    #[arg(value_name = "ID")]
    id: Option<String>,
}

impl Doctor {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode, Failed> {
        diagnose(Diagnose { only: None, residue: self.residue }, global).await
    }
}

impl Check {
    pub(crate) async fn run(self, global: &Global) -> Result<ExitCode, Failed> {
        let only = match &self.id {
            None => None,
            Some(text) => Some(meant(text, global).await?),
        };
        diagnose(Diagnose { only, residue: false }, global).await
    }
}

/// The one attachment whose id begins so.
async fn meant(text: &str, global: &Global) -> Result<Uuid, Failed> {
    if let Ok(id) = Uuid::try_parse(text) {
        return Ok(id);
    }
    let listing = connect::client(global)?.list(&ListFilter::default()).await?;
    let ids: Vec<Uuid> = listing.attachments.iter().map(|attachment| attachment.id).collect();
    let begins: Vec<&Uuid> = ids.iter().filter(|id| id.to_string().starts_with(text)).collect();
    match begins[..] {
        [id] => Ok(*id),
        [] => Err(Failed::Because(format!("no attachment's id begins with {text}; see `pwctl list`"))),
        _ => Err(Failed::Because(format!(
            "{} attachments' ids begin with {text}; write more of it",
            begins.len()
        ))),
    }
}

async fn diagnose(asked: Diagnose, global: &Global) -> Result<ExitCode, Failed> {
    let answer: wire::DiagnoseResponse = connect::client(global)?.diagnose(asked).await?.into();
    output::answer(global.output, &answer, lines)?;
    let is_error = |finding: &wire::Finding| finding.severity() == Severity::Error;
    Ok(if answer.findings.iter().any(is_error) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn lines(answer: &wire::DiagnoseResponse) -> String {
    let looked_at = format!("{} attachments looked at", answer.attachments);
    if answer.findings.is_empty() {
        return format!("nothing is wrong; {looked_at}");
    }
    let blocks = answer.findings.iter().map(|finding| {
        let code = FindingCode::try_from(finding.code).unwrap_or(FindingCode::Unspecified).name();
        let whose = match finding.attachment_id.as_str() {
            "" => String::new(),
            id => format!(" (attachment {id})"),
        };
        let wire::Finding { object, text, advice, .. } = finding;
        clean(&format!("{}: {object}: {text} [{code}]{whose}\n  {advice}", finding.severity().word()))
    });
    let mut blocks: Vec<String> = blocks.collect();
    blocks.push(format!("{} found; {looked_at}", answer.findings.len()));
    blocks.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_what_is_wrong_and_what_to_do() {
        let finding = wire::Finding {
            code: FindingCode::LinkDown.into(),
            severity: Severity::Error.into(),
            object: "link eth1 in docker:web".to_owned(),
            text: "is down".to_owned(),
            advice: "set it up".to_owned(),
            attachment_id: String::new(),
        };
        let text = lines(&wire::DiagnoseResponse { findings: vec![finding], attachments: 2 });

        assert_eq!(
            text,
            "error: link eth1 in docker:web: is down [LINK_DOWN]\n  set it up\n1 found; 2 attachments looked at"
        );
        assert_eq!(lines(&wire::DiagnoseResponse::default()), "nothing is wrong; 0 attachments looked at");
    }
}
