//! What takes steps back. Each undo is idempotent: what is already gone is success.

use super::{Far, Pair, Step};

impl Step {
    /// What takes the step back; `None` when nothing does or nothing must (what is set on a link goes with the link).
    pub fn undo(&self) -> Option<Self> {
        match self {
            Self::EnsureBridge { bridge, kind, .. } => {
                Some(Self::ReleaseBridge { bridge: bridge.clone(), kind: *kind })
            }
            Self::FilterVlans { bridge, uplink } => {
                Some(Self::PassVlans { bridge: bridge.clone(), uplink: uplink.clone() })
            }
            Self::CreateVeth(veth) => Some(Self::DeleteLink { id: veth.id, link: veth.host_end.clone() }),
            // Either end takes the other along.
            Self::CreatePair(Pair { id, far, whither: Far::Host, .. }) => {
                Some(Self::DeleteLink { id: *id, link: far.name.clone() })
            }
            Self::CreatePair(Pair { id, near, whither: Far::Guest, .. }) => {
                let (id, ifname) = (*id, near.name.clone());
                Some(Self::DeleteGuestLink { id, ifname, netns_id: None, may_come_back: false })
            }
            Self::CreateLink(link) => Some(Self::DeleteGuestLink {
                id: link.id,
                ifname: link.name.clone(),
                netns_id: None,
                may_come_back: link.what.may_come_back(),
            }),
            Self::MarkNic(nic) => Some(Self::ReturnNic { nic: nic.clone(), netns_id: None }),
            Self::EnsureShim(shim) => Some(Self::ReleaseShim { link: shim.link.clone() }),
            Self::FollowLease(reach) => Some(Self::UnfollowLease(reach.clone())),
            Self::AddReach(reach) => Some(Self::RemoveReach(reach.clone())),
            Self::EnsureVlanLink { link, .. } => Some(Self::ReleaseVlanLink { link: link.clone() }),
            Self::PlugPort(port) => Some(Self::UnplugPort { id: port.id, port: port.port.clone() }),
            Self::SetPortVlan { id, port, from, to } => {
                Some(Self::SetPortVlan { id: *id, port: port.clone(), from: to.clone(), to: from.clone() })
            }
            Self::EnslaveLink { link, bridge } => {
                Some(Self::FreeLink { link: link.clone(), bridge: bridge.clone() })
            }
            Self::SetHostLinkUp { link } => Some(Self::SetHostLinkDown { link: link.clone() }),
            // A default route of ours stands in the way of the one that it replaced.
            Self::AddRoute(route) if route.destination.prefix_len() == 0 || !route.is_on_link() => {
                Some(Self::RemoveRoute(route.clone()))
            }
            Self::SetAsideRoute(saved) => Some(Self::RestoreRoute(saved.clone())),
            Self::AcquireLease(asked) => Some(Self::ReleaseLease(asked.clone())),
            // What is on the link goes with it.
            Self::ApplyLease(asked) if !asked.replaces.is_empty() => Some(Self::WithdrawLease(asked.clone())),
            Self::AddTraffic(traffic) => traffic.undo(),
            Self::AddRoute(_)
            | Self::RemoveTraffic(_)
            | Self::VerifyTraffic(_)
            | Self::ReleaseBridge { .. }
            | Self::PassVlans { .. }
            | Self::IgnoreRouters { .. }
            | Self::JoinVlans { .. }
            // What is set on the other end goes with it.
            | Self::There { .. }
            | Self::DeleteLink { .. }
            | Self::DeleteGuestLink { .. }
            // The undo of the mark finds it wherever it is.
            | Self::MoveNic(_)
            | Self::ReturnNic { .. }
            | Self::SetGuestLink { .. }
            | Self::ReleaseVlanLink { .. }
            | Self::ReleaseShim { .. }
            | Self::RemoveReach(_)
            | Self::UnfollowLease(_)
            | Self::UnplugPort { .. }
            | Self::AwaitPort(_)
            | Self::AwaitForwarding { .. }
            | Self::AwaitGuestForwarding { .. }
            | Self::FreeLink { .. }
            | Self::SetHostLinkDown { .. }
            | Self::EnableIpv6 { .. }
            | Self::DisableTxChecksum { .. }
            | Self::SetUp { .. }
            | Self::AddAddress { .. }
            | Self::SetIpv6 { .. }
            | Self::ProbeAddresses(_)
            | Self::AwaitAddresses(_)
            | Self::RemoveRoute(_)
            | Self::RestoreRoute(_)
            | Self::ReleaseLease(_)
            | Self::ApplyLease(_)
            | Self::WithdrawLease(_)
            | Self::Verify(_)
            | Self::Announce { .. } => None,
        }
    }
}

/// The undo of a plan: each step's undo, in reverse.
pub fn undo(plan: &[Step]) -> Vec<Step> {
    let replaces_a_route = plan.iter().any(|step| matches!(step, Step::SetAsideRoute(_)));
    let is_needed =
        |step: &Step| replaces_a_route || !matches!(step, Step::RemoveRoute(route) if route.is_on_link());
    plan.iter().rev().filter_map(Step::undo).filter(is_needed).collect()
}
