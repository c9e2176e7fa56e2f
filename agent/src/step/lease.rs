//! What steps of DHCP are about.

use pipewright_api::net::{LinkName, MacAddr};
use pipewright_api::spec::DuplicateCheck;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::SavedRoute;
use crate::dhcp::given::{Family, Identity};

/// What is asked of DHCP servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// The attachment.
    pub id: Uuid,
    /// The guest's end.
    pub ifname: LinkName,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Whom servers know it as, and by which protocol.
    pub identity: Identity,
    /// Whether the network is asked for an address before it is used.
    #[serde(default)]
    pub check: DuplicateCheck,
}

/// What is done with what a server gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseUse {
    /// The attachment.
    pub id: Uuid,
    /// The guest's end.
    pub ifname: LinkName,
    /// Its MAC address.
    pub mac: MacAddr,
    /// By which protocol.
    #[serde(default)]
    pub family: Family,
    /// Whether a default route of the server's is used; not when the caller named a gateway.
    pub takes_default: bool,
    /// Default routes of the guest that it replaces, if the server has one.
    pub replaces: Vec<SavedRoute>,
}
