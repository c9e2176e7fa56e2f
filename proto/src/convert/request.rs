//! Requests.

use uuid::Uuid;

use super::At;
use super::spec::IFNAME_DEFAULT;
use super::time::duration;
use crate::condition::Condition;
use crate::reason::Failure;
use crate::request::{
    Apply, Attach, Detach, DetachTarget, GetOperation, List, ListFilter, PAGE_SIZE_MAX, WAIT_DEFAULT,
    WAIT_MAX, Wait, Watch,
};
use crate::wire;
use crate::wire::detach_request::Target;

/// The versions of UUIDs that callers can make anew for each request: random (4) and by time (7).
const REQUEST_ID_VERSIONS: [usize; 2] = [4, 7];

/// An id that nobody else uses, which a version that is derived from something cannot promise.
pub(super) fn request_id(text: &str) -> Result<Uuid, Failure> {
    let at = At::top("request_id");
    let id: Uuid = at.required(text)?;
    let is_new = id.get_variant() == uuid::Variant::RFC4122;
    match is_new && REQUEST_ID_VERSIONS.contains(&id.get_version_num()) {
        true => Ok(id),
        false => {
            Err(at.refuse(format_args!("{id} is a UUID of another kind: use version 4 or 7 (RFC 9562)")))
        }
    }
}

impl TryFrom<wire::AttachRequest> for Attach {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD.
    fn try_from(request: wire::AttachRequest) -> Result<Self, Failure> {
        Ok(Self {
            request_id: request_id(&request.request_id)?,
            spec: At::top("spec").present(request.spec)?.try_into()?,
            dry_run: request.dry_run,
        })
    }
}

impl From<Attach> for wire::AttachRequest {
    fn from(request: Attach) -> Self {
        Self {
            request_id: request.request_id.to_string(),
            spec: Some(request.spec.into()),
            dry_run: request.dry_run,
        }
    }
}

impl TryFrom<wire::DetachRequest> for Detach {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD.
    fn try_from(request: wire::DetachRequest) -> Result<Self, Failure> {
        let at = At::top("link");
        let target = match request.target {
            None => Err(At::top("target").refuse("it is required: give an attachment's id or a guest")),
            Some(Target::Id(id)) => Ok(DetachTarget::Id(At::top("id").required(&id)?)),
            Some(Target::Link(link)) => Ok(DetachTarget::Guest {
                guest: at.field("guest").required(&link.guest)?,
                ifname: at.field("ifname").optional(&link.ifname)?,
            }),
        };
        Ok(Self { request_id: request_id(&request.request_id)?, target: target?, dry_run: request.dry_run })
    }
}

impl From<Detach> for wire::DetachRequest {
    fn from(request: Detach) -> Self {
        Self {
            request_id: request.request_id.to_string(),
            target: Some(match request.target {
                DetachTarget::Id(id) => Target::Id(id.to_string()),
                DetachTarget::Guest { guest, ifname } => Target::Link(wire::GuestLink {
                    guest: guest.to_string(),
                    ifname: ifname.map(String::from).unwrap_or_default(),
                }),
            }),
            dry_run: request.dry_run,
        }
    }
}

impl TryFrom<wire::ListRequest> for List {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD.
    fn try_from(request: wire::ListRequest) -> Result<Self, Failure> {
        let at_token = At::top("page_token");
        Ok(Self {
            filter: ListFilter {
                guest: At::top("guest").optional(&request.guest)?,
                bridge: At::top("bridge").optional(&request.bridge)?,
                fleet: At::top("fleet").optional(&request.fleet)?,
                id: At::top("id").optional(&request.id)?,
            },
            page_size: match request.page_size {
                0 => PAGE_SIZE_MAX,
                size @ 1..=PAGE_SIZE_MAX => size,
                size => {
                    let why = format_args!("{size} is too many at once: use 1 to {PAGE_SIZE_MAX}");
                    return Err(At::top("page_size").refuse(why));
                }
            },
            after: at_token.optional(&request.page_token).map_err(|_| {
                at_token.refuse("it is not ours: pass next_page_token of the page before, unchanged")
            })?,
        })
    }
}

