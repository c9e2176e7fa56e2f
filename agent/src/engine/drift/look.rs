//! What is there of one attachment, and what differs.

use std::io;

use pipewright_api::attachment::State;
use uuid::Uuid;

use super::compare::{Difference, What, of_gap, of_port};
use crate::dhcp::given::{Given, GivenRoute};
use crate::engine::Engine;
use crate::engine::records::Record;
use crate::host::netns::Netns;
use crate::host::{Host, Within};
use crate::step::{self, Far, Step};

/// The guests of an attachment, open for one look and what follows from it.
#[derive(Debug)]
pub(super) struct Opened {
    near: Netns,
    peer: Option<Netns>,
}

impl Opened {
    pub(super) fn guest(&self) -> &Netns {
        &self.near
    }

    pub(super) fn within(&self) -> Within<'_> {
        Within { guest: Some(&self.near), peer: self.peer.as_ref() }
    }
}

impl<H: Host> Engine<H> {
    /// Its guests, if they are still those that were attached to; `None` when they cannot be looked into now.
    pub(super) async fn open_ends(&self, record: &Record) -> Option<Opened> {
        let near = self.reopen_guest(record).await?;
        let peer = match &record.attachment.peer {
            None => None,
            Some(peer) => {
                let netns = self.guests.reopen(peer).await?;
                let cookie = self.kernel.cookie(&netns).await.ok();
                Some(netns).filter(|_| cookie == Some(peer.netns_cookie))
            }
        };
        (peer.is_some() == record.attachment.peer.is_some()).then_some(Opened { near, peer })
    }

    /// From now on, events of its guests lead to it.
    pub(super) async fn follow_ends(&self, id: Uuid, opened: &Opened) {
        for netns in std::iter::once(&opened.near).chain(&opened.peer) {
            match self.kernel.netns_id(netns).await {
                Ok(number) => self.drift.known().follow(number, id),
                Err(error) => tracing::debug!(attachment = %id, %error, "its guest has no number"),
            }
        }
    }

    /// Everything that is not as the record says.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) async fn drift_of(&self, record: &Record, opened: &Opened) -> io::Result<Vec<Difference>> {
        let host_end = record.attachment.host_ifname.as_ref();
        let mut found = Vec::new();
        for end in [None, Some(Far::Host), Some(Far::Guest)] {
            let mut steps = step::taken_at(&record.plan, end);
            // Of a link that is up only the doctor asks more, below /proc/sys/net: that costs the more, the more namespaces
            // there are.
            steps.retain(|step| !matches!(step, Step::SetUp { .. }));
            if steps.is_empty() {
                continue;
            }
            let gaps = match (end, &opened.peer) {
                (None, _) => self.kernel.survey(&opened.near, steps).await?,
                (Some(Far::Host), _) => self.kernel.survey_host(steps).await?,
                (Some(Far::Guest), Some(peer)) => self.kernel.survey(peer, steps).await?,
                (Some(Far::Guest), None) => continue,
            };
            found.extend(gaps.iter().filter_map(|gap| of_gap(end, host_end, gap)));
        }
        found.extend(self.port_differences(record));
        found.dedup();
        found.retain(|difference| self.is_drift(record, difference));
        Ok(found)
    }

    /// Of its port in Open vSwitch, which needs no look. While the database is away nobody knows.
    pub(super) fn port_differences(&self, record: &Record) -> Option<Difference> {
        let wanted = record.plan.iter().find_map(|step| match step {
            Step::AwaitPort(port) => Some(port),
            _ => None,
        })?;
        if !self.ovs.facts().is_connected {
            return None;
        }
        of_port(wanted, self.ovs.port(&wanted.port).as_ref())
    }

    /// A server may have asked for a smaller MTU, and a later attachment may have the default route.
    fn is_drift(&self, record: &Record, difference: &Difference) -> bool {
        match difference.what {
            What::Mtu => {
                let leased = record.leases.iter().filter_map(Given::mtu);
                leased.map(|mtu| mtu.to_string()).all(|mtu| mtu != difference.found)
            }
            What::DefaultRoute => {
                let is_ipv6 = difference.expected.contains(':');
                !self.has_later_default(record, is_ipv6)
            }
            What::Lease if difference.expected.starts_with("default") => {
                !self.has_later_default(record, false)
            }
            _ => true,
        }
    }

    /// Whether another attachment of the same guest took the default route over.
    fn has_later_default(&self, record: &Record, is_ipv6: bool) -> bool {
        let (records, _) = self.shelf.attachments();
        records.iter().any(|other| {
            let (own, other_one) = (&record.attachment, &other.attachment);
            other_one.id != own.id
                && other_one.guest.netns_cookie == own.guest.netns_cookie
                && other.first_revision > record.first_revision
                && matches!(other_one.state, State::Attaching | State::Attached)
                && other.has_default_route(is_ipv6)
        })
    }
}

impl Record {
    /// Whether the guest's default route is over its link, in the table that is used.
    pub(super) fn has_default_route(&self, is_ipv6: bool) -> bool {
        let is_planned = self.plan.iter().any(|step| match step {
            Step::AddRoute(route) => {
                let is_default = route.destination.prefix_len() == 0 && route.details.is_none();
                is_default && route.destination.addr().is_ipv6() == is_ipv6
            }
            _ => false,
        });
        let takes_default =
            |step: &Step| matches!(step, Step::ApplyLease(asked) if asked.takes_default && !is_ipv6);
        let is_leased = || self.leases.iter().any(|lease| lease.routes().iter().any(GivenRoute::is_default));
        is_planned || (self.plan.iter().any(takes_default) && is_leased())
    }
}
