//! What was decided, as a record that says all of it; and whether another request asks for the same.

use std::sync::Arc;
use std::time::SystemTime;

use pipewright_api::attachment::{Attachment, GuestIdentity, State};
use pipewright_api::net::LinkName;
use pipewright_api::spec::AttachmentSpec;
use uuid::Uuid;

use crate::engine::attach::Wish;
use crate::engine::records::Record;
use crate::guests::container_by_name;
use crate::kinds::Decision;
use crate::step::{GuestTraffic, Step};

/// What is asked for, compared with an attachment: to ask for what it got by itself is to ask for the same.
pub(super) fn asked_again(spec: &AttachmentSpec, record: &Record) -> AttachmentSpec {
    fn compared<T: Clone + PartialEq>(now: &Option<T>, first: &Option<T>, got: &Option<T>) -> Option<T> {
        now.clone().filter(|_| first.is_some() || now != got)
    }
    let (first, got) = (&record.asked, &record.attachment.spec);
    AttachmentSpec {
        guest: first.guest.clone(),
        kind: compared(&spec.kind, &first.kind, &got.kind),
        host_ifname: compared(&spec.host_ifname, &first.host_ifname, &got.host_ifname),
        mac: compared(&spec.mac, &first.mac, &got.mac),
        mtu: compared(&spec.mtu, &first.mtu, &got.mtu),
        ..spec.clone()
    }
}

/// All there is to say of an attachment that is about to be made; `far` is the guest at the other end, and its link there.
pub(super) fn record(
    id: Uuid,
    wish: &Wish,
    guest: GuestIdentity,
    far: Option<(GuestIdentity, LinkName)>,
    decision: Decision,
) -> Record {
    let Decision { plan, kind, mode, host_end, mac, mtu } = decision;
    let mut spec = AttachmentSpec {
        kind: Some(kind),
        mode,
        host_ifname: host_end.clone(),
        mac,
        mtu,
        ..wish.spec.clone()
    };
    let (peer, peer_ifname) = far.unzip();
    spec.peer.ifname = peer_ifname;
    let mut asked = wish.spec.clone();
    if wish.origin.is_some() {
        // Its container was found by id. The next one of its name may say the same.
        asked.guest = container_by_name(&guest);
        spec.guest.clone_from(&asked.guest);
    }
    let attachment = Attachment {
        id,
        spec,
        state: State::Attaching,
        guest,
        host_ifname: host_end,
        mac,
        mtu,
        fleet: wish.fleet.clone(),
        created_at: SystemTime::now(),
        revision: 0,
        plan: Vec::new(),
        observed: None,
        leftovers: Vec::new(),
        lease: None,
        peer,
        lease6: None,
        traffic: Vec::new(),
        waiting: String::new(),
        drift: Vec::new(),
        origin: wish.origin.clone().map(Box::new),
    };
    Record {
        attachment,
        asked: Arc::new(asked),
        plan: Arc::new(plan),
        request: wish.request,
        netns_id: None,
        leases: Vec::new(),
        changing: None,
        follows: false,
        missed_since: None,
        waits_since: None,
        first_revision: 0,
    }
}

/// Makes a record, of an attachment that waited for its guest, the next part of its life.
pub(super) fn go_on(record: &mut Record, before: &Record) {
    let Attachment { spec, created_at, traffic, .. } = &mut record.attachment;
    // How its guests are called is the caller's choice; by which id they were found now is not.
    record.asked = Arc::clone(&before.asked);
    spec.guest.clone_from(&before.asked.guest);
    spec.uplink.clone_from(&before.asked.uplink);
    *created_at = before.attachment.created_at;
    traffic.clone_from(&before.attachment.traffic);
    let added = traffic.iter().map(|added| Step::AddTraffic(GuestTraffic::over(&spec.ifname, added)));
    Arc::make_mut(&mut record.plan).extend(added);
    record.follows = before.follows;
    // Until it is attached it may have to wait on.
    record.waits_since = before.waits_since;
    record.first_revision = before.first_revision;
}
