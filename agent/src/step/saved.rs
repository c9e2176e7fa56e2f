//! Routes of the guest's own that ours replace for a while.

use serde::{Deserialize, Serialize};

/// A route of the guest's own, kept as the kernel gave it so that it can be put back to the letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRoute {
    /// As `ip route` shows it.
    pub text: String,
    /// The body of the kernel's RTM_NEWROUTE message, in hex.
    pub message: String,
}

impl SavedRoute {
    /// Whether it is a route of IPv6: `rtm_family`, the first byte of the message, is AF_INET6.
    pub fn is_ipv6(&self) -> bool {
        self.message.starts_with("0a")
    }
}