impl From<List> for wire::ListRequest {
    fn from(request: List) -> Self {
        let filter = request.filter;
        Self {
            guest: filter.guest.map(String::from).unwrap_or_default(),
            bridge: filter.bridge.map(String::from).unwrap_or_default(),
            fleet: filter.fleet.map(String::from).unwrap_or_default(),
            id: filter.id.map(|id| id.to_string()).unwrap_or_default(),
            page_size: request.page_size,
            page_token: request.after.map(|id| id.to_string()).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::WaitRequest> for Wait {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD.
    fn try_from(request: wire::WaitRequest) -> Result<Self, Failure> {
        let ifname = if request.ifname.is_empty() { IFNAME_DEFAULT } else { &request.ifname };
        let at_timeout = At::top("timeout");
        let timeout = duration(request.timeout, &at_timeout)?.unwrap_or(WAIT_DEFAULT);
        if timeout.is_zero() || timeout > WAIT_MAX {
            let why = format_args!("{timeout:?} is no time to wait: use more than 0 s and at most 1 h");
            return Err(at_timeout.refuse(why));
        }
        Ok(Self {
            guest: At::top("guest").required(&request.guest)?,
            ifname: At::top("ifname").required(ifname)?,
            condition: condition(request.condition)?,
            timeout,
        })
    }
}

fn condition(value: i32) -> Result<Condition, Failure> {
    let known = At::top("condition").variant::<wire::Condition>(value, "up, carrier, address and gateway")?;
    Ok(match known {
        None | Some(wire::Condition::Unspecified | wire::Condition::Up) => Condition::Up,
        Some(wire::Condition::Carrier) => Condition::Carrier,
        Some(wire::Condition::Address) => Condition::Address,
        Some(wire::Condition::Gateway) => Condition::Gateway,
    })
}

impl From<Wait> for wire::WaitRequest {
    fn from(request: Wait) -> Self {
        Self {
            guest: request.guest.into(),
            ifname: request.ifname.into(),
            condition: wire::Condition::from(request.condition).into(),
            timeout: Some(request.timeout.into()),
        }
    }
}

impl From<Condition> for wire::Condition {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::Up => Self::Up,
            Condition::Carrier => Self::Carrier,
            Condition::Address => Self::Address,
            Condition::Gateway => Self::Gateway,
        }
    }
}

impl TryFrom<wire::WatchRequest> for Watch {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD.
    fn try_from(request: wire::WatchRequest) -> Result<Self, Failure> {
        Ok(Self {
            resume: Some(request.resume_revision).filter(|revision| *revision != 0),
            guest: At::top("guest").optional(&request.guest)?,
        })
    }
}

impl From<Watch> for wire::WatchRequest {
    fn from(request: Watch) -> Self {
        Self {
            resume_revision: request.resume.unwrap_or(0),
            guest: request.guest.map(String::from).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::GetOperationRequest> for GetOperation {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD.
    fn try_from(request: wire::GetOperationRequest) -> Result<Self, Failure> {
        Ok(Self { request_id: request_id(&request.request_id)? })
    }
}

impl From<GetOperation> for wire::GetOperationRequest {
    fn from(request: GetOperation) -> Self {
        Self { request_id: request.request_id.to_string() }
    }
}

impl TryFrom<wire::ApplyRequest> for Apply {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD.
    fn try_from(request: wire::ApplyRequest) -> Result<Self, Failure> {
        Ok(Self {
            request_id: request_id(&request.request_id)?,
            spec: At::top("spec").present(request.spec)?.try_into()?,
            dry_run: request.dry_run,
        })
    }
}

impl From<Apply> for wire::ApplyRequest {
    fn from(request: Apply) -> Self {
        Self {
            request_id: request.request_id.to_string(),
            spec: Some(request.spec.into()),
            dry_run: request.dry_run,
        }
    }
}
