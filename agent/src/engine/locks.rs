//! One mutation at a time in a guest; bridges are made by many at once but released by one alone.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use pipewright_api::attachment::Attachment;
use pipewright_api::net::LinkName;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use uuid::Uuid;

/// Unheld locks are forgotten when there are more than this.
const KEPT: usize = 4096;

/// The locks of one host.
#[derive(Debug, Default)]
pub struct Locks {
    guests: Map<u64>,
    bridges: Map<LinkName>,
    records: Map<Uuid>,
    looks: Map<Uuid>,
}

/// When the holder of a lock last let go of it; `None` while nobody did.
type LastChange = Option<Instant>;

#[derive(Debug)]
struct Map<K>(Mutex<Entries<K>>);

#[derive(Debug)]
struct Entries<K> {
    locks: HashMap<K, Arc<RwLock<LastChange>>>,
    /// When locks were last forgotten, and with them when they were let go of.
    forgotten: LastChange,
}

impl<K> Default for Map<K> {
    fn default() -> Self {
        Self(Mutex::new(Entries { locks: HashMap::new(), forgotten: None }))
    }
}

impl<K: Eq + Hash> Map<K> {
    fn get(&self, key: K) -> Arc<RwLock<LastChange>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.locks.len() > KEPT {
            entries.locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            entries.forgotten = Some(Instant::now());
        }
        let forgotten = entries.forgotten;
        Arc::clone(entries.locks.entry(key).or_insert_with(|| Arc::new(RwLock::new(forgotten))))
    }
}

/// Held by the one that changes a guest.
#[derive(Debug)]
pub struct GuestLock(OwnedRwLockWriteGuard<LastChange>);

impl GuestLock {
    /// Whether the guest was changed since; what was read of it before that is stale.
    pub fn changed_since(&self, moment: Instant) -> bool {
        self.0.is_some_and(|changed| changed >= moment)
    }
}

impl Drop for GuestLock {
    fn drop(&mut self) {
        *self.0 = Some(Instant::now());
    }
}

/// Held while a bridge must stay.
#[derive(Debug)]
pub struct BridgeUse(#[expect(dead_code, reason = "held, not read")] OwnedRwLockReadGuard<LastChange>);

/// Held by the one that may delete a bridge.
#[derive(Debug)]
pub struct BridgeRelease(#[expect(dead_code, reason = "held, not read")] OwnedRwLockWriteGuard<LastChange>);

impl Locks {
    /// Waits for the guest with that netns cookie.
    pub async fn guest(&self, cookie: u64) -> GuestLock {
        GuestLock(self.guests.get(cookie).write_owned().await)
    }

    /// Waits for all guests with these cookies. Everybody takes them in their order, so nobody waits in a circle.
    pub async fn guests(&self, cookies: BTreeSet<u64>) -> Vec<GuestLock> {
        let mut locks = Vec::with_capacity(cookies.len());
        for cookie in cookies {
            locks.push(self.guest(cookie).await);
        }
        locks
    }

    /// Waits for the guests of an attachment, and then for the attachment itself, whose guests may not be there.
    pub async fn ends(&self, attachment: &Attachment) -> Vec<GuestLock> {
        let mut locks = self.guests(cookies(attachment)).await;
        locks.push(self.record(attachment.id).await);
        locks
    }

    /// Waits for an attachment. Whoever holds it waits for no guest.
    pub async fn record(&self, id: Uuid) -> GuestLock {
        GuestLock(self.records.get(id).write_owned().await)
    }

    /// Waits until nobody looks where the guest of an attachment is. It is taken before all others.
    pub async fn look(&self, id: Uuid) -> GuestLock {
        GuestLock(self.looks.get(id).write_owned().await)
    }

    /// Keeps the bridge from being released.
    pub async fn use_bridge(&self, bridge: &LinkName) -> BridgeUse {
        BridgeUse(self.bridges.get(bridge.clone()).read_owned().await)
    }

    /// Keeps bridges and other links of the host from being released. Everybody takes them in the order of their names, and
    /// whoever releases one holds no other, so nobody waits in a circle.
    pub async fn use_links(&self, links: BTreeSet<LinkName>) -> Vec<BridgeUse> {
        let mut uses = Vec::with_capacity(links.len());
        for link in links {
            uses.push(self.use_bridge(&link).await);
        }
        uses
    }

    /// Waits until nobody uses the bridge.
    pub async fn release_bridge(&self, bridge: &LinkName) -> BridgeRelease {
        BridgeRelease(self.bridges.get(bridge.clone()).write_owned().await)
    }
}

/// The guests of an attachment that run.
pub(super) fn cookies(attachment: &Attachment) -> BTreeSet<u64> {
    let guests = std::iter::once(&attachment.guest).chain(&attachment.peer);
    guests.map(|guest| guest.netns_cookie).filter(|cookie| *cookie != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_guest_that_was_changed_meanwhile_is_known_as_such() {
        let locks = Locks::default();
        let before = Instant::now();

        let first = locks.guest(7).await;
        let fresh = !first.changed_since(before);
        drop(first);
        let second = locks.guest(7).await;
        let other = locks.guest(8).await;

        assert!(fresh && second.changed_since(before) && !other.changed_since(before));
    }
}
