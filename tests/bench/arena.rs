//! Two hosts that are alike: on one the floor, on the other an agent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use pipewright_api::client::Client;
use pipewright_api::request::DetachTarget;
use pipewright_tests::process::stat_field;
use pipewright_tests::{Agent, AgentOptions, Host, Lab};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::floor::Floor;
use crate::floor::kernel::Plug;
use crate::guests::{Net, Seat, own_address};
use crate::samples::Samples;

const LINUX: Net = Net { uplink: "br0", plug: Plug::LinuxBridge, is_leased: false };
const OVS: Net = Net { uplink: "ovs0", plug: Plug::Ovs { tag: 100 }, is_leased: false };
const NIC: Net = Net { uplink: "eth1", plug: Plug::Macvlan, is_leased: false };
const DHCP: Net = Net { is_leased: true, ..LINUX };
const SECOND: Duration = Duration::from_secs(1);
/// What an agent may use of a second and be at rest, and what all may use of it.
const FEW_TICKS: u64 = 2;
const SOME_TICKS: u64 = 10;
/// Longer than anything that is measured.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Both contestants of one row, warm.
pub(crate) struct Arena {
    // Dropped first: its tasks hold connections to the agent.
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    pub(crate) floor: Floor,
    pub(crate) agent: Arc<Agent>,
    pub(crate) agents_host: Arc<Host>,
    pub(crate) floors_host: Arc<Host>,
    pub(crate) net: Net,
    pub(crate) lab: Lab,
}

impl Arena {
    /// With a linux bridge each.
    pub(crate) fn linux(options: AgentOptions) -> Result<Self> {
        Self::new(LINUX, options)
    }

    /// With an Open vSwitch each.
    pub(crate) fn ovs() -> Result<Self> {
        Self::new(OVS, AgentOptions::default())
    }

    /// With a NIC each, for macvlans.
    pub(crate) fn nic() -> Result<Self> {
        Self::new(NIC, AgentOptions::default())
    }

    /// With a linux bridge each that is to have a DHCP server.
    pub(crate) fn dhcp() -> Result<Self> {
        Self::new(DHCP, AgentOptions::default())
    }

    fn new(net: Net, options: AgentOptions) -> Result<Self> {
        let lab = Lab::new()?;
        let (floors_host, agents_host) = (lab.host("floor")?, lab.host("agent")?);
        for host in [&floors_host, &agents_host] {
            let (ip, uplink) = (host.inside(), net.uplink);
            match net.plug {
                Plug::Ovs { .. } => host.ovs()?.add_bridge(uplink)?,
                Plug::LinuxBridge => {
                    ip.ip(&format!("link add {uplink} type bridge"))?;
                    ip.ip(&format!("link set {uplink} up"))?;
                    ip.ip(&format!("address add {} dev {uplink}", own_address()?))?;
                }
                // Every host of a lab has it, up.
                Plug::Macvlan => {}
            }
        }
        let agent = agents_host.agent(options)?;
        // One thread, so that a call costs the caller as few wake-ups as it can.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = connect(&runtime, &agent)?;
        let floor = Floor::start(&floors_host)?;
        let arena = Self { runtime, client, floor, agent, agents_host, floors_host, net, lab };
        // Connected.
        arena.runtime.block_on(arena.client.list(&Default::default()))?;
        Ok(arena)
    }

    /// Another connection to the agent.
    pub(crate) fn connect(&self) -> Result<Client> {
        let client = connect(&self.runtime, &self.agent)?;
        self.runtime.block_on(client.list(&Default::default()))?;
        Ok(client)
    }

    /// One attach, from the call to its answer.
    pub(crate) fn attach(&self, seat: &Seat) -> Result<Duration> {
        let (spec, request) = (seat.spec(self.net)?, Uuid::new_v4());
        let begun = Instant::now();
        let attached = self.runtime.block_on(self.client.attach(request, &spec, false))?;
        let time = begun.elapsed();
        ensure!(attached.created, "{} was attached already", seat.guest);
        Ok(time)
    }

    /// One detach, from the call to its answer.
    pub(crate) fn detach(&self, seat: &Seat) -> Result<Duration> {
        let begun = Instant::now();
        let gone = self.runtime.block_on(detach(&self.client, seat))?;
        let time = begun.elapsed();
        ensure!(gone == 1, "{} had {gone} links of ours", seat.guest);
        Ok(time)
    }

    /// Attaches with so many calls open at once; the time of all together.
    pub(crate) fn attach_all(&self, seats: &[Seat], at_once: usize) -> Result<Duration> {
        let begun = Instant::now();
        self.runtime.block_on(
            stream::iter(seats.iter().map(Ok))
                .try_for_each_concurrent(at_once, async |seat| attach(&self.client, seat, self.net).await),
        )?;
        Ok(begun.elapsed())
    }

    /// Detaches with so many calls open at once; the time of all together.
    pub(crate) fn detach_all(&self, seats: &[Seat], at_once: usize) -> Result<Duration> {
        let begun = Instant::now();
        let calls = stream::iter(seats).map(|seat| detach(&self.client, seat)).buffer_unordered(at_once);
        let gone: Vec<usize> = self.runtime.block_on(calls.try_collect())?;
        ensure!(gone.iter().sum::<usize>() == seats.len(), "not all were detached");
        Ok(begun.elapsed())
    }

