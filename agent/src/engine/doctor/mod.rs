//! Doctor: what is wrong on this host and with its attachments, and what to do about it. It looks, and takes no step.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use pipewright_api::finding::{Finding, FindingCode, Findings, Severity};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::Diagnose;
use uuid::Uuid;

use super::Engine;
use crate::engine::records::Record;
use crate::host::Host;

mod attachment;
mod machine;
mod residue;
mod switches;

/// Attachments that are looked at together.
const AT_ONCE: usize = 8;

impl<H: Host> Engine<H> {
    /// Looks at everything, at one attachment, or for residue only.
    ///
    /// # Errors
    /// ATTACHMENT_NOT_FOUND; INTERNAL when the kernel does not list its links.
    pub async fn diagnose(&self, asked: Diagnose) -> Result<Findings, Failure> {
        let records = match asked.only {
            Some(id) => vec![self.shelf.get(id).ok_or_else(|| not_found(id))?],
            None => self.shelf.attachments().0,
        };
        let mut findings = self.look_at_attachments(&records).await?;
        if asked.residue {
            findings.retain(|finding| is_phantom(finding.code));
        }
        if asked.only.is_none() {
            findings.extend(self.residue().await?);
        }
        if asked.only.is_none() && !asked.residue {
            findings.extend(self.look_at_machine().await);
            findings.extend(self.look_at_switches().await?);
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Ok(Findings { findings, attachments: u32::try_from(records.len()).unwrap_or(u32::MAX) })
    }

    async fn look_at_attachments(&self, records: &[Arc<Record>]) -> Result<Vec<Finding>, Failure> {
        let links = self.links().await?;
        let links = &links;
        let look = |record: Arc<Record>| async move { self.examine(&record, links).await };
        let looks = stream::iter(records.to_vec()).map(look).buffered(AT_ONCE);
        Ok(looks.collect::<Vec<_>>().await.concat())
    }
}

/// Whether it says that a record's object is not there.
fn is_phantom(code: FindingCode) -> bool {
    matches!(
        code,
        FindingCode::LinkMissing
            | FindingCode::PortMissing
            | FindingCode::GuestUnreachable
            | FindingCode::Incomplete
            | FindingCode::NotKnown
    )
}

fn not_found(id: Uuid) -> Failure {
    Failure::new(Reason::AttachmentNotFound, format!("there is no attachment {id}; see `pwctl list`"))
}

/// A finding about the host itself.
fn finding(
    code: FindingCode,
    severity: Severity,
    object: impl Into<String>,
    text: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding {
        code,
        severity,
        object: object.into(),
        text: text.into(),
        advice: advice.into(),
        attachment: None,
    }
}
