//! What steps share: bridges, parents and sub-interfaces of the host stay as long as anybody needs them, and so does what
//! was switched on for several.

use pipewright_api::net::LinkName;

use super::{Nic, Step};
use crate::switches::ovs::Purpose;

/// Something of the host that several may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared<'a> {
    /// A link, and that it is up.
    Link(&'a LinkName),
    /// That a linux bridge keeps VLANs apart.
    Filtering(&'a LinkName),
}

impl<'a> Shared<'a> {
    /// The link that it is about.
    pub fn link(self) -> &'a LinkName {
        match self {
            Self::Link(link) | Self::Filtering(link) => link,
        }
    }
}

impl Step {
    /// What a step lets go of that others may share. It is taken only when nobody else needs that.
    pub fn releases(&self) -> Option<Shared<'_>> {
        match self {
            Self::ReleaseBridge { bridge, .. } => Some(Shared::Link(bridge)),
            Self::ReleaseVlanLink { link } | Self::SetHostLinkDown { link } => Some(Shared::Link(link)),
            Self::PassVlans { bridge, .. } => Some(Shared::Filtering(bridge)),
            Self::ReleaseShim { link } => Some(Shared::Link(link)),
            Self::EnsureBridge { .. }
            | Self::IgnoreRouters { .. }
            | Self::FilterVlans { .. }
            | Self::CreateVeth(_)
            | Self::CreatePair(_)
            | Self::EnsureShim(_)
            | Self::AddReach(_)
            | Self::RemoveReach(_)
            | Self::FollowLease(_)
            | Self::UnfollowLease(_)
            | Self::There { .. }
            | Self::JoinVlans { .. }
            | Self::DeleteLink { .. }
            | Self::CreateLink(_)
            | Self::DeleteGuestLink { .. }
            | Self::MarkNic(_)
            | Self::MoveNic(_)
            | Self::ReturnNic { .. }
            | Self::SetGuestLink { .. }
            | Self::EnsureVlanLink { .. }
            | Self::AwaitGuestForwarding { .. }
            | Self::PlugPort(_)
            | Self::UnplugPort { .. }
            | Self::SetPortVlan { .. }
            | Self::AwaitPort(_)
            | Self::AwaitForwarding { .. }
            | Self::EnslaveLink { .. }
            | Self::FreeLink { .. }
            | Self::SetHostLinkUp { .. }
            | Self::EnableIpv6 { .. }
            | Self::DisableTxChecksum { .. }
            | Self::SetUp { .. }
            | Self::AddAddress { .. }
            | Self::SetIpv6 { .. }
            | Self::ProbeAddresses(_)
            | Self::AwaitAddresses(_)
            | Self::AddRoute(_)
            | Self::RemoveRoute(_)
            | Self::SetAsideRoute(_)
            | Self::RestoreRoute(_)
            | Self::AcquireLease(_)
            | Self::ReleaseLease(_)
            | Self::ApplyLease(_)
            | Self::WithdrawLease(_)
            | Self::AddTraffic(_)
            | Self::RemoveTraffic(_)
            | Self::VerifyTraffic(_)
            | Self::Verify(_)
            | Self::Announce { .. } => None,
        }
    }

    /// What others may share and what must stay as long as what the step made.
    fn needed(&self) -> [Option<Shared<'_>>; 2] {
        match self {
            Self::EnsureBridge { bridge, .. } => [Some(Shared::Link(bridge)), None],
            Self::FilterVlans { bridge, .. } => [Some(Shared::Link(bridge)), Some(Shared::Filtering(bridge))],
            Self::CreateVeth(veth) => [veth.bridge.as_ref().map(Shared::Link), None],
            Self::CreateLink(link) => [link.what.parent().map(Shared::Link), None],
            Self::EnsureVlanLink { link, parent, .. } => {
                [Some(Shared::Link(link)), Some(Shared::Link(parent))]
            }
            Self::MarkNic(nic) => [Some(Shared::Link(&nic.name)), None],
            Self::PlugPort(port) => {
                let uplink = (port.purpose == Purpose::Uplink).then_some(Shared::Link(&port.port));
                [Some(Shared::Link(&port.bridge)), uplink]
            }
            Self::EnslaveLink { link, bridge } => [Some(Shared::Link(link)), Some(Shared::Link(bridge))],
            Self::EnsureShim(shim) => [Some(Shared::Link(&shim.link)), Some(Shared::Link(&shim.parent))],
            Self::AddReach(reach) => [Some(Shared::Link(&reach.link)), None],
            Self::FollowLease(reach) => [Some(Shared::Link(&reach.link)), None],
            Self::SetHostLinkUp { link } => [Some(Shared::Link(link)), None],
            Self::ReleaseBridge { .. }
            | Self::PassVlans { .. }
            | Self::IgnoreRouters { .. }
            | Self::CreatePair(_)
            | Self::ReleaseShim { .. }
            | Self::RemoveReach(_)
            | Self::UnfollowLease(_)
            | Self::There { .. }
            | Self::JoinVlans { .. }
            | Self::DeleteLink { .. }
            | Self::DeleteGuestLink { .. }
            | Self::MoveNic(_)
            | Self::ReturnNic { .. }
            | Self::SetGuestLink { .. }
            | Self::ReleaseVlanLink { .. }
            | Self::AwaitGuestForwarding { .. }
            | Self::UnplugPort { .. }
            | Self::SetPortVlan { .. }
            | Self::AwaitPort(_)
            | Self::AwaitForwarding { .. }
            | Self::FreeLink { .. }
            | Self::SetHostLinkDown { .. }
            | Self::EnableIpv6 { .. }
            | Self::DisableTxChecksum { .. }
            | Self::SetUp { .. }
            | Self::AddAddress { .. }
            | Self::SetIpv6 { .. }
            | Self::ProbeAddresses(_)
            | Self::AwaitAddresses(_)
            | Self::AddRoute(_)
            | Self::RemoveRoute(_)
            | Self::SetAsideRoute(_)
            | Self::RestoreRoute(_)
            | Self::AcquireLease(_)
            | Self::ReleaseLease(_)
            | Self::ApplyLease(_)
            | Self::WithdrawLease(_)
            | Self::AddTraffic(_)
            | Self::RemoveTraffic(_)
            | Self::VerifyTraffic(_)
            | Self::Verify(_)
            | Self::Announce { .. } => [None, None],
        }
    }
}

/// What a plan stands on and others may share: bridges, parents, what it set up or switched on.
pub fn needs(plan: &[Step]) -> impl Iterator<Item = Shared<'_>> {
    plan.iter().flat_map(Step::needed).flatten()
}

/// What others may share and stays, although nobody else needs it: a step that stands on it could not be taken back.
pub fn stays<'a>(plan: &'a [Step], left: &'a [Step]) -> impl Iterator<Item = Shared<'a>> {
    let is_left = |step: &&Step| step.undo().is_some_and(|undo| left.contains(&undo));
    plan.iter().filter(is_left).flat_map(Step::needed).flatten()
}

/// The link of the host that a plan takes away from it for a while.
pub fn lent(plan: &[Step]) -> Option<&Nic> {
    plan.iter().find_map(|step| match step {
        Step::MarkNic(nic) => Some(&**nic),
        _ => None,
    })
}
