//! A switch to try things on, and what is asked of it.

use std::time::{Duration, Instant};

use pipewright_agent::switches::ovs::{Datapath, Ovs, Patience, Plug, Purpose};
use pipewright_api::labels::Labels;
use pipewright_api::net::{LinkName, VlanId};
use pipewright_api::spec::Vlan;
use uuid::Uuid;

use super::OvsServer;

pub(crate) fn name(text: &str) -> LinkName {
    text.parse().unwrap()
}

pub(crate) fn vlan(id: u32) -> Vlan {
    Vlan::Access(VlanId::try_from(id).unwrap())
}

pub(crate) fn plug(bridge: &str, port: &str, id: Uuid) -> Plug {
    Plug {
        bridge: name(bridge),
        port: name(port),
        vlan: vlan(42),
        id,
        purpose: Purpose::Guest,
        labels: Labels::default(),
    }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

pub(crate) fn connect(server: &OvsServer) -> Ovs {
    Ovs::new(server.endpoint().parse().unwrap(), Datapath::Netdev)
}

/// Gives up soon on a server that does not answer.
pub(crate) fn impatient(endpoint: &str) -> Ovs {
    let mut patience = Patience { call: Duration::from_millis(300), ..Patience::default() };
    patience.ovsdb.probe = Duration::from_secs(1);
    Ovs::with_patience(endpoint.parse().unwrap(), Datapath::Netdev, patience)
}

/// A server without ovs-vswitchd, and a bridge in it that an administrator made.
pub(crate) fn server_with_bridge() -> OvsServer {
    let server = OvsServer::start();
    server.vsctl(&["add-br", "br0"]);
    server
}
