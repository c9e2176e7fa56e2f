//! An attachment as the agent keeps it.

use std::net::IpAddr;

use super::At;
use super::fit::LIST_MAX;
use super::spec::attachment_spec;
use super::time::{timestamp, to_timestamp};
use super::traffic;
use crate::attachment::{Attachment, Drift, GuestIdentity, ObservedLink, Origin, State};
use crate::dhcp::Lease;
use crate::net::Mtu;
use crate::reason::Failure;
use crate::wire;

impl TryFrom<wire::Attachment> for Attachment {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD for what cannot be parsed; paths begin with `attachment`.
    fn try_from(attachment: wire::Attachment) -> Result<Self, Failure> {
        parse(attachment, &At::top("attachment"))
    }
}

pub(super) fn parse(attachment: wire::Attachment, at: &At<'_>) -> Result<Attachment, Failure> {
    let at_spec = at.field("spec");
    let at_guest = at.field("guest");
    Ok(Attachment {
        id: at.field("id").required(&attachment.id)?,
        spec: attachment_spec(at_spec.present(attachment.spec)?, &at_spec)?,
        state: state(attachment.state, &at.field("state"))?,
        guest: guest(at_guest.present(attachment.guest)?, &at_guest)?,
        host_ifname: at.field("host_ifname").optional(&attachment.host_ifname)?,
        mac: at.field("mac").optional(&attachment.mac)?,
        mtu: match attachment.mtu {
            0 => None,
            bytes => Some(at.field("mtu").number::<Mtu>(bytes)?),
        },
        fleet: at.field("fleet").optional(&attachment.fleet)?,
        created_at: timestamp(attachment.created_at, &at.field("created_at"))?,
        revision: attachment.revision,
        plan: attachment.plan,
        observed: attachment.observed.map(ObservedLink::from).map(Box::new),
        leftovers: attachment.leftovers,
        lease: attachment.lease.map(|given| lease(given, &at.field("lease")).map(Box::new)).transpose()?,
        peer: attachment.peer.map(|peer| guest(peer, &at.field("peer"))).transpose()?,
        lease6: attachment.lease6.map(|given| lease(given, &at.field("lease6")).map(Box::new)).transpose()?,
        traffic: traffic::list(attachment.traffic, &at.field("traffic"))?,
        waiting: attachment.waiting,
        drift: at.field("drift").list(attachment.drift, LIST_MAX, drift)?,
        origin: attachment.origin.map(|wire::Origin { key, line }| Box::new(Origin { key, line })),
    })
}

fn drift(at: &At<'_>, drift: wire::Drift) -> Result<Drift, Failure> {
    Ok(Drift {
        since: timestamp(drift.since, &at.field("since"))?,
        what: drift.what,
        object: drift.object,
        expected: drift.expected,
        found: drift.found,
        unrepaired: Some(drift.unrepaired).filter(|why| !why.is_empty()),
    })
}

fn lease(lease: wire::Lease, at: &At<'_>) -> Result<Lease, Failure> {
    let at_expires = at.field("expires_at");
    Ok(Lease {
        address: at.field("address").required(&lease.address)?,
        server: at.field("server").required(&lease.server)?,
        expires_at: lease.expires_at.map(|stamp| timestamp(Some(stamp), &at_expires)).transpose()?,
        routers: at.field("routers").list(lease.routers, LIST_MAX, |at, text| at.required(&text))?,
        dns_servers: at
            .field("dns_servers")
            .list(lease.dns_servers, LIST_MAX, |at, text| at.required(&text))?,
        domain: lease.domain,
    })
}

fn state(value: i32, at: &At<'_>) -> Result<State, Failure> {
    let known = "attaching, attached, detaching, detached, incomplete and waiting";
    match at.variant::<wire::AttachmentState>(value, known)? {
        None | Some(wire::AttachmentState::Unspecified) => Err(at.refuse("it is required")),
        Some(wire::AttachmentState::Attaching) => Ok(State::Attaching),
        Some(wire::AttachmentState::Attached) => Ok(State::Attached),
        Some(wire::AttachmentState::Detaching) => Ok(State::Detaching),
        Some(wire::AttachmentState::Detached) => Ok(State::Detached),
        Some(wire::AttachmentState::Incomplete) => Ok(State::Incomplete),
        Some(wire::AttachmentState::Waiting) => Ok(State::Waiting),
    }
}

