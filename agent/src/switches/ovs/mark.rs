//! What is ours, as OVSDB shows it: keys of `external_ids`, set in the transaction that makes the row.

use pipewright_api::labels::Labels;
use uuid::Uuid;

use super::Purpose;
use crate::ovsdb::Value;
use crate::ovsdb::value::StringMap;

/// On ports and interfaces: the attachment's id.
pub(super) const ID: &str = "pipewright-id";
/// On ports: what the port is for.
const PURPOSE: &str = "pipewright-purpose";
/// On bridges that we made.
const OWNER: &str = "pipewright-owner";
/// The value of [`OWNER`].
const BRIDGE: &str = "bridge";
/// Longest list of foreign marks that is kept for messages, in characters.
const FOREIGN_MAX: usize = 120;

/// `external_ids` of an attachment's interface: ours, and what its caller noted.
pub(super) fn interface(id: Uuid, labels: &Labels) -> Value {
    let labels = labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    Value::map(labels.chain([(ID.to_owned(), id.to_string())]))
}

/// The condition that a row carries an attachment's id.
pub(super) fn id(id: Uuid) -> Value {
    Value::map([(ID, id.to_string())])
}

/// `external_ids` of an attachment's port.
pub(super) fn port(id: Uuid, purpose: Purpose) -> Value {
    Value::map([(ID, id.to_string()), (PURPOSE, purpose.as_str().to_owned())])
}

/// `external_ids` of a bridge of ours.
pub(super) fn bridge() -> Value {
    Value::map([(OWNER, BRIDGE)])
}

/// Whether these `external_ids` are of a bridge of ours.
pub(super) fn is_our_bridge(marks: &StringMap) -> bool {
    marks.0.get(OWNER).is_some_and(|owner| owner == BRIDGE)
}

/// The attachment that these `external_ids` name.
pub(super) fn id_of(marks: &StringMap) -> Option<Uuid> {
    marks.0.get(ID)?.parse().ok()
}

/// What these `external_ids` say that the port is for.
pub(super) fn purpose_of(marks: &StringMap) -> Option<Purpose> {
    let purpose = marks.0.get(PURPOSE)?;
    [Purpose::Guest, Purpose::Uplink].into_iter().find(|p| p.as_str() == purpose)
}

/// Whose a row is that is not ours, for messages.
pub(super) fn foreign(marks: &StringMap) -> Box<str> {
    let list: Vec<String> = marks.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
    list.join(" ").chars().take(FOREIGN_MAX).collect()
}
