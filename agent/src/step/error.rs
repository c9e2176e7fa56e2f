//! Why a step was refused.

use std::net::IpAddr;

use pipewright_api::net::MacAddr;

use crate::switches::ovs::SwitchError;

/// Why a step was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StepError {
    /// The kernel said no.
    #[error("{step}: {text}")]
    Kernel {
        /// The step as a line.
        step: String,
        /// Positive errno.
        errno: i32,
        /// The kernel's own words, or the errno's.
        text: String,
    },
    /// Open vSwitch or OVSDB said no.
    #[error("{step}: {source}")]
    Switch {
        /// The step as a line.
        step: String,
        /// Its reason.
        source: SwitchError,
    },
    /// What was read back is not what was asked for.
    #[error("{object} has {what} {found} instead of {expected}")]
    NotAsAsked {
        /// The link.
        object: String,
        /// The property.
        what: &'static str,
        /// As read back.
        found: String,
        /// As asked.
        expected: String,
    },
    /// It did not become ready in time.
    #[error("{object} is not forwarding after {seconds} s: its operstate is {operstate}")]
    NotForwarding {
        /// The host's end.
        object: String,
        /// How long we waited.
        seconds: u64,
        /// Last state seen.
        operstate: String,
    },
    /// The kernel has no such links.
    #[error(
        "{step}: this kernel has no {kind} links; load its module with `modprobe {module}`, or use a kernel that has it"
    )]
    NotSupported {
        /// The step as a line.
        step: String,
        /// What `ip -d link` calls them.
        kind: &'static str,
        /// The module of the kernel.
        module: &'static str,
    },
    /// The kernel was built without VLANs of bridges.
    #[error(
        "{step}: this kernel's bridges cannot filter VLANs (CONFIG_BRIDGE_VLAN_FILTERING); use an Open vSwitch bridge, or \
         a kernel that can"
    )]
    NoFiltering {
        /// The step as a line.
        step: String,
    },
    /// The link cannot leave its network namespace.
    #[error("{step}: {link} cannot be moved: {why}; use macvlan on it instead")]
    NotMovable {
        /// The step as a line.
        step: String,
        /// The link of the host.
        link: String,
        /// The kernel's words.
        why: String,
    },
    /// Something else has the parent for itself.
    #[error("{step}: {parent} is in use: {why}")]
    ParentBusy {
        /// The step as a line.
        step: String,
        /// The link of the host.
        parent: String,
        /// What for, and what to do.
        why: String,
    },
    /// Another host has the address.
    #[error("{address} is in use on the network of {ifname} by {}", .holder.map_or_else(|| "another host".to_owned(), |mac| mac.to_string()))]
    AddressInUse {
        /// The guest's end.
        ifname: String,
        /// The address.
        address: IpAddr,
        /// The other's MAC address, if it is known.
        holder: Option<MacAddr>,
    },
    /// No server gave an address.
    #[error("no address for {ifname} after {seconds} s: {seen}")]
    NoLease {
        /// The guest's end.
        ifname: String,
        /// How long servers were asked.
        seconds: u64,
        /// What they said.
        seen: String,
    },
    /// The guest went away.
    #[error("the guest is gone")]
    GuestGone,
    /// Refused by the fault seam of the tests.
    #[error("{step}: refused by a test")]
    Injected {
        /// The step as a line.
        step: String,
    },
}
