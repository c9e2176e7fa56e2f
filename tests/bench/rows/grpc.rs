//! The floor asked over gRPC instead of a pipe, with its link ready and announced, alone and with eight calls in flight: what of an
//! agent's time no agent can save.

use std::time::Instant;

use anyhow::Result;
use futures_util::{TryStreamExt as _, stream};
use pipewright_tests::AgentOptions;

use super::Length;
use super::flight::{self, AT_ONCE};
use crate::arena::Arena;
use crate::floor::grpc::{self, BehindGrpc};
use crate::guests::Guests;
use crate::table::Line;

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    let mut arena = Arena::linux(AgentOptions::default())?;
    let server = BehindGrpc::start(&arena.agents_host)?;
    let client = arena.runtime.block_on(server.connect())?;
    let net = arena.net;
    let singles = 2 * length.rounds(20, 100);
    let guests = Guests::add(&arena.lab, singles + flight::seats(length))?;
    let seats = guests.seats();
    let (alone, many) = seats.split_at(singles);

    let turns = arena.take_turns_with(alone, |arena, seat| {
        let begun = Instant::now();
        arena.runtime.block_on(grpc::attach(&client, seat, net))?;
        Ok(begun.elapsed())
    })?;
    let (floor, bare) = flight::rounds(&mut arena, many, |arena, seats| {
        let begun = Instant::now();
        let calls = stream::iter(seats.iter().map(Ok))
            .try_for_each_concurrent(AT_ONCE, |seat| grpc::attach(&client, seat, net));
        arena.runtime.block_on(calls)?;
        Ok(begun.elapsed())
    })?;
    drop(client);
    drop(server);
    arena.leave();
    Ok(vec![
        Line::beside_floor("the floor by gRPC, ready and announced", &turns.floor, &turns.agent),
        Line::beside_floor("… 8 in flight, each", &floor, &bare),
    ])
}
