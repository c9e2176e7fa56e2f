//! The leases of this host's attachments, in memory: what the steps of one attachment tell each other. What outlives the
//! agent is in its records.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::dhcp::lease::Lease;

/// Leases by attachment.
#[derive(Debug, Clone, Default)]
pub struct Leases(Arc<Mutex<HashMap<Uuid, Entry>>>);

#[derive(Debug, Default)]
struct Entry {
    /// What a server gave.
    given: Option<Lease>,
    /// What the guest's link was given, or is being given.
    applied: Option<Lease>,
}

impl Leases {
    fn entries(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        // Each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an earlier agent had got and applied.
    pub fn recall(&self, id: Uuid, lease: Lease) {
        self.entries().insert(id, Entry { given: Some(lease.clone()), applied: Some(lease) });
    }

    /// What the server gave last.
    pub fn given(&self, id: Uuid) -> Option<Lease> {
        self.entries().get(&id)?.given.clone()
    }

    /// A server gave this, or what it gave is not ours any more.
    pub fn give(&self, id: Uuid, lease: Option<Lease>) {
        self.entries().entry(id).or_default().given = lease;
    }

    pub(super) fn applied(&self, id: Uuid) -> Option<Lease> {
        self.entries().get(&id)?.applied.clone()
    }

    pub(super) fn apply(&self, id: Uuid, lease: Option<Lease>) {
        self.entries().entry(id).or_default().applied = lease;
    }

    /// The attachment is gone.
    pub fn forget(&self, id: Uuid) {
        self.entries().remove(&id);
    }
}
