//! What steps share: bridges, parents and sub-interfaces of the host stay as long as anybody needs them.

use pipewright_api::net::LinkName;

use super::Step;
use crate::switches::ovs::Purpose;

impl Step {
    /// What a step lets go of that others may share: the link of the host of that name. It is taken only when nobody else
    /// needs the link.
    pub fn releases(&self) -> Option<&LinkName> {
        match self {
            Self::ReleaseBridge { bridge, .. } => Some(bridge),
            Self::ReleaseVlanLink { link } | Self::SetHostLinkDown { link } => Some(link),
            Self::EnsureBridge { .. }
            | Self::CreateVeth(_)
            | Self::DeleteLink { .. }
            | Self::CreateLink(_)
            | Self::DeleteGuestLink { .. }
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
            | Self::AddRoute(_)
            | Self::RemoveRoute(_)
            | Self::SetAsideRoute(_)
            | Self::RestoreRoute(_)
            | Self::AcquireLease(_)
            | Self::ReleaseLease(_)
            | Self::ApplyLease(_)
            | Self::WithdrawLease(_)
            | Self::Verify(_)
            | Self::Announce { .. } => None,
        }
    }

    /// The links of the host that others may share and that must stay as long as what the step made.
    fn needed(&self) -> [Option<&LinkName>; 2] {
        match self {
            Self::EnsureBridge { bridge, .. } => [Some(bridge), None],
            Self::CreateVeth(veth) => [veth.bridge.as_ref(), None],
            Self::CreateLink(link) => [link.what.parent(), None],
            Self::EnsureVlanLink { link, parent, .. } => [Some(link), Some(parent)],
            Self::PlugPort(port) => {
                [Some(&port.bridge), (port.purpose == Purpose::Uplink).then_some(&port.port)]
            }
            Self::EnslaveLink { link, bridge } => [Some(link), Some(bridge)],
            Self::SetHostLinkUp { link } => [Some(link), None],
            Self::ReleaseBridge { .. }
            | Self::DeleteLink { .. }
            | Self::DeleteGuestLink { .. }
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
            | Self::AddRoute(_)
            | Self::RemoveRoute(_)
            | Self::SetAsideRoute(_)
            | Self::RestoreRoute(_)
            | Self::AcquireLease(_)
            | Self::ReleaseLease(_)
            | Self::ApplyLease(_)
            | Self::WithdrawLease(_)
            | Self::Verify(_)
            | Self::Announce { .. } => [None, None],
        }
    }
}

/// The links of the host that a plan stands on and others may share: bridges, parents, what it set up.
pub fn needs(plan: &[Step]) -> impl Iterator<Item = &LinkName> {
    plan.iter().flat_map(Step::needed).flatten()
}
