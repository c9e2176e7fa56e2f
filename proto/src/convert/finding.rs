//! What a look at a host finds, and the request for it.

use super::At;
use super::agent::ANY;
use crate::finding::{Finding, FindingCode, Findings, Severity};
use crate::reason::Failure;
use crate::request::Diagnose;
use crate::wire;

impl TryFrom<wire::DiagnoseRequest> for Diagnose {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD.
    fn try_from(request: wire::DiagnoseRequest) -> Result<Self, Failure> {
        let only = At::top("attachment_id").optional(&request.attachment_id)?;
        Ok(Self { only, residue: request.residue })
    }
}

impl From<Diagnose> for wire::DiagnoseRequest {
    fn from(request: Diagnose) -> Self {
        let attachment_id = request.only.map(|id| id.to_string()).unwrap_or_default();
        Self { attachment_id, residue: request.residue }
    }
}

impl TryFrom<wire::DiagnoseResponse> for Findings {
    type Error = Failure;

    fn try_from(answer: wire::DiagnoseResponse) -> Result<Self, Failure> {
        let findings = At::top("findings").list(answer.findings, ANY, finding)?;
        Ok(Self { findings, attachments: answer.attachments })
    }
}

fn finding(at: &At<'_>, finding: wire::Finding) -> Result<Finding, Failure> {
    Ok(Finding {
        // One from a newer contract is a finding all the same.
        code: FindingCode::try_from(finding.code).unwrap_or(FindingCode::Unspecified),
        severity: Severity::try_from(finding.severity).unwrap_or(Severity::Unspecified),
        object: finding.object,
        text: finding.text,
        advice: finding.advice,
        attachment: at.field("attachment_id").optional(&finding.attachment_id)?,
    })
}

impl From<Findings> for wire::DiagnoseResponse {
    fn from(found: Findings) -> Self {
        let findings = found.findings.into_iter().map(wire::Finding::from).collect();
        Self { findings, attachments: found.attachments }
    }
}

impl From<Finding> for wire::Finding {
    fn from(finding: Finding) -> Self {
        Self {
            code: finding.code.into(),
            severity: finding.severity.into(),
            object: finding.object,
            text: finding.text,
            advice: finding.advice,
            attachment_id: finding.attachment.map(|id| id.to_string()).unwrap_or_default(),
        }
    }
}
