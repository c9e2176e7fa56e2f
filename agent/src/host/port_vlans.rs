//! VLANs of ports of linux bridges, as bridge(8) shows and sets them.

use std::collections::BTreeMap;

use pipewright_api::net::{LinkName, VlanId};
use pipewright_api::spec::Vlan;
use rtnetlink::packet_core::NLM_F_DUMP;
use rtnetlink::packet_route::link::{
    AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, LinkAttribute, LinkMessage,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::host::link;
use crate::host::message::{attribute, attributes, read_u16, read_u32};
use crate::host::netlink::{KernelError, Request, Requests};

/// Message types of linux/rtnetlink.h, since kernel 5.6. RTM_GETLINK would give the VLANs of every port of the host.
const RTM_NEWVLAN: u16 = 112;
const RTM_GETVLAN: u16 = 114;
/// `struct br_vlan_msg` of linux/if_bridge.h, in bytes, and attributes.
const BODY: usize = 8;
const BRIDGE_VLANDB_ENTRY: u16 = 1;
const BRIDGE_VLANDB_ENTRY_INFO: u16 = 1;
const BRIDGE_VLANDB_ENTRY_RANGE: u16 = 2;
/// The flags of a VLAN at a port that we know; others are of no concern here.
const KNOWN: BridgeVlanInfoFlags = BridgeVlanInfoFlags::Pvid.union(BridgeVlanInfoFlags::Untagged);

/// The VLANs of a port, and how their frames come and go: untagged, or not; as that of frames without a tag (PVID), or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortVlans(BTreeMap<u16, BridgeVlanInfoFlags>);

impl PortVlans {
    /// Whether a port has what is asked for.
    pub fn is(&self, asked: &Vlan) -> bool {
        *self == self.made(asked)
    }

    /// What must have been asked for; `None` for what no attachment asks for.
    pub fn asked(&self) -> Option<Vlan> {
        let vlans = || self.0.keys().filter_map(|&vlan| VlanId::try_from(u32::from(vlan)).ok());
        let mut candidates =
            vlans().take(1).map(Vlan::Access).chain([Vlan::Every, Vlan::Trunk(vlans().collect())]);
        candidates.find(|asked| !self.0.is_empty() && self.is(asked))
    }

    /// What they are to become.
    fn made(&self, asked: &Vlan) -> Self {
        let untagged = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
        let tagged = |vlan| (vlan, BridgeVlanInfoFlags::empty());
        Self(match asked {
            Vlan::Access(vlan) => BTreeMap::from([(vlan.get(), untagged)]),
            Vlan::Trunk(vlans) => vlans.iter().map(|vlan| tagged(vlan.get())).collect(),
            Vlan::Every => {
                let mut all: BTreeMap<u16, _> = (1..=4094).map(tagged).collect();
                let default = self.0.iter().filter(|(_, flags)| flags.contains(BridgeVlanInfoFlags::Pvid));
                all.extend(default.map(|(vlan, _)| (*vlan, untagged)));
                all
            }
        })
    }

    /// What has these VLANs with these flags and `other` has not, as ranges: a trunk may have thousands.
    fn beyond(&self, other: &Self) -> Vec<BridgeVlanInfo> {
        let mut ranges: Vec<(u16, u16, BridgeVlanInfoFlags)> = Vec::new();
        for (&vlan, &flags) in self.0.iter().filter(|(vlan, flags)| other.0.get(vlan) != Some(flags)) {
            match ranges.last_mut() {
                // The kernel takes no range as the VLAN of frames without a tag.
                Some((_, last, of)) if *last + 1 == vlan && *of == flags && flags.is_empty() => *last = vlan,
                Some(_) | None => ranges.push((vlan, vlan, flags)),
            }
        }
        let info = |flags, vid| BridgeVlanInfo { flags, vid };
        let ends = |(first, last, flags): (u16, u16, BridgeVlanInfoFlags)| match first == last {
            true => vec![info(flags, first)],
            false => vec![
                info(flags | BridgeVlanInfoFlags::RangeBegin, first),
                info(flags | BridgeVlanInfoFlags::RangeEnd, last),
            ],
        };
        ranges.into_iter().flat_map(ends).collect()
    }
}

/// Gives a port these VLANs and no others, then sets it up.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn join(host: &mut Requests, port: &LinkName, asked: &Vlan) -> Result<(), KernelError> {
    let index = link::index(host, port)?;
    let there = of(host, index)?;
    let made = there.made(asked);
    let kept = PortVlans(there.0.iter().filter(|(vlan, _)| made.0.contains_key(vlan)).map(copied).collect());
    let (gone, new) = (there.beyond(&kept), made.beyond(&there));
    let change = |vlans: Vec<BridgeVlanInfo>| {
        let mut message = LinkMessage::default();
        message.header.interface_family = AddressFamily::Bridge;
        message.header.index = index;
        let vlans = vlans.into_iter().map(AfSpecBridge::VlanInfo).collect();
        message.attributes = vec![LinkAttribute::AfSpecBridge(vlans)];
        message
    };
    let mut requests = Vec::new();
    if !gone.is_empty() {
        requests.push(Request::new(RouteNetlinkMessage::DelLink(change(gone)), 0));
    }
    if !new.is_empty() {
        requests.push(Request::new(RouteNetlinkMessage::SetLink(change(new)), 0));
    }
    requests.push(link::set_up(port));
    // One after the other: a port that kept a VLAN that it must not have is not set up.
    requests.iter().try_for_each(|request| host.request(request).map(drop))
}