pub(super) fn guest(guest: wire::GuestIdentity, at: &At<'_>) -> Result<GuestIdentity, Failure> {
    Ok(GuestIdentity {
        runtime: at.field("runtime").required(&guest.runtime)?,
        id: guest.id,
        name: guest.name,
        pid: Some(guest.pid).filter(|pid| *pid != 0),
        netns_cookie: guest.netns_cookie,
        started_at: guest.started_at,
    })
}

impl From<wire::ObservedLink> for ObservedLink {
    fn from(link: wire::ObservedLink) -> Self {
        Self {
            present: link.present,
            operstate: link.operstate,
            mtu: link.mtu,
            bridge: link.bridge,
            ofport: link.ofport,
            ovs_error: link.ovs_error,
        }
    }
}

impl From<Attachment> for wire::Attachment {
    fn from(attachment: Attachment) -> Self {
        Self {
            id: attachment.id.to_string(),
            spec: Some(attachment.spec.into()),
            state: wire::AttachmentState::from(attachment.state).into(),
            guest: Some(attachment.guest.into()),
            host_ifname: attachment.host_ifname.map(String::from).unwrap_or_default(),
            mac: attachment.mac.map(String::from).unwrap_or_default(),
            mtu: attachment.mtu.map_or(0, Mtu::get),
            fleet: attachment.fleet.map(String::from).unwrap_or_default(),
            created_at: Some(to_timestamp(attachment.created_at)),
            revision: attachment.revision,
            plan: attachment.plan,
            observed: attachment.observed.map(|observed| (*observed).into()),
            leftovers: attachment.leftovers,
            lease: attachment.lease.map(|lease| (*lease).into()),
            peer: attachment.peer.map(wire::GuestIdentity::from),
            lease6: attachment.lease6.map(|lease| (*lease).into()),
            traffic: attachment.traffic.into_iter().map(wire::Traffic::from).collect(),
            waiting: attachment.waiting,
            drift: attachment.drift.into_iter().map(wire::Drift::from).collect(),
            origin: attachment.origin.map(|origin| {
                let Origin { key, line } = *origin;
                wire::Origin { key, line }
            }),
        }
    }
}

impl From<Drift> for wire::Drift {
    fn from(drift: Drift) -> Self {
        Self {
            what: drift.what,
            expected: drift.expected,
            found: drift.found,
            since: Some(to_timestamp(drift.since)),
            object: drift.object,
            unrepaired: drift.unrepaired.unwrap_or_default(),
        }
    }
}

impl From<Lease> for wire::Lease {
    fn from(lease: Lease) -> Self {
        let texts = |addresses: Vec<IpAddr>| addresses.iter().map(IpAddr::to_string).collect();
        Self {
            address: lease.address.into(),
            server: lease.server.to_string(),
            expires_at: lease.expires_at.map(to_timestamp),
            routers: texts(lease.routers),
            dns_servers: texts(lease.dns_servers),
            domain: lease.domain,
        }
    }
}

impl From<State> for wire::AttachmentState {
    fn from(state: State) -> Self {
        match state {
            State::Attaching => Self::Attaching,
            State::Attached => Self::Attached,
            State::Detaching => Self::Detaching,
            State::Detached => Self::Detached,
            State::Incomplete => Self::Incomplete,
            State::Waiting => Self::Waiting,
        }
    }
}

impl From<GuestIdentity> for wire::GuestIdentity {
    fn from(guest: GuestIdentity) -> Self {
        Self {
            runtime: guest.runtime.to_string(),
            id: guest.id,
            name: guest.name,
            pid: guest.pid.unwrap_or(0),
            netns_cookie: guest.netns_cookie,
            started_at: guest.started_at,
        }
    }
}

impl From<ObservedLink> for wire::ObservedLink {
    fn from(link: ObservedLink) -> Self {
        Self {
            present: link.present,
            operstate: link.operstate,
            mtu: link.mtu,
            bridge: link.bridge,
            ofport: link.ofport,
            ovs_error: link.ovs_error,
        }
    }
}
