//! The records in memory: found by id, by guest and name, by host end; and what changed, for those who watch.
//! The record store is the truth; this is what it says, ready to hand.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipewright_api::attachment::{Attachment, GuestIdentity, Runtime, State};
use pipewright_api::event::Event;
use pipewright_api::net::LinkName;
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::spec::GuestRef;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::engine::records::{Record, SwitchRecord};
use crate::guests::is_id;
use crate::step::{self, GuestLink, Nic, Shared, Step};

/// Changes that a watcher may be behind before it has to list again.
const REMEMBERED: usize = 1024;

/// Changes that are remembered, and those to come.
pub(crate) type Changes = (Vec<Arc<Change>>, broadcast::Receiver<Arc<Change>>);

/// A change of an attachment. It shares the record with the shelf, since an attachment with its plan is some kilobytes.
#[derive(Debug)]
pub(crate) struct Change {
    revision: u64,
    record: Arc<Record>,
    state: State,
    cause: Option<String>,
}

impl Change {
    /// Whose attachment it is.
    pub(crate) fn guest(&self) -> &GuestIdentity {
        &self.record.attachment.guest
    }

    /// What watchers are told.
    pub(crate) fn event(&self) -> Event {
        let Self { revision, record, state, cause } = self;
        let attachment = Attachment { state: *state, revision: *revision, ..record.shown() };
        Event { revision: *revision, attachment, cause: cause.clone() }
    }
}

/// All records.
#[derive(Debug)]
pub(super) struct Shelf(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    attachments: BTreeMap<Uuid, Arc<Record>>,
    keys: HashMap<(u64, LinkName), Uuid>,
    host_ends: HashMap<LinkName, Uuid>,
    lent: HashMap<LinkName, Uuid>,
    switches: BTreeMap<LinkName, Arc<SwitchRecord>>,
    revision: u64,
    changes: VecDeque<Arc<Change>>,
    watchers: broadcast::Sender<Arc<Change>>,
}

