//! A link that leads nowhere: an address of the guest's own that no network has.

use pipewright_api::spec::Kind;

use super::{Decision, Link};
use crate::step::{Ends, LinkType, Step};

/// `ip link add IFNAME netns GUEST type dummy`. Nobody hears an announcement, and there is nothing to wait for.
pub(super) fn plan(link: &Link<'_>) -> Decision {
    let single = link.single(LinkType::Dummy);
    let mut plan = vec![Step::CreateLink(single.clone())];
    plan.extend(link.configure(false));
    plan.push(link.verify(Ends::Single(single)));
    link.decide(Kind::Dummy, None, plan)
}
