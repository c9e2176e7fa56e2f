//! What is recorded of an attachment and of a switch.

use std::sync::Arc;
use std::time::SystemTime;

use pipewright_api::attachment::Attachment;
use pipewright_api::spec::{AttachmentSpec, FleetName, SwitchSpec};
use pipewright_api::traffic::Traffic;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::dhcp::Moment;
use crate::dhcp::given::Given;
use crate::step::Step;

/// An attachment with what is needed to take it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What callers see, but for the lines of the plan, see [`Record::shown`].
    pub attachment: Attachment,
    /// The spec to the letter, to tell whether another request asks for the same. The versions of a record share it.
    pub asked: Arc<AttachmentSpec>,
    /// The steps that make it. The versions of a record share them.
    pub plan: Arc<Vec<Step>>,
    /// The request that is making or removing it.
    pub request: Uuid,
    /// The number of the guest's namespace in the host's, for a link without a host's end: by it the link is seen, and its
    /// guest's death.
    #[serde(default)]
    pub netns_id: Option<i32>,
    /// What DHCP servers gave, at most one a protocol.
    #[serde(default)]
    pub leases: Vec<Given>,
    /// What is being added to the link, or removed; after a crash it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changing: Option<Traffic>,
    /// It was attached once, and outlives its guest.
    #[serde(default)]
    pub follows: bool,
    /// Since when its runtime knows no guest of that id or name; only while it waits, and until the host starts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_since: Option<Moment>,
    /// Since when it waits, for people; `None` unless it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_since: Option<SystemTime>,
    /// The revision with which it was first put up: of two attachments the later one has the higher, whatever the time of
    /// day was then.
    #[serde(default)]
    pub first_revision: u64,
}

impl Record {
    /// The attachment as callers see it.
    pub fn shown(&self) -> Attachment {
        let plan = self.plan.iter().map(ToString::to_string).collect();
        Attachment { plan, ..self.attachment.clone() }
    }
}

/// A bridge that a fleet wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchRecord {
    /// Marks its ports in Open vSwitch.
    pub id: Uuid,
    /// Whose it is.
    pub fleet: FleetName,
    /// As last applied.
    pub spec: SwitchSpec,
    /// The steps that made it.
    pub plan: Vec<Step>,
}
