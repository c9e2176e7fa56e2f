//! A thousand attachments: whether the first packet passes, how long a list takes, what they weigh, and how soon a new agent
//! keeps them.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pipewright_tests::AgentOptions;
use pipewright_tests::netns::Inside;
use pipewright_tests::process::Process;

use super::{Length, memory};
use crate::arena::Arena;
use crate::guests::{GATEWAY, Guests, Seat};
use crate::samples::{Samples, milliseconds};
use crate::table::Line;

/// Attached when their packets are sent. Each new link has its guest and its neighbours flood some frames to all ports, and
/// from some hundreds of ports on the kernel drops frames of such a flood (net.core.netdev_max_backlog), whoever plugs.
const TOGETHER: usize = 50;
/// A packet later than that had its neighbour asked for a second time.
const LATE: Duration = Duration::from_millis(500);
const PORT: u16 = 9009;
/// More than ever it takes to look at everything.
const KEPT: Duration = Duration::from_secs(60);

pub(super) fn measure(length: Length) -> Result<Vec<Line>> {
    let mut arena = Arena::linux(AgentOptions::default())?;
    // A linux bridge takes 1,023.
    let count = length.rounds(200, 1000);
    let guests = Guests::add(&arena.lab, count)?;
    let seats = guests.seats();

    let mut lines = vec![first_packets(&arena, &seats)?];

    arena.attach_all(&seats, 8)?;
    arena.settle()?;
    let (mut list, mut dump) = (Samples::default(), Samples::default());
    // In the host that has the links.
    arena.floor = crate::floor::Floor::start(&arena.agents_host)?;
    for _ in 0..length.rounds(10, 20) {
        let listing = list.time(|| Ok(arena.runtime.block_on(arena.client.list(&Default::default()))?))?;
        ensure!(listing.attachments.len() == count, "{} are listed", listing.attachments.len());
        dump.time(|| arena.floor.dump())?;
    }
    let what = format!("list of {count}, against a dump of all links");
    lines.push(Line::against(&what, &dump, &list, 5.0));
    let late = list.percentile(99);
    let what = format!("list of {count}, the slowest of {}", list.len());
    lines.push(Line::free(what, milliseconds(late), "≤ 50 ms", late <= Duration::from_millis(50)));
    lines.push(memory::resident(&arena.agent, &format!("memory with {count} attachments"), 20.0)?);

    lines.extend(restarts(&arena, &seats)?);
    // The last one's connection ended with the agent that it was to.
    arena.client = arena.connect()?;

    arena.detach_all(&seats, 64)?;
    arena.finish()?;
    Ok(lines)
}

/// The agent is killed and started again, and told to stop and started again as for an upgrade. Each time a link is set down
/// while no agent runs: when it is up again, everything has been looked at.
fn restarts(arena: &Arena, seats: &[Seat]) -> Result<Vec<Line>> {
    let (first, last) = seats.first().zip(seats.last()).context("there are guests")?;
    let (pinged, inside) = (Inside::new(&first.netns), Inside::new(&last.netns));
    let ping = ["-n", "-q", "-i", "0.001", &GATEWAY.to_string()].map(str::to_owned);
    let ping = Process::spawn("ping", pinged.command("ping")?.args(ping))?;
    let (mut ready, mut kept) = (Samples::default(), Samples::default());
    for is_upgrade in [false, true, false, true] {
        match is_upgrade {
            true => arena.agent.terminate()?,
            false => arena.agent.kill9()?,
        }
        inside.ip(&format!("link set {} down", last.ifname))?;
        let begun = Instant::now();
        arena.agent.start()?;
        ready.add(begun.elapsed());
        // Each look starts a program, which paces it.
        while !inside.ip(&format!("link show {} up", last.ifname))?.contains(&last.ifname) {
            ensure!(begun.elapsed() < KEPT, "a link that was set down stays down");
        }
        kept.add(begun.elapsed());
    }
    ping.signal(rustix::process::Signal::INT)?;
    let said = ping.wait_line(|line| line.contains("packets transmitted"), KEPT)?;
    let is_whole = said.contains(" 0% packet loss");
    let count = seats.len();
    Ok(vec![
        Line::within(
            &format!("restart of the agent with {count} until ready"),
            None,
            &ready,
            Duration::from_secs(5),
        ),
        Line::within(&format!("… until all {count} were looked at"), None, &kept, Duration::from_secs(5)),
        Line::free(
            "… a ping each ms meanwhile",
            said.split(", time").next().unwrap_or_default(),
            "no loss",
            is_whole,
        ),
    ])
}

/// Sends a packet the moment that the attach is answered.
fn first_packets(arena: &Arena, seats: &[Seat]) -> Result<Line> {
    let senders: Vec<UdpSocket> = seats
        .iter()
        .map(|seat| Inside::new(&seat.netns).act(|| Ok(UdpSocket::bind("0.0.0.0:0")?)))
        .collect::<Result<_>>()?;
    let receiver = arena.agents_host.inside().act(|| Ok(UdpSocket::bind((GATEWAY, PORT))?))?;
    receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
    let expected = seats.len();
    let receiving = thread::spawn(move || {
        let mut arrived = vec![None; expected];
        let mut number = [0; 2];
        // Ends when all have come, or none came for two seconds.
        while arrived.iter().any(Option::is_none) {
            let Ok((2, _)) = receiver.recv_from(&mut number) else { break };
            arrived[usize::from(u16::from_be_bytes(number))] = Some(Instant::now());
        }
        arrived
    });

    let mut sent = Vec::new();
    let mut times = Samples::default();
    for (seats, senders) in seats.chunks(TOGETHER).zip(senders.chunks(TOGETHER)) {
        for (seat, sender) in seats.iter().zip(senders) {
            times.add(arena.attach(seat)?);
            sent.push(Instant::now());
            sender.send_to(&seat.number.to_be_bytes(), (GATEWAY, PORT))?;
        }
        arena.detach_all(seats, 8)?;
        // The kernel keeps a gone neighbour for 5 s at least, and 1,024 of all namespaces together (gc_thresh3).
        arena.agents_host.inside().ip(&format!("neigh flush dev {}", arena.net.uplink))?;
    }
    let arrived = receiving.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))?;
    let is_lost = |(sent, arrived): (&Instant, &Option<Instant>)| {
        arrived.is_none_or(|arrived| arrived.duration_since(*sent) > LATE)
    };
    let lost = sent.iter().zip(&arrived).filter(|&pair| is_lost(pair)).count();
    let first = times.len().checked_sub(1).context("no attach")?;
    let what = format!("first packets lost after attach (of {})", first + 1);
    Ok(Line::free(what, lost.to_string(), "0", lost == 0))
}
