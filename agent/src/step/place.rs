//! Where steps are taken: by whom, and in which namespace.

use pipewright_api::spec::SwitchKind;

use super::{Far, Step};

/// Where a step is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// By netlink and sysctl, in the host or on both sides.
    Host,
    /// By netlink and sysctl, in the guest.
    Guest,
    /// By OVSDB.
    Ovs,
    /// By asking DHCP servers from the guest.
    Dhcp,
}

impl Step {
    /// Where it is taken.
    pub fn place(&self) -> Place {
        match self {
            Self::EnsureBridge { kind: SwitchKind::Ovs, .. }
            | Self::ReleaseBridge { kind: SwitchKind::Ovs, .. }
            | Self::PlugPort(_)
            | Self::UnplugPort { .. }
            | Self::SetPortVlan { .. }
            | Self::AwaitPort(_) => Place::Ovs,
            Self::EnsureBridge { kind: SwitchKind::LinuxBridge, .. }
            | Self::ReleaseBridge { kind: SwitchKind::LinuxBridge, .. }
            | Self::IgnoreRouters { .. }
            | Self::FilterVlans { .. }
            | Self::PassVlans { .. }
            | Self::CreateVeth(_)
            | Self::CreatePair(_)
            | Self::EnsureShim(_)
            | Self::ReleaseShim { .. }
            | Self::AddReach(_)
            | Self::RemoveReach(_)
            | Self::FollowLease(_)
            | Self::UnfollowLease(_)
            | Self::There { .. }
            | Self::JoinVlans { .. }
            | Self::DeleteLink { .. }
            | Self::CreateLink(_)
            | Self::MarkNic(_)
            | Self::MoveNic(_)
            | Self::ReturnNic { .. }
            | Self::EnsureVlanLink { .. }
            | Self::ReleaseVlanLink { .. }
            | Self::AwaitForwarding { .. }
            | Self::EnslaveLink { .. }
            | Self::FreeLink { .. }
            | Self::SetHostLinkUp { .. }
            | Self::SetHostLinkDown { .. }
            | Self::VerifyTraffic(_)
            | Self::Verify(_) => Place::Host,
            Self::EnableIpv6 { .. }
            | Self::DisableTxChecksum { .. }
            | Self::SetGuestLink { .. }
            | Self::SetUp { .. }
            | Self::AddAddress { .. }
            | Self::SetIpv6 { .. }
            | Self::ProbeAddresses(_)
            | Self::AwaitAddresses(_)
            | Self::AddRoute(_)
            | Self::RemoveRoute(_)
            | Self::SetAsideRoute(_)
            | Self::RestoreRoute(_)
            | Self::ApplyLease(_)
            | Self::WithdrawLease(_)
            | Self::AddTraffic(_)
            | Self::RemoveTraffic(_)
            | Self::Announce { .. }
            | Self::DeleteGuestLink { .. }
            | Self::AwaitGuestForwarding { .. } => Place::Guest,
            Self::AcquireLease(_) | Self::ReleaseLease(_) => Place::Dhcp,
        }
    }

    /// Whether it is taken inside the guest's network namespace. These are nothing to do once the guest is gone.
    pub fn is_in_guest(&self) -> bool {
        match self.place() {
            Place::Guest | Place::Dhcp => true,
            Place::Host | Place::Ovs => false,
        }
    }

    /// Whether it waits for what others on the network say, or do not say: seconds.
    pub fn asks_the_network(&self) -> bool {
        matches!(self, Self::AcquireLease(_) | Self::ProbeAddresses(_) | Self::AwaitAddresses(_))
    }

    /// Whether it is taken in the guest's network namespace for as long as there is one, and without it otherwise.
    pub fn looks_into_guest(&self) -> bool {
        self.is_in_guest() || matches!(self, Self::ReturnNic { .. })
    }
}

/// The steps of a plan that are taken at one end of a link, as if they were taken in the guest: with `None` the guest's own.
pub fn taken_at(plan: &[Step], end: Option<Far>) -> Vec<Step> {
    let at_end = |step: &Step| match (step, end) {
        (Step::There { whither, what }, Some(end)) => (*whither == end).then(|| (**what).clone()),
        (Step::There { .. }, None) => None,
        (step, None) => Some(step.clone()),
        (_, Some(_)) => None,
    };
    plan.iter().filter_map(at_end).collect()
}
