//! What can be asked of an agent, each call as one type that is complete: defaults are filled in, ids are parsed.

use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use crate::condition::Condition;
use crate::net::LinkName;
use crate::spec::{AttachmentSpec, FleetName, GuestRef, HostSpec};
use crate::tool::ToolLine;
use crate::traffic::Traffic;

/// Most attachments that one page of a list can hold, and how many it holds when the caller does not say.
pub const PAGE_SIZE_MAX: u32 = 1000;
/// How long a wait lasts when the caller does not say.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// The longest wait.
pub const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Plug a link into a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    /// Chosen by the caller; the same id gives the same answer for ever.
    pub request_id: Uuid,
    /// What is wanted.
    pub spec: AttachmentSpec,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Look for what is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Diagnose {
    /// Only this attachment; `None`: every one, and the host.
    pub only: Option<Uuid>,
    /// Only what carries our mark and belongs to no record, and records without their link.
    pub residue: bool,
}

/// Take links out of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detach {
    /// Chosen by the caller.
    pub request_id: Uuid,
    /// Which links.
    pub target: DetachTarget,
    /// Only say what would be undone.
    pub dry_run: bool,
}

/// Which links to take out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DetachTarget {
    /// One attachment.
    Id(Uuid),
    /// Those of a guest.
    Guest {
        /// Also found by what was recorded of it, when it is gone.
        guest: GuestRef,
        /// `None`: all of ours.
        ifname: Option<LinkName>,
    },
}

/// Which attachments to list: those that fit every field that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Of this guest.
    pub guest: Option<GuestRef>,
    /// On this bridge.
    pub bridge: Option<LinkName>,
    /// Of this fleet.
    pub fleet: Option<FleetName>,
    /// This one.
    pub id: Option<Uuid>,
}

/// One page of the attachments, in order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Which attachments.
    pub filter: ListFilter,
    /// At most this many, 1 to [`PAGE_SIZE_MAX`].
    pub page_size: u32,
    /// Those after this id; `None`: from the first.
    pub after: Option<Uuid>,
}

/// Wait until a link in a guest is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Whose link.
    pub guest: GuestRef,
    /// Its name in the guest; it need not be ours.
    pub ifname: LinkName,
    /// What must hold.
    pub condition: Condition,
    /// Above zero, at most [`WAIT_MAX`].
    pub timeout: Duration,
}

/// Watch attachments change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    /// Changes after this revision; `None`: from now on.
    pub resume: Option<u64>,
    /// Of this guest; `None`: of all.
    pub guest: Option<GuestRef>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetOperation {
    /// The id that the request carried.
    pub request_id: Uuid,
}

/// Which guest a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Find {
    /// The name.
    pub guest: GuestRef,
}

/// Run a tool in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTool {
    /// Chosen by the caller.
    pub request_id: Uuid,
    /// Where.
    pub guest: GuestRef,
    /// What.
    pub line: ToolLine,
}

/// A link of ours in a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrafficTarget {
    /// Whose link.
    pub guest: GuestRef,
    /// Its name in the guest.
    pub ifname: LinkName,
}

/// Add what steers traffic to a link of ours, or remove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeTraffic {
    /// Chosen by the caller.
    pub request_id: Uuid,
    /// Which link.
    pub target: TrafficTarget,
    /// What.
    pub traffic: Traffic,
}

/// What steers a guest's traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListTraffic {
    /// Whose.
    pub guest: GuestRef,
}

/// Make the host look like a fleet's document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apply {
    /// Chosen by the caller.
    pub request_id: Uuid,
    /// What is wanted of the host.
    pub spec: HostSpec,
    /// Only say what would change.
    pub dry_run: bool,
}