fn copied((vlan, flags): (&u16, &BridgeVlanInfoFlags)) -> (u16, BridgeVlanInfoFlags) {
    (*vlan, *flags)
}

/// The VLANs of a port.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn of(host: &mut Requests, index: u32) -> Result<PortVlans, KernelError> {
    Ok(dump(host, index)?.remove(&index).unwrap_or_default())
}

/// The VLANs of every port, by its number.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn of_all(host: &mut Requests) -> Result<BTreeMap<u32, PortVlans>, KernelError> {
    dump(host, 0)
}

/// `bridge vlan show`; 0 stands for every port.
fn dump(host: &mut Requests, index: u32) -> Result<BTreeMap<u32, PortVlans>, KernelError> {
    let mut body = vec![libc::AF_BRIDGE as u8, 0, 0, 0];
    body.extend(index.to_ne_bytes());
    let replies = host.dump_raw(&Request::raw(RTM_GETVLAN, NLM_F_DUMP, &body))?;
    let mut found: BTreeMap<u32, PortVlans> = BTreeMap::new();
    for reply in replies.iter().filter(|reply| reply.kind == RTM_NEWVLAN) {
        let Some(port) = reply.body.get(4..).and_then(read_u32) else { continue };
        let vlans = &mut found.entry(port).or_default().0;
        let entries = attributes(reply.body.get(BODY..).unwrap_or_default());
        for (_, entry) in entries.filter(|(kind, _)| *kind == BRIDGE_VLANDB_ENTRY) {
            vlans.extend(read(entry).into_iter().flatten());
        }
    }
    Ok(found)
}

/// One entry: a VLAN, or some in a row with the same flags.
fn read(entry: &[u8]) -> Option<impl Iterator<Item = (u16, BridgeVlanInfoFlags)>> {
    let info = attribute(entry, BRIDGE_VLANDB_ENTRY_INFO)?;
    let flags = BridgeVlanInfoFlags::from_bits_truncate(read_u16(info)?) & KNOWN;
    let first = read_u16(info.get(2..)?)?;
    let last = attribute(entry, BRIDGE_VLANDB_ENTRY_RANGE).and_then(read_u16).unwrap_or(first);
    Some((first..=last.min(4094)).map(move |vlan| (vlan, flags)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const UNTAGGED: BridgeVlanInfoFlags = KNOWN;
    const TAGGED: BridgeVlanInfoFlags = BridgeVlanInfoFlags::empty();

    /// A port as the kernel makes it.
    fn fresh() -> PortVlans {
        PortVlans(BTreeMap::from([(1, UNTAGGED)]))
    }

    fn shown(vlans: Vec<BridgeVlanInfo>) -> Vec<(u16, BridgeVlanInfoFlags)> {
        vlans.into_iter().map(|info| (info.vid, info.flags)).collect()
    }

    #[test]
    fn an_access_port_has_its_vlan_alone() {
        let made = fresh().made(&Vlan::Access(100.try_into().unwrap()));

        assert_eq!(made.0, BTreeMap::from([(100, UNTAGGED)]));
        assert!(
            made.is(&Vlan::Access(100.try_into().unwrap()))
                && !fresh().is(&Vlan::Access(100.try_into().unwrap()))
        );
    }

    #[test]
    fn a_trunk_has_no_vlan_for_frames_without_a_tag() {
        let vlans: BTreeSet<_> = [1, 5, 6, 7, 9].into_iter().map(|vlan| vlan.try_into().unwrap()).collect();

        let made = fresh().made(&Vlan::Trunk(vlans));

        assert!(made.0.values().all(|flags| *flags == TAGGED));
        assert_eq!(
            shown(made.beyond(&fresh())),
            [
                (1, TAGGED),
                (5, BridgeVlanInfoFlags::RangeBegin),
                (7, BridgeVlanInfoFlags::RangeEnd),
                (9, TAGGED)
            ]
        );
    }

    #[test]
    fn a_trunk_of_all_keeps_the_vlan_of_frames_without_a_tag() {
        let made = fresh().made(&Vlan::Every);

        assert_eq!((made.0.len(), made.0[&1], made.0[&2]), (4094, UNTAGGED, TAGGED));
        assert_eq!(
            shown(made.beyond(&fresh())),
            [(2, BridgeVlanInfoFlags::RangeBegin), (4094, BridgeVlanInfoFlags::RangeEnd)]
        );
        assert!(made.is(&Vlan::Every));
    }
}
