//! One attachment: what its record says against what is there.

use std::io;

use chrono::{DateTime, SecondsFormat, Utc};
use pipewright_api::attachment::State;
use pipewright_api::finding::{Finding, FindingCode, Severity};
use pipewright_api::net::LinkName;
use pipewright_api::spec::{Kind, SwitchKind, Vlan};

use super::finding;
use crate::engine::Engine;
use crate::engine::aside::{REBOOTED, STOPPED};
use crate::engine::follow::DELETED;
use crate::engine::intact::Links;
use crate::engine::records::Record;
use crate::host::survey::{Gap, Part};
use crate::host::{Host, mark};
use crate::step::{self, Far, Port, Step};

impl<H: Host> Engine<H> {
    /// Everything that is wrong with an attachment. One that changes meanwhile is not judged.
    pub(super) async fn examine(&self, record: &Record, links: &Links) -> Vec<Finding> {
        let mut found = match record.attachment.state {
            State::Attached => self.examine_attached(record, links).await,
            State::Incomplete => vec![incomplete(record)],
            // Somebody is at work on it.
            State::Attaching | State::Detaching | State::Detached => Vec::new(),
            State::Waiting => self.examine_waiting(record),
        };
        let id = record.attachment.id;
        if self.shelf.get(id).is_none_or(|now| now.attachment.revision != record.attachment.revision) {
            return Vec::new();
        }
        for finding in &mut found {
            finding.attachment = Some(id);
        }
        found
    }

    /// Nothing of it should be there. That it waits is as it was asked for.
    fn examine_waiting(&self, record: &Record) -> Vec<Finding> {
        let id = record.attachment.id;
        let object = format!("link {} in {}", record.attachment.spec.ifname, record.asked.guest);
        let since = record.waits_since.map_or_else(String::new, |since| {
            format!(" since {}", DateTime::<Utc>::from(since).to_rfc3339_opts(SecondsFormat::Secs, true))
        });
        let text = format!("waits{since}: {}", record.attachment.waiting);
        let advice = match record.attachment.waiting.as_str() {
            STOPPED | REBOOTED => format!(
                "its link is made again when the guest starts; if it is not to come back, `pwctl detach {id}`"
            ),
            DELETED => format!(
                "it goes to another guest of that name, if one comes within {} s, else it is removed; at once by `pwctl detach {id}`",
                self.recreate_within.as_secs()
            ),
            _ => format!(
                "remove the cause; it is tried again by itself, and at once by attaching with the same line, or give it up \
                 with `pwctl detach {id}`"
            ),
        };
        let mut found = vec![finding(FindingCode::Waiting, Severity::Info, object, text, advice)];
        if !record.attachment.leftovers.is_empty() {
            found.push(incomplete(record));
        }
        found
    }

    async fn examine_attached(&self, record: &Record, links: &Links) -> Vec<Finding> {
        let mut found = Vec::new();
        let guest = &record.attachment.spec.guest.to_string();
        match self.reopen_guest(record).await {
            Some(netns) => {
                let seen = self.kernel.survey(&netns, step::taken_at(&record.plan, None)).await;
                found.extend(judge(record, guest, seen));
            }
            None => found.push(unreachable(guest)),
        }
        let in_host = step::taken_at(&record.plan, Some(Far::Host));
        if !in_host.is_empty() {
            found.extend(judge(record, "the host", self.kernel.survey_host(in_host).await));
        }
        let in_peer = step::taken_at(&record.plan, Some(Far::Guest));
        if let Some(peer) = record.attachment.peer.as_ref().filter(|_| !in_peer.is_empty()) {
            let name = format!("{}:{}", peer.runtime, peer.name);
            match self.guests.reopen(peer).await {
                Some(netns) => found.extend(judge(record, &name, self.kernel.survey(&netns, in_peer).await)),
                None => found.push(unreachable(&name)),
            }
        }
        for step in record.plan.iter() {
            if let Step::AwaitPort(port) = step {
                found.extend(self.look_at_port(port));
            }
        }
        found.extend(self.narrower(record, links));
        found
    }

