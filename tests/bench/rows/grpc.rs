//! The floor asked over gRPC instead of a pipe, with its link ready and announced, alone and with eight calls in flight: what of an
//! agent's time no agent can save.

use anyhow::Result;
use futures_util::{TryStreamExt as _, stream};
use pipewright_tests::AgentOptions;

use super::Length;
use super::flight::{AT_ONCE, ROUND};
use crate::arena::{Arena, rest};
use crate::floor::grpc::{self, BehindGrpc};
use crate::guests::Guests;
use crate::samples::Samples;
use crate::table::Line;

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    let mut arena = Arena::linux(AgentOptions::default())?;
    let server = BehindGrpc::start(&arena.agents_host)?;
    let client = arena.runtime.block_on(server.connect())?;
    let net = arena.net;
    let (singles, rounds) = (2 * length.rounds(20, 100), length.rounds(3, 9));
    let guests = Guests::add(&arena.lab, singles + 2 * ROUND * rounds)?;
    let seats = guests.seats();
    let (alone, many) = seats.split_at(singles);

    let (mut floor, mut bare) = (Samples::default(), Samples::default());
    for pair in alone.chunks_exact(2) {
        rest();
        floor.time(|| arena.floor.attach(&pair[0].link(net)))?;
        rest();
        bare.time(|| arena.runtime.block_on(grpc::attach(&client, &pair[1], net)))?;
    }
    let (mut floor_many, mut bare_many) = (Samples::default(), Samples::default());
    for seats in many.chunks_exact(2 * ROUND) {
        let (floors, others) = seats.split_at(ROUND);
        let links: Vec<_> = floors.iter().map(|seat| seat.link(net)).collect();
        floor_many.time_each(ROUND, || arena.floor.attach_all(&links))?;
        let calls = stream::iter(others.iter().map(Ok))
            .try_for_each_concurrent(AT_ONCE, |seat| grpc::attach(&client, seat, net));
        bare_many.time_each(ROUND, || arena.runtime.block_on(calls))?;
    }
    drop(client);
    drop(server);
    arena.leave();
    Ok(vec![
        Line::beside_floor("the floor by gRPC, ready and announced", &floor, &bare),
        Line::beside_floor("… 8 in flight, each", &floor_many, &bare_many),
    ])
}
