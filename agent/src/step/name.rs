//! What steps are called in metrics.

use super::Step;

impl Step {
    /// Its name, as in records: `create_veth`. A step at the other end of a link is called as it would be at this one.
    pub fn name(&self) -> &'static str {
        match self {
            Self::EnsureBridge { .. } => "ensure_bridge",
            Self::ReleaseBridge { .. } => "release_bridge",
            Self::IgnoreRouters { .. } => "ignore_routers",
            Self::FilterVlans { .. } => "filter_vlans",
            Self::PassVlans { .. } => "pass_vlans",
            Self::CreateVeth(_) => "create_veth",
            Self::CreatePair(_) => "create_pair",
            Self::There { what, .. } => what.name(),
            Self::JoinVlans { .. } => "join_vlans",
            Self::DeleteLink { .. } => "delete_link",
            Self::CreateLink(_) => "create_link",
            Self::DeleteGuestLink { .. } => "delete_guest_link",
            Self::MarkNic(_) => "mark_nic",
            Self::MoveNic(_) => "move_nic",
            Self::ReturnNic { .. } => "return_nic",
            Self::SetGuestLink { .. } => "set_guest_link",
            Self::EnsureVlanLink { .. } => "ensure_vlan_link",
            Self::ReleaseVlanLink { .. } => "release_vlan_link",
            Self::EnsureShim(_) => "ensure_shim",
            Self::ReleaseShim { .. } => "release_shim",
            Self::AddReach(_) => "add_reach",
            Self::RemoveReach(_) => "remove_reach",
            Self::FollowLease(_) => "follow_lease",
            Self::UnfollowLease(_) => "unfollow_lease",
            Self::AwaitGuestForwarding { .. } => "await_guest_forwarding",
            Self::PlugPort(_) => "plug_port",
            Self::UnplugPort { .. } => "unplug_port",
            Self::SetPortVlan { .. } => "set_port_vlan",
            Self::AwaitPort(_) => "await_port",
            Self::AwaitForwarding { .. } => "await_forwarding",
            Self::EnslaveLink { .. } => "enslave_link",
            Self::FreeLink { .. } => "free_link",
            Self::SetHostLinkUp { .. } => "set_host_link_up",
            Self::SetHostLinkDown { .. } => "set_host_link_down",
            Self::EnableIpv6 { .. } => "enable_ipv6",
            Self::DisableTxChecksum { .. } => "disable_tx_checksum",
            Self::SetUp { .. } => "set_up",
            Self::AddAddress { .. } => "add_address",
            Self::SetIpv6 { .. } => "set_ipv6",
            Self::ProbeAddresses(_) => "probe_addresses",
            Self::AwaitAddresses(_) => "await_addresses",
            Self::AddRoute(_) => "add_route",
            Self::RemoveRoute(_) => "remove_route",
            Self::AddTraffic(_) => "add_traffic",
            Self::RemoveTraffic(_) => "remove_traffic",
            Self::VerifyTraffic(_) => "verify_traffic",
            Self::SetAsideRoute(_) => "set_aside_route",
            Self::RestoreRoute(_) => "restore_route",
            Self::AcquireLease(_) => "acquire_lease",
            Self::ReleaseLease(_) => "release_lease",
            Self::ApplyLease(_) => "apply_lease",
            Self::WithdrawLease(_) => "withdraw_lease",
            Self::Verify(_) => "verify",
            Self::Announce { .. } => "announce",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_called_in_metrics_as_in_records() {
        let steps = [
            Step::SetUp { ifname: "eth1".parse().unwrap() },
            Step::SetHostLinkUp { link: "eth1".parse().unwrap() },
            Step::EnableIpv6 { ifname: "eth1".parse().unwrap() },
            Step::DisableTxChecksum { ifname: "eth1".parse().unwrap() },
        ];
        for step in steps {
            assert_eq!(serde_json::to_value(&step).unwrap()["step"], step.name());
        }
    }
}