    /// A port of Open vSwitch. While its database is away nobody knows, which is a finding of the host.
    fn look_at_port(&self, wanted: &Port) -> Option<Finding> {
        if !self.ovs.facts().is_connected {
            return None;
        }
        let object = format!("port {}", wanted.port);
        let again = "attach again with the same line: it takes the old link out first";
        let error =
            |code, text: String, advice: &str| Some(finding(code, Severity::Error, &object, text, advice));
        let Some(port) = self.ovs.port(&wanted.port).filter(|port| port.id == Some(wanted.id)) else {
            let text = format!("Open vSwitch has no such port of ours; it was in {}", wanted.bridge);
            return error(FindingCode::PortMissing, text, again);
        };
        let bridge = port.bridge.unwrap_or_default();
        if bridge != wanted.bridge.as_str() {
            let text = format!("is in {}, not in {}", or_none(&bridge), wanted.bridge);
            return error(FindingCode::PortUnplugged, text, again);
        }
        if port.vlan.as_ref() != Some(&wanted.vlan) {
            let text =
                format!("carries {}, not {}", carried(port.vlan.as_ref()), carried(Some(&wanted.vlan)));
            return error(FindingCode::VlanDiffers, text, again);
        }
        match port.error {
            Some(why) => error(FindingCode::PortError, why, "see the log of ovs-vswitchd; then attach again"),
            None if port.ofport == Some(-1) => {
                let text = "ovs-vswitchd cannot use it".to_owned();
                error(FindingCode::PortError, text, "see the log of ovs-vswitchd; then attach again")
            }
            None => None,
        }
    }

    /// The bridge, or a link of it that leads out of the host, may pass shorter frames than the guest sends.
    fn narrower(&self, record: &Record, links: &Links) -> Option<Finding> {
        let bridge = record.attachment.spec.uplink.link()?;
        let mtu = record.attachment.mtu?.get();
        let is_in = |name: &str| match record.attachment.spec.kind.and_then(Kind::switch) {
            Some(SwitchKind::LinuxBridge) => links.is_port(name, bridge),
            Some(SwitchKind::Ovs) => {
                let port = name.parse::<LinkName>().ok().and_then(|name| self.ovs.port(&name));
                port.is_some_and(|port| port.bridge.as_deref() == Some(bridge.as_str()))
            }
            None => false,
        };
        let is_bridge = |name: &str| {
            name == bridge.as_str() && matches!(record.attachment.spec.kind, Some(Kind::LinuxBridge))
        };
        let narrow = links
            .all()
            .filter(|link| link.mtu < mtu && !mark::is_ours(link.group) && is_in(&link.name))
            .min_by_key(|link| link.mtu)
            .or_else(|| links.all().find(|link| is_bridge(&link.name) && link.mtu < mtu))?;
        let text = format!(
            "takes frames of {} bytes at most, and {} of {} sends up to {mtu}: longer ones are lost",
            narrow.mtu, record.attachment.spec.ifname, record.attachment.spec.guest
        );
        let advice = format!(
            "attach again with --mtu {}, or `ip link set {} mtu {mtu}` if what it leads to takes that",
            narrow.mtu, narrow.name
        );
        let object = format!("link {}", narrow.name);
        Some(finding(FindingCode::MtuMismatch, Severity::Warning, object, text, advice))
    }
}

fn carried(vlan: Option<&Vlan>) -> String {
    match vlan {
        None => "VLANs in a mode that we do not set".to_owned(),
        Some(Vlan::Access(vlan)) => format!("VLAN {vlan}"),
        Some(Vlan::Trunk(vlans)) => {
            let vlans: Vec<String> = vlans.iter().map(ToString::to_string).collect();
            format!("VLANs {} with tags", vlans.join(","))
        }
        Some(Vlan::Every) => "every VLAN".to_owned(),
    }
}

fn incomplete(record: &Record) -> Finding {
    let id = record.attachment.id;
    let text = format!("was not wholly taken back: {}", record.attachment.leftovers.join("; "));
    let advice = format!("remove the cause, then `pwctl detach {id}`");
    finding(FindingCode::Incomplete, Severity::Error, format!("attachment {id}"), text, advice)
}

