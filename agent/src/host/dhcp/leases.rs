//! The leases of this host's attachments, in memory: what the steps of one attachment tell each other. What outlives the
//! agent is in its records.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::dhcp::given::{Family, Given};

/// Leases by attachment and protocol.
#[derive(Debug, Clone, Default)]
pub struct Leases(Arc<Mutex<HashMap<(Uuid, Family), Entry>>>);

#[derive(Debug, Default)]
struct Entry {
    /// What a server gave.
    given: Option<Given>,
    /// What the guest's link was given, or is being given.
    applied: Option<Given>,
}

impl Leases {
    fn entries(&self) -> MutexGuard<'_, HashMap<(Uuid, Family), Entry>> {
        // Each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an earlier agent had got and applied.
    pub fn recall(&self, id: Uuid, lease: &Given) {
        let entry = Entry { given: Some(lease.clone()), applied: Some(lease.clone()) };
        self.entries().insert((id, lease.family()), entry);
    }

    /// What the server gave last.
    pub fn given(&self, id: Uuid, family: Family) -> Option<Given> {
        self.entries().get(&(id, family))?.given.clone()
    }

    /// A server gave this, or what it gave is not ours any more.
    pub fn give(&self, id: Uuid, family: Family, lease: Option<Given>) {
        self.entries().entry((id, family)).or_default().given = lease;
    }

    pub(super) fn applied(&self, id: Uuid, family: Family) -> Option<Given> {
        self.entries().get(&(id, family))?.applied.clone()
    }

    pub(super) fn apply(&self, id: Uuid, family: Family, lease: Option<Given>) {
        self.entries().entry((id, family)).or_default().applied = lease;
    }

    /// The attachment is gone.
    pub fn forget(&self, id: Uuid, family: Family) {
        self.entries().remove(&(id, family));
    }
}