    /// Takes turns, round by round, each contestant first in every other one. The first three rounds are for warming up.
    pub(crate) fn take_turns(&mut self, seats: &[Seat]) -> Result<Turns> {
        self.take_turns_with(seats, Self::attach)
    }

    /// The same, of the floor and whoever attaches so in the agent's host.
    pub(crate) fn take_turns_with(
        &mut self,
        seats: &[Seat],
        attach: impl Fn(&Self, &Seat) -> Result<Duration>,
    ) -> Result<Turns> {
        const WARM_UP: usize = 3;
        let attach_rested = |arena: &Self, seat: &Seat| {
            rest();
            attach(arena, seat)
        };
        let mut turns = Turns::default();
        for (round, pair) in seats.chunks_exact(2).enumerate() {
            let [first, second] = pair else { continue };
            let is_first = round % 2 == 0;
            let (ours, floors) = if is_first { (first, second) } else { (second, first) };
            let link = floors.link(self.net);
            let early = is_first.then(|| attach_rested(self, ours)).transpose()?;
            rest();
            let begun = Instant::now();
            self.floor.attach(&link)?;
            let floor_time = begun.elapsed();
            let time = early.map_or_else(|| attach_rested(self, ours), Ok)?;
            if round >= WARM_UP {
                turns.floor.add(floor_time);
                turns.agent.add(time);
            }
            turns.ours.push(ours.clone());
            turns.floors.push(floors.clone());
        }
        self.check(turns.ours.last().context("a row without rounds")?)?;
        self.check(turns.floors.last().context("a row without rounds")?)?;
        Ok(turns)
    }

    /// Both did what was asked.
    fn check(&self, seat: &Seat) -> Result<()> {
        let inside = pipewright_tests::netns::Inside::new(&seat.netns);
        let address = inside.ip(&format!("-4 address show dev {}", seat.ifname))?;
        let wanted = if self.net.is_leased { "inet 198.".to_owned() } else { format!("{}/", seat.address()) };
        ensure!(address.contains(&wanted), "{}: {address}", seat.guest);
        if seat.has_gateway {
            let route = inside.ip("-4 route show default")?;
            ensure!(route.contains(&seat.ifname), "{}: {route}", seat.guest);
        }
        Ok(())
    }

    /// Returns once the agent is at rest, and the kernel with it: the one looks at what it made and tells the neighbours again,
    /// the other has each new guest ask for routers, which floods all ports.
    pub(crate) fn settle(&self) -> Result<()> {
        let end = Instant::now() + TIMEOUT;
        let mut before = (self.ticks()?, busy_ticks()?);
        while Instant::now() < end {
            let look = Instant::now() + SECOND;
            while Instant::now() < look {
                rest();
            }
            let now = (self.ticks()?, busy_ticks()?);
            if now.0 - before.0 <= FEW_TICKS && now.1 - before.1 <= SOME_TICKS {
                return Ok(());
            }
            before = now;
        }
        // A machine with other work is measured as it is.
        Ok(())
    }

    /// The CPU time that the agent has used, in ticks (proc_pid_stat(5), fields 14 and 15).
    fn ticks(&self) -> Result<u64> {
        let pid = self.agent.pid().context("the agent ended")?;
        let (user, system): (u64, u64) = (stat_field(pid, 14)?.parse()?, stat_field(pid, 15)?.parse()?);
        Ok(user + system)
    }

    /// The end; nothing of the agent may be left.
    pub(crate) fn finish(self) -> Result<()> {
        drop(self.client);
        drop(self.runtime);
        drop(self.floor);
        self.lab.finish()
    }

    /// The end of a row whose links go with their namespaces.
    pub(crate) fn leave(self) {
        drop(self.client);
        drop(self.runtime);
        drop(self.floor);
        self.lab.leave();
    }
}

/// What both contestants did in turns.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    pub(crate) floor: Samples,
    pub(crate) agent: Samples,
    /// The agent's links.
    pub(crate) ours: Vec<Seat>,
    /// The floor's.
    pub(crate) floors: Vec<Seat>,
}

/// The kernel goes on with a new link for a while (carrier, IPv6), with its lock held: that must not hit the next turn,
/// which is somebody else's.
#[allow(
    clippy::disallowed_methods,
    reason = "no event says that the kernel is done, and nothing waits for it here"
)]
pub(crate) fn rest() {
    std::thread::sleep(Duration::from_millis(4));
}

/// The CPU time that was used on this machine, in ticks: user, nice, system, irq and softirq of proc_stat(5).
fn busy_ticks() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let all = stat.lines().next().context("proc_stat")?;
    let fields: Vec<u64> = all.split_ascii_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    Ok([0, 1, 2, 5, 6].iter().filter_map(|&field| fields.get(field)).sum())
}

fn connect(runtime: &Runtime, agent: &Agent) -> Result<Client> {
    let _inside = runtime.enter();
    Ok(Client::connect(&agent.endpoint().parse()?, TIMEOUT)?)
}

pub(crate) async fn attach(client: &Client, seat: &Seat, net: Net) -> Result<()> {
    let attached = client.attach(Uuid::new_v4(), &seat.spec(net)?, false).await?;
    ensure!(attached.created, "{} was attached already", seat.guest);
    Ok(())
}

pub(crate) async fn detach(client: &Client, seat: &Seat) -> Result<usize> {
    let target = DetachTarget::Guest { guest: seat.reference()?, ifname: Some(seat.ifname.parse()?) };
    Ok(client.detach(Uuid::new_v4(), &target, false).await?.len())
}
