//! One attach after another whose address is a DHCP server's to give: a dnsmasq in each host, on its bridge.

use anyhow::Result;
use pipewright_tests::{DhcpServer, Host, Need};

use super::Length;
use crate::arena::Arena;
use crate::guests::Guests;
use crate::table::Line;

const WHAT: &str = "attach with a DHCP lease";

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    if let Some((_, why)) = Need::Dhcp.unmet() {
        return Ok(vec![Line::free(WHAT, why, "", true)]);
    }
    let mut arena = Arena::dhcp()?;
    let servers = (serve(&arena, &arena.agents_host)?, serve(&arena, &arena.floors_host)?);
    let guests = Guests::add(&arena.lab, 2 * length.rounds(15, 60))?;
    let turns = arena.take_turns(&guests.seats())?;
    arena.detach_all(&turns.ours, 16)?;
    drop(servers);
    arena.finish()?;
    Ok(vec![Line::beside_floor(WHAT, &turns.floor, &turns.agent)])
}

/// Names the bridge's own address as router by itself.
fn serve(arena: &Arena, host: &Host) -> Result<DhcpServer> {
    let range = "198.18.1.0,198.18.9.255,255.254.0.0,1h";
    DhcpServer::dnsmasq_on(arena.net.uplink, host.inside(), &host.dir().join("dnsmasq"), range, "")
}
