//! How large the packets of a link can be.

use pipewright_api::net::Mtu;

use super::{Bridge, Direct, Found, Ground};

impl Ground {
    /// What passes the uplink; `None` when there is none, or its driver decides.
    pub(super) fn room(&self) -> Option<Room> {
        let most = match &self.uplink {
            Found::Bridge(Bridge::Missing(_)) => Mtu::ETHERNET.get(),
            Found::Bridge(Bridge::Linux { mtu, .. } | Bridge::Ovs { mtu, .. }) => *mtu,
            Found::Macvlan(parent) | Found::Ipvlan(parent) | Found::Vlan(parent) => parent.room(),
            Found::Direct(Direct::Born(parent)) => parent.room(),
            Found::Direct(Direct::Lent(nic)) => {
                return Some(Room { usual: nic.state.mtu, most: nic.most_mtu });
            }
            Found::Ipoib(_) | Found::Nothing | Found::Host | Found::Guest(_) => return None,
        };
        Some(Room { usual: most, most })
    }
}

/// How much passes an uplink, in bytes.
pub(super) struct Room {
    /// When nothing else is asked for.
    pub(super) usual: u32,
    /// At most.
    pub(super) most: u32,
}