fn unreachable(guest: &str) -> Finding {
    let text = "is not the guest that was attached to any more, or cannot be opened";
    let advice = "see whether it runs and its runtime answers; `pwctl detach` removes what is left of it";
    finding(FindingCode::GuestUnreachable, Severity::Error, guest, text, advice)
}

fn judge(record: &Record, place: &str, seen: io::Result<Vec<Gap>>) -> Vec<Finding> {
    match seen {
        Ok(gaps) => gaps.iter().map(|gap| of_gap(record, place, gap)).collect(),
        Err(error) => {
            let text = format!("cannot be looked into: {error}");
            let advice = "the agent needs CAP_SYS_ADMIN and CAP_NET_ADMIN; see its log";
            vec![finding(FindingCode::NotKnown, Severity::Info, place, text, advice)]
        }
    }
}

fn of_gap(record: &Record, place: &str, gap: &Gap) -> Finding {
    let Gap { part, object, what, found, expected } = gap;
    let is_host_end = record.attachment.host_ifname.as_ref().is_some_and(|name| name.as_str() == object);
    let object = if is_host_end { format!("link {object}") } else { format!("link {object} in {place}") };
    let again = "attach again, after `pwctl detach`";
    let differs = || format!("{what} is {found}, not {expected}");
    let (code, text, advice): (_, String, &str) = match part {
        Part::Link => match (*what, found.as_str()) {
            ("state", "gone") => (FindingCode::LinkMissing, "is not there".to_owned(), again),
            ("state", _) => (
                FindingCode::LinkDown,
                "is down".to_owned(),
                "set it up: `ip link set LINK up`, with `nsenter --net` in a guest",
            ),
            ("MTU", _) => (FindingCode::MtuDiffers, differs(), "set it back: `ip link set LINK mtu BYTES`"),
            ("link group", _) => {
                (FindingCode::LinkForeign, "is somebody else's link under the name of ours".to_owned(), again)
            }
            ("bridge", _) => (FindingCode::PortUnplugged, bridge_text(record), again),
            ("VLANs as asked for", _) => {
                (FindingCode::VlanDiffers, "does not have the VLANs that were asked for".to_owned(), again)
            }
            _ => (FindingCode::LinkDiffers, differs(), again),
        },
        Part::Address if found.starts_with("a duplicate") => {
            let text = "an address of it is somebody else's, too".to_owned();
            (FindingCode::AddressDuplicate, text, "find the other host, or attach with another address")
        }
        Part::Address => (
            FindingCode::AddressMissing,
            format!("{what} {expected} is not there"),
            "add it again: `ip address add`, or attach again after `pwctl detach`",
        ),
        Part::Route => (FindingCode::RouteMissing, format!("route {expected} is not there"), again),
        Part::DefaultRoute => {
            let text = format!("route {expected} is not there");
            (
                FindingCode::DefaultRouteMissing,
                text,
                "Docker recomputes default routes when a container joins or leaves a network; attach again after `pwctl detach`",
            )
        }
        Part::Traffic => (
            FindingCode::RouteMissing,
            format!("`{expected}` was taken away"),
            "add it again with `pwctl guest`; that is done by itself unless the agent runs with --drift report",
        ),
        Part::Lease => (
            FindingCode::AddressMissing,
            format!("{expected} of its lease is not there"),
            "it is put back by itself unless the agent runs with --drift report; or attach again after `pwctl detach`",
        ),
        Part::Offload => {
            let text =
                "TX checksum offload is on behind a userspace datapath: ping works, TCP does not".to_owned();
            (FindingCode::TxOffloadOn, text, "`ethtool -K LINK tx off` in the guest")
        }
        Part::ReversePath => {
            let text = "rp_filter is strict and the default route is over another link: what comes from beyond this one is dropped".to_owned();
            (
                FindingCode::RpFilterStrict,
                text,
                "`sysctl -w net.ipv4.conf.LINK.rp_filter=2` in the guest, or --gateway",
            )
        }
    };
    let severity = if *part == Part::ReversePath { Severity::Warning } else { Severity::Error };
    finding(code, severity, object, text, advice)
}

fn bridge_text(record: &Record) -> String {
    format!("is not in bridge {}", record.attachment.spec.uplink)
}

fn or_none(name: &str) -> &str {
    if name.is_empty() { "no bridge" } else { name }
}
