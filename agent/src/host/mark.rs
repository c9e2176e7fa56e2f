//! What is ours, as the kernel shows it: the link group, which is set in the request that creates a link (an alias would
//! be dropped there). Groups 0x70770000 to 0x7078ffff (`pw`, `px`) are Pipewright's. Taking a link of somebody else for
//! ours would destroy their network; not knowing one of ours leaks a link. So both the group and the name must fit.

use pipewright_api::net::{LinkName, MacAddr};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Links of attachments: the low half is taken from the attachment's id.
const ATTACHMENTS: u32 = 0x7077_0000;
/// Bridges that we made.
pub const BRIDGE: u32 = 0x7078_0000;
/// Links on their way out: a deleter moves them here, then deletes the group.
pub const DOOMED: u32 = 0x7078_0100;

/// The link group of an attachment's links.
pub fn group(id: Uuid) -> u32 {
    ATTACHMENTS | (hash(id) >> 48) as u32
}

/// Whether a link with that group was made by us.
pub fn is_ours(group: u32) -> bool {
    group & 0xffff_0000 == ATTACHMENTS || group == BRIDGE
}

/// The name of an attachment's host end, unless the caller chose one.
pub fn host_end(id: Uuid) -> LinkName {
    LinkName::derived(hash(id))
}

/// The MAC address of an attachment's guest end, unless the caller chose one.
pub fn mac(id: Uuid) -> MacAddr {
    MacAddr::derived(hash(id))
}

fn hash(id: Uuid) -> u64 {
    let digest = Sha256::digest(id.as_bytes());
    u64::from_be_bytes([
        digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
    ])
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
    fn links_of_others_are_not_ours() {
        assert!(![0, 1, 77, 0x7076_ffff, DOOMED, u32::MAX].into_iter().any(is_ours));
    }
}
