//! A link that leads nowhere: an address of the guest's own that no network has.

use pipewright_api::reason::Failure;
use pipewright_api::spec::{Addressing, Kind};

use super::{Decision, Link};
use crate::step::{Ends, LinkType, Step};

/// `ip link add IFNAME netns GUEST type dummy`. Nobody hears an announcement, and there is nothing to wait for.
///
/// # Errors
/// INVALID_FIELD for DHCP.
pub(super) fn plan(link: &Link<'_>) -> Result<Decision, Failure> {
    if link.is_leased() {
        let why = "no server and no router hears a dummy: give it an address, or none";
        let field = match &link.spec.addressing {
            Addressing::Dhcp(_) => "spec.dhcp",
            Addressing::Static(_) | Addressing::None => "spec.uplink",
        };
        return Err(Failure::field(field, why));
    }
    let single = link.single(LinkType::Dummy);
    let mut plan = vec![Step::CreateLink(single.clone())];
    plan.extend(link.configure(false));
    plan.push(link.verify(Ends::Single(single)));
    Ok(link.decide(Kind::Dummy, None, plan))
}
