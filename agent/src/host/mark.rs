//! What is ours, as the kernel shows it: the link group, which is set in the request that creates a link (an alias would
//! be dropped there). Groups 0x70770000 to 0x7078ffff (`pw`, `px`) are Pipewright's. Taking a link of somebody else for
//! ours would destroy their network; not knowing one of ours leaks a link. So both the group and the name must fit.

use pipewright_api::net::{LinkName, MacAddr, VlanId};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Links of attachments: the low half is taken from the attachment's id.
const ATTACHMENTS: u32 = 0x7077_0000;
/// Bridges that we made.
pub const BRIDGE: u32 = 0x7078_0000;
/// 802.1Q sub-interfaces that we made.
pub const VLAN_LINK: u32 = 0x7078_0001;
/// Protocol of routes and rules that were added to a link of ours (`p`); 4 and more are for whoever takes one.
pub const PROTOCOL: u8 = 112;
/// Handle of a queueing discipline at the root of a link of ours (`pw`).
pub const QDISC: u32 = 0x7077_0000;
/// Macvlans of the host that reach guests' ones.
pub const SHIM: u32 = 0x7078_0002;
/// Links on their way out: a deleter moves them to one of the groups from here to 0x7078ffff, then deletes the group.
pub const DOOMED: u32 = 0x7078_0100;
/// How many such groups there are.
const DOOMED_GROUPS: u32 = 0xff00;

/// The link group of an attachment's links.
pub fn group(id: Uuid) -> u32 {
    ATTACHMENTS | (hash(id) >> 48) as u32
}

/// Whether a link with that group was made by us.
pub fn is_ours(group: u32) -> bool {
    is_of_attachment(group) || group == BRIDGE || group == VLAN_LINK || group == SHIM
}

/// Whether a link with that group is one of an attachment.
pub fn is_of_attachment(group: u32) -> bool {
    group & 0xffff_0000 == ATTACHMENTS
}

/// The group of the `n`th batch of links that are deleted together.
pub fn doomed(n: u32) -> u32 {
    DOOMED + n % DOOMED_GROUPS
}

/// Whether a link with that group was about to be deleted by us.
pub fn is_doomed(group: u32) -> bool {
    (DOOMED..DOOMED + DOOMED_GROUPS).contains(&group)
}

/// The name of an attachment's host end, unless the caller chose one.
pub fn host_end(id: Uuid) -> LinkName {
    LinkName::derived(hash(id))
}

/// The name of the 802.1Q sub-interface of a link: `eth0.100`, or a derived one when that is too long.
pub fn vlan_link(parent: &LinkName, vlan: VlanId) -> LinkName {
    let text = format!("{parent}.{vlan}");
    let digest = || first_bytes(&Sha256::digest(text.as_bytes()));
    text.parse().unwrap_or_else(|_| LinkName::derived(digest()))
}

/// The name of the host's own macvlan on a link.
pub fn shim(parent: &LinkName) -> LinkName {
    LinkName::derived(first_bytes(&Sha256::digest(format!("shim {parent}").as_bytes())))
}

/// Its MAC address. The agent's host is a part of it: those of two hosts on one network must not be the same.
pub fn shim_mac(parent: &LinkName, parent_mac: MacAddr) -> MacAddr {
    let digest = Sha256::digest(format!("shim {parent} {parent_mac}").as_bytes());
    MacAddr::derived(first_bytes(&digest))
}

/// The MAC address of an attachment's guest end, unless the caller chose one.
pub fn mac(id: Uuid) -> MacAddr {
    MacAddr::derived(hash(id))
}

fn hash(id: Uuid) -> u64 {
    first_bytes(&Sha256::digest(id.as_bytes()))
}

fn first_bytes(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachments_marks_follow_from_its_id_alone() {
        let id = Uuid::from_u128(7);

        assert_eq!((group(id), host_end(id), mac(id)), (group(id), host_end(id), mac(id)));
        assert!(is_ours(group(id)) && host_end(id).is_derived());
    }

    #[test]
    fn a_sub_interface_is_named_after_its_parent_as_long_as_the_name_fits() {
        let vlan = VlanId::try_from(100).unwrap();
        let named = |parent: &str| vlan_link(&parent.parse().unwrap(), vlan);

        assert_eq!(named("eth1").as_str(), "eth1.100");
        assert!(named("enx001122334455").is_derived());
        assert_ne!(named("enx001122334455"), named("enx001122334456"));
    }

    #[test]
    fn links_of_others_are_not_ours() {
        assert!(![0, 1, 77, 0x7076_ffff, DOOMED, u32::MAX].into_iter().any(is_ours));
    }

    #[test]
    fn no_batch_of_deletions_takes_a_group_in_use() {
        for n in [0, 1, DOOMED_GROUPS - 1, DOOMED_GROUPS, u32::MAX] {
            assert!(is_doomed(doomed(n)) && !is_ours(doomed(n)), "{n}");
        }
        assert!(!is_doomed(BRIDGE) && !is_doomed(VLAN_LINK) && !is_doomed(SHIM));
    }
}
