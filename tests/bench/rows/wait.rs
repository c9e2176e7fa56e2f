//! How long after a link in a guest got its carrier a `Wait` is answered. The clock starts at the kernel's own notice,
//! which a socket of this program in the guest hears.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pipewright_api::condition::Condition;
use pipewright_tests::AgentOptions;
use pipewright_tests::netns::Inside;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, State};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use super::Length;
use crate::arena::Arena;
use crate::floor::Floor;
use crate::guests::{Guests, Seat};
use crate::samples::Samples;
use crate::table::Line;

/// Until the call has reached the agent and it has looked once.
const SETTLED: Duration = Duration::from_millis(30);

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    let mut arena = Arena::linux(AgentOptions::default())?;
    let guests = Guests::add(&arena.lab, length.rounds(10, 40))?;
    // A link that somebody else makes, in the agent's host.
    arena.floor = Floor::start(&arena.agents_host)?;
    let mut late = Samples::default();
    for seat in guests.seats() {
        late.add(round(&mut arena, &seat)?);
    }
    arena.finish()?;
    Ok(vec![Line::within("wait answered after carrier", None, &late, Duration::from_millis(1))])
}

fn round(arena: &mut Arena, seat: &Seat) -> Result<Duration> {
    let listener = Inside::new(&seat.netns).act(|| {
        const LINKS: u32 = 1;
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, LINKS))?;
        Ok(socket)
    })?;
    let name = seat.ifname.clone();
    let listening = std::thread::spawn(move || hear_up(&listener, &name));

    let (client, guest) = (arena.client.clone(), seat.reference()?);
    let ifname = seat.ifname.parse()?;
    let waiting = arena.runtime.spawn(async move {
        let state = client.wait(&guest, &ifname, Condition::Carrier, Duration::from_secs(10)).await;
        (state, Instant::now())
    });
    arena.runtime.block_on(async { tokio::time::sleep(SETTLED).await });
    let link = seat.link(arena.net);
    let (floor, runtime) = (&mut arena.floor, &arena.runtime);
    let (state, answered) = std::thread::scope(|scope| {
        // The pipe must not hold up the thread that the answer comes to.
        let attaching = scope.spawn(|| floor.attach(&link));
        let waited = runtime.block_on(waiting).context("the waiting task");
        attaching.join().map_err(|_| anyhow::anyhow!("the attaching thread panicked"))??;
        waited
    })?;
    state?;
    let noticed = listening.join().map_err(|_| anyhow::anyhow!("the listener panicked"))??;
    Ok(answered.saturating_duration_since(noticed))
}

fn hear_up(socket: &Socket, name: &str) -> Result<Instant> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (length, _) = socket.recv_from(&mut &mut buffer[..], 0)?;
        let heard = Instant::now();
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&buffer[..length])?;
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                let is_named = link.attributes.contains(&LinkAttribute::IfName(name.to_owned()));
                if is_named && link.attributes.contains(&LinkAttribute::OperState(State::Up)) {
                    return Ok(heard);
                }
            }
            NetlinkPayload::Error(error) => bail!("{error}"),
            _ => {}
        }
    }
}
