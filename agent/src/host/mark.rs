//! What is ours, as the kernel shows it: the link group, which is set in the request that creates a link (an alias would
//! be dropped there). Groups 0x70770000 to 0x7078ffff (`pw`, `px`) are Pipewright's. Taking a link of somebody else for
//! ours would destroy their network; not knowing one of ours leaks a link. So both the group and the name must fit.

use pipewright_api::attachment::GuestIdentity;
use pipewright_api::net::{LinkName, MacAddr, VlanId};
use pipewright_api::spec::{FleetName, GuestRef};
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
/// What the alias of a host's end begins with.
const ALIAS: &str = "pipewright";
/// Longest alias that the kernel takes (IFALIASZ - 1), in bytes.
const ALIAS_MAX: usize = 255;
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

/// Whose link an alias says that a host's end is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The attachment.
    pub id: Uuid,
    /// Name of the link in the guest.
    pub ifname: LinkName,
    /// The fleet that wants it.
    pub fleet: Option<FleetName>,
    /// The guest, by what it is called for as long as it lives.
    pub guest: GuestRef,
}

/// What a host's end says of itself in `ip link`: `pipewright ID IFNAME FLEET|- RUNTIME:GUEST`. With it, an agent that lost
/// its records finds whose the link is; `None` when the kernel takes no text of that length.
pub fn alias(
    id: Uuid,
    ifname: &LinkName,
    fleet: Option<&FleetName>,
    guest: &GuestIdentity,
) -> Option<String> {
    let fleet = fleet.map_or("-", FleetName::as_str);
    let text = format!("{ALIAS} {id} {ifname} {fleet} {}:{}", guest.runtime, guest.id);
    (text.len() <= ALIAS_MAX).then_some(text)
}

/// What an alias says, if it is ours and fits the link group, which the kernel sets together with the link.
pub fn claim(alias: &str, link_group: u32) -> Option<Claim> {
    let mut words = alias.strip_prefix(ALIAS)?.strip_prefix(' ')?.splitn(4, ' ');
    let id: Uuid = words.next()?.parse().ok()?;
    let ifname = words.next()?.parse().ok()?;
    let fleet = match words.next()? {
        "-" => None,
        fleet => Some(fleet.parse().ok()?),
    };
    let guest = words.next()?.parse().ok()?;
    (group(id) == link_group).then_some(Claim { id, ifname, fleet, guest })
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
    use pipewright_api::attachment::Runtime;

    use super::*;

    #[test]
    fn an_attachments_marks_follow_from_its_id_alone() {
        let id = Uuid::from_u128(7);

        assert_eq!((group(id), host_end(id), mac(id)), (group(id), host_end(id), mac(id)));
        assert!(is_ours(group(id)) && host_end(id).is_derived());
    }

    #[test]
    fn an_alias_says_whose_link_it_is_and_a_strange_one_says_nothing() {
        let (id, ifname) = (Uuid::from_u128(7), "eth1".parse().unwrap());
        let guest = |path: &str| GuestIdentity {
            runtime: Runtime::Netns,
            id: path.to_owned(),
            name: "web".to_owned(),
            pid: None,
            netns_cookie: 1,
            started_at: String::new(),
        };
        let text = alias(id, &ifname, Some(&"lab".parse().unwrap()), &guest("/run/netns/web")).unwrap();

        let said = claim(&text, group(id)).unwrap();
        assert_eq!((said.id, said.ifname, said.fleet.unwrap().as_str()), (id, ifname.clone(), "lab"));
        assert_eq!(said.guest.to_string(), "netns:/run/netns/web");
        assert_eq!(alias(id, &ifname, None, &guest(&"/x".repeat(150))), None);
        for (strange, group) in
            [(text.as_str(), group(id) ^ 1), ("web's", group(id)), ("pipewright 7 eth1 - web", group(id))]
        {
            assert_eq!(claim(strange, group), None, "{strange}");
        }
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