impl Shelf {
    /// An empty one. Revisions of a later generation are above those of every earlier one.
    pub(super) fn new(generation: u64) -> Self {
        Self(Mutex::new(Inner {
            attachments: BTreeMap::new(),
            keys: HashMap::new(),
            host_ends: HashMap::new(),
            lent: HashMap::new(),
            switches: BTreeMap::new(),
            revision: generation << 40,
            changes: VecDeque::new(),
            watchers: broadcast::channel(REMEMBERED).0,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts up a new attachment, unless its host end is another's. The caller holds the guest's lock.
    ///
    /// # Errors
    /// IFNAME_TAKEN; UPLINK_BUSY when one takes a link away that the other needs.
    pub(super) fn claim(&self, mut record: Record, cause: Option<&str>) -> Result<Arc<Record>, Failure> {
        let mut inner = self.lock();
        if record.first_revision == 0 {
            record.first_revision = inner.revision + 1;
        }
        let Record { attachment, .. } = &record;
        if let Some(name) = &attachment.host_ifname
            && let Some(other) = inner.host_ends.get(name).filter(|&&other| other != attachment.id)
        {
            let text = format!("host end {name} belongs to attachment {other}");
            return Err(Failure::new(Reason::IfnameTaken, text));
        }
        if let Some((link, other)) = inner.contended(&record) {
            let text = format!("{link} is in use by attachment {other}; detach that first");
            return Err(Failure::new(Reason::UplinkBusy, text).with("holder", format!("attachment {other}")));
        }
        Ok(inner.put(record, cause))
    }

    /// Puts up a changed attachment.
    pub(super) fn put(&self, record: Record, cause: Option<&str>) -> Arc<Record> {
        self.lock().put(record, cause)
    }

    /// Takes an attachment down.
    pub(super) fn remove(&self, id: Uuid, cause: Option<&str>) {
        self.lock().remove(id, cause);
    }

    /// The attachment of that id.
    pub(super) fn get(&self, id: Uuid) -> Option<Arc<Record>> {
        self.lock().attachments.get(&id).cloned()
    }

    /// The attachment of that name in a guest.
    pub(super) fn find(&self, cookie: u64, ifname: &LinkName) -> Option<Arc<Record>> {
        let inner = self.lock();
        let id = inner.keys.get(&(cookie, ifname.clone()))?;
        inner.attachments.get(id).cloned()
    }

    /// The attachment of that name that follows a guest of that id or name, wherever it is now.
    pub(super) fn of_former(&self, guest: &GuestIdentity, ifname: &LinkName) -> Option<Arc<Record>> {
        // Nothing follows guests of the others.
        if !guest.runtime.tells_of_starts() {
            return None;
        }
        let inner = self.lock();
        let is_it = |record: &&Arc<Record>| {
            let Attachment { spec, state, .. } = &record.attachment;
            // One that is attached is another's as long as its own container is there.
            let near = record.near();
            let is_own = *state == State::Waiting || near.was.id == guest.id;
            record.follows
                && spec.ifname == *ifname
                && is_own
                && near.is(guest.runtime, &guest.id, &guest.name)
        };
        inner.attachments.values().find(is_it).cloned()
    }

    /// The attachments that follow guests of a runtime.
    pub(super) fn followed(&self, runtime: Runtime) -> Vec<Arc<Record>> {
        let inner = self.lock();
        let is_it =
            |record: &&Arc<Record>| record.follows && record.ends().any(|guest| guest.was.runtime == runtime);
        inner.attachments.values().filter(is_it).cloned().collect()
    }

    /// The attachment with that host end.
    pub(super) fn by_host_end(&self, name: &str) -> Option<Arc<Record>> {
        let name: LinkName = name.parse().ok()?;
        let inner = self.lock();
        let id = inner.host_ends.get(&name)?;
        inner.attachments.get(id).cloned()
    }

    /// Every attachment, in order of ids, and the revision that they are of.
    pub(super) fn attachments(&self) -> (Vec<Arc<Record>>, u64) {
        let inner = self.lock();
        (inner.attachments.values().cloned().collect(), inner.revision)
    }

    /// How many attachments there are.
    pub(super) fn len(&self) -> usize {
        self.lock().attachments.len()
    }

    /// Whether there is an attachment without a host's end, whose going only its guest tells of.
    pub(super) fn has_any_without_host_end(&self) -> bool {
        self.lock().attachments.values().any(|record| record.attachment.host_ifname.is_none())
    }

    /// Whether anything but this attachment or switch needs something of the host. One that is being removed itself does
    /// not: of two that go at the same time, each would leave it to the other.
    pub(super) fn is_used_by_others(&self, what: Shared<'_>, but: Uuid) -> bool {
        let inner = self.lock();
        let needs = |plan: &[Step]| step::needs(plan).any(|needed| needed == what);
        let is_needed = |record: &Arc<Record>| {
            let Attachment { id, state, .. } = &record.attachment;
            let is_going = matches!(state, State::Detaching | State::Waiting);
            *id != but && !is_going && needs(&record.plan)
        };
        let is_wanted = |switch: &Arc<SwitchRecord>| {
            let is_it = matches!(what, Shared::Link(link) if switch.spec.name == *link);
            switch.id != but && (is_it || needs(&switch.plan))
        };
        inner.attachments.values().any(is_needed) || inner.switches.values().any(is_wanted)
    }

    /// Whether a linux bridge keeps VLANs apart because we switched that on.
    pub(super) fn is_filtered(&self, bridge: &LinkName) -> bool {
        let inner = self.lock();
        let filters = |plan: &[Step]| step::needs(plan).any(|needed| needed == Shared::Filtering(bridge));
        inner.attachments.values().any(|record| filters(&record.plan))
            || inner.switches.values().any(|switch| filters(&switch.plan))
    }

    /// Whether a link of the host is up because we set it up.
    pub(super) fn is_raised(&self, link: &LinkName) -> bool {
        let inner = self.lock();
        let raises = |plan: &[Step]| {
            plan.iter().any(|step| matches!(step, Step::SetHostLinkUp { link: raised } if raised == link))
        };
        inner.attachments.values().any(|record| raises(&record.plan))
            || inner.switches.values().any(|switch| raises(&switch.plan))
    }

    /// The attachments that are on a link of the host, with what they are.
    pub(super) fn on_parent(&self, link: &LinkName) -> Vec<GuestLink> {
        let inner = self.lock();
        let plans = inner.attachments.values().flat_map(|record| record.plan.iter());
        let made = plans.filter_map(|step| match step {
            Step::CreateLink(made) if made.what.parent() == Some(link) => Some(made.clone()),
            _ => None,
        });
        made.collect()
    }

    /// The lent link that is meant, with the guest that has it.
    pub(super) fn lent(&self, is_meant: impl Fn(&Nic) -> bool) -> Option<(Nic, GuestRef)> {
        let inner = self.lock();
        inner.lent.values().filter_map(|id| inner.attachments.get(id)).find_map(|record| {
            let nic = step::lent(&record.plan).filter(|nic| is_meant(nic))?;
            Some((nic.clone(), record.attachment.spec.guest.clone()))
        })
    }

    /// Puts up a switch.
    pub(super) fn put_switch(&self, switch: SwitchRecord) {
        self.lock().switches.insert(switch.spec.name.clone(), Arc::new(switch));
    }

    /// Takes a switch down.
    pub(super) fn remove_switch(&self, name: &LinkName) {
        self.lock().switches.remove(name);
    }

    /// The switch of that name.
    pub(super) fn switch(&self, name: &LinkName) -> Option<Arc<SwitchRecord>> {
        self.lock().switches.get(name).cloned()
    }

    /// Every switch.
    pub(super) fn switches(&self) -> Vec<Arc<SwitchRecord>> {
        self.lock().switches.values().cloned().collect()
    }

    /// Changes after a revision that are remembered, and those to come; none is missed between the two.
    ///
    /// # Errors
    /// RESYNC when changes after that revision were forgotten.
    pub(super) fn watch(&self, resume: Option<u64>) -> Result<Changes, Failure> {
        let inner = self.lock();
        let live = inner.watchers.subscribe();
        let after = resume.unwrap_or(inner.revision);
        // Each change has the next number, so the numbers tell whether all since are remembered.
        let oldest = inner.changes.front().map_or(inner.revision, |change| change.revision - 1);
        if after < oldest || after > inner.revision {
            let text = format!(
                "revision {after} is not known any more; list again and watch from the list's revision"
            );
            return Err(Failure::new(Reason::Resync, text));
        }
        Ok((inner.changes.iter().filter(|change| change.revision > after).cloned().collect(), live))
    }
}

impl Inner {
    /// A link that one of this and another attachment or switch takes away from the host, and the other needs.
    fn contended(&self, record: &Record) -> Option<(LinkName, Uuid)> {
        let needs = |plan: &[Step], link: &LinkName| step::needs(plan).any(|needed| needed.link() == link);
        let own = record.attachment.id;
        if let Some(nic) = step::lent(&record.plan) {
            let others = self.attachments.values().filter(|other| other.attachment.id != own);
            let by_links = others.map(|other| (other.attachment.id, other.plan.as_slice()));
            let by_switches = self.switches.values().map(|switch| (switch.id, switch.plan.as_slice()));
            let other = by_links.chain(by_switches).find(|(_, plan)| needs(plan, &nic.name));
            return other.map(|(id, _)| (nic.name.clone(), id));
        }
        if self.lent.is_empty() {
            return None;
        }
        let mut needed = step::needs(&record.plan).map(Shared::link);
        let lent = needed.find_map(|link| Some((link, self.lent.get(link)?)));
        lent.filter(|(_, other)| **other != own).map(|(link, other)| (link.clone(), *other))
    }

    fn put(&mut self, mut record: Record, cause: Option<&str>) -> Arc<Record> {
        self.revision += 1;
        record.attachment.revision = self.revision;
        // A plan grows step by step, and by half of what it needs too far. One that is shared was put up before.
        if let Some(plan) = Arc::get_mut(&mut record.plan) {
            plan.shrink_to_fit();
        }
        let record = Arc::new(record);
        if let Some(before) = self.attachments.get(&record.attachment.id).cloned() {
            self.forget(&before);
        }
        let attachment = &record.attachment;
        self.keys.extend(keys(&record).map(|key| (key, attachment.id)));
        if let Some(name) = &attachment.host_ifname {
            self.host_ends.insert(name.clone(), attachment.id);
        }
        if let Some(nic) = step::lent(&record.plan) {
            self.lent.insert(nic.name.clone(), attachment.id);
        }
        self.attachments.insert(attachment.id, Arc::clone(&record));
        self.tell(&record, attachment.state, cause);
        record
    }

    fn remove(&mut self, id: Uuid, cause: Option<&str>) {
        let Some(record) = self.attachments.remove(&id) else { return };
        self.forget(&record);
        self.revision += 1;
        self.tell(&record, State::Detached, cause);
    }

    /// Removes what it is found by.
    fn forget(&mut self, record: &Record) {
        for key in keys(record) {
            self.keys.remove(&key);
        }
        if let Some(name) = &record.attachment.host_ifname {
            self.host_ends.remove(name);
        }
        if let Some(nic) = step::lent(&record.plan) {
            self.lent.remove(&nic.name);
        }
    }

    fn tell(&mut self, record: &Arc<Record>, state: State, cause: Option<&str>) {
        let (record, cause) = (Arc::clone(record), cause.map(str::to_owned));
        let change = Arc::new(Change { revision: self.revision, record, state, cause });
        if self.changes.len() == REMEMBERED {
            self.changes.pop_front();
        }
        self.changes.push_back(Arc::clone(&change));
        // Nobody may be watching.
        let _ = self.watchers.send(change);
    }
}

/// Where its links are, and what they are called there. One that waits has none.
pub(super) fn keys(record: &Record) -> impl Iterator<Item = (u64, LinkName)> {
    let Attachment { guest, peer, spec, .. } = &record.attachment;
    let far = peer.iter().zip(&spec.peer.ifname);
    let near = std::iter::once((guest, &spec.ifname));
    let there = near.chain(far).filter(|(guest, _)| guest.netns_cookie != 0);
    there.map(|(guest, ifname)| (guest.netns_cookie, ifname.clone()))
}

/// The guest of an attachment, of either end, that a caller means, with the name of the link there.
pub(super) fn meant<'a>(guest: &GuestRef, record: &'a Record) -> Option<(&'a GuestIdentity, &'a LinkName)> {
    let Attachment { guest: near, peer, spec, .. } = &record.attachment;
    let far = peer.iter().zip(&spec.peer.ifname);
    std::iter::once((near, &spec.ifname)).chain(far).find(|(identity, _)| is_meant(guest, identity))
}

/// Whether a caller means this guest. It may be gone, so only what was recorded of it is asked.
pub fn is_meant(guest: &GuestRef, identity: &GuestIdentity) -> bool {
    let GuestIdentity { runtime, id, name, pid, .. } = identity;
    let is_of = |asked: Runtime, word: &str| *runtime == asked && goes_by(word, identity);
    match guest {
        GuestRef::Docker(word) => is_of(Runtime::Docker, word),
        GuestRef::Podman(word) => is_of(Runtime::Podman, word),
        GuestRef::Lxc(word) => is_of(Runtime::Lxc, word),
        GuestRef::Containerd(asked) => {
            let is_there = asked
                .namespace
                .as_deref()
                .is_none_or(|asked| id.split_once('/').is_some_and(|(namespace, _)| namespace == asked));
            is_there && is_of(Runtime::Containerd, &asked.id)
        }
        GuestRef::Crio(word) => is_of(Runtime::Crio, word),
        GuestRef::Machined(word) => is_of(Runtime::Machined, word),
        GuestRef::Pid(asked) => Some(*asked) == *pid,
        GuestRef::NetnsName(word) => *runtime == Runtime::Netns && word == name,
        GuestRef::NetnsPath(path) => *runtime == Runtime::Netns && path.as_os_str() == id.as_str(),
        GuestRef::Bare(word) => goes_by(word, identity),
    }
}

/// Whether a word is a guest's name, or the id of a container or a beginning of it.
fn goes_by(word: &str, identity: &GuestIdentity) -> bool {
    let GuestIdentity { runtime, id, name, .. } = identity;
    // containerd's are `NAMESPACE/ID`.
    let id = id.rsplit('/').next().unwrap_or(id);
    word == name || (runtime.has_container_ids() && is_id(word, id))
}
