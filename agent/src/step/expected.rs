//! What must be there when a plan has been carried out.

use pipewright_api::net::InterfaceAddr;
use serde::{Deserialize, Serialize};

use super::{End, GuestLink, GuestRoute, Veth, WholeLink};

/// What must be read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The link as it was asked for.
    pub ends: Ends,
    /// Addresses of the guest's end.
    pub addresses: Vec<InterfaceAddr>,
    /// Routes over it.
    pub routes: Vec<GuestRoute>,
}

/// A link with all its ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// One in the host, one in the guest.
    Pair(Veth),
    /// One in the guest.
    Single(GuestLink),
    /// One of a pair that is plugged into nothing, wherever it is.
    Either(End),
    /// One of the host's, in the guest.
    Whole(WholeLink),
}
