//! Pairs of links that are plugged into a bridge at the host's end.

use rtnetlink::packet_route::link::LinkAttribute;

use crate::host::link;
use crate::host::netlink::{KernelError, Requests};
use crate::host::netns::Netns;
use crate::step::Veth;

/// One RTM_NEWLINK, then one that says whose the host's end is, and keeps it without a link-local address. The kernel drops
/// an alias that comes with the first.
///
/// # Errors
/// EEXIST, which says at which end; the kernel's refusal.
pub(super) fn create(host: &mut Requests, netns: &Netns, veth: &Veth) -> Result<(), KernelError> {
    let bridge = veth.bridge.as_ref().map(|bridge| link::index(host, bridge)).transpose()?;
    match host.request(&link::create_veth(veth, netns, bridge)) {
        Ok(replies) => {
            let index = link::created_index(host, &veth.host_end, &replies)?;
            let alias = veth.alias.clone().map(LinkAttribute::IfAlias);
            let bare = link::change(index, alias.iter().cloned().collect());
            let whole = link::change(index, alias.into_iter().chain([link::without_link_local()]).collect());
            match host.request(&whole) {
                // A kernel without IPv6 does not know that attribute, and needs it not.
                Err(error) if error.errno == libc::EAFNOSUPPORT => host.request(&bare).map(drop),
                answer => answer.map(drop),
            }
        }
        Err(error) if error.errno == libc::EEXIST => {
            let text = match link::find(host, veth.host_end.as_str())? {
                Some(_) => format!("link {} exists in the host", veth.host_end),
                None => format!("link {} exists in the guest", veth.guest_end),
            };
            Err(KernelError::new(libc::EEXIST, text))
        }
        Err(error) => Err(error),
    }
}
