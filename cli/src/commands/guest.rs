//! `pwctl guest`.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use pipewright_api::net::LinkName;
use pipewright_api::request::TrafficTarget;
use pipewright_api::spec::{GuestRef, Route, RouteDetails, RouteKind, RouteScope, TableId};
use pipewright_api::traffic::{FqCodel, Fwmark, Netem, Qdisc, Rule, Tbf, Traffic};
use pipewright_api::wire;
use uuid::Uuid;

use crate::args::Global;
use crate::connect;
use crate::explain::{self, Failed};
use crate::output;
use crate::table;
use crate::values;

/// Routes, rules and queueing disciplines of a guest, over a link of ours
///
/// What is added belongs to the link: it is recorded and read back, and detach removes it. Adding what is there already
/// changes nothing, and what somebody else made is never changed. `pwctl route`, `rule` and `tc` take anything that ip(8)
/// and tc(8) do, and nobody remembers that.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  pwctl guest route add web 198.51.100.0/24 --via 192.0.2.1
  pwctl guest route add web 0.0.0.0/0 --via 192.0.2.1 --table 7
  pwctl guest rule add web --from 192.0.2.10/32 --table 7 --priority 100
  pwctl guest route add web 203.0.113.0/24 --type blackhole
  pwctl guest qdisc add web tbf --rate 10mbit --burst 32k --latency 50ms
  pwctl guest list web")]
pub(crate) enum Guest {
    /// Add or remove a route
    #[command(subcommand)]
    Route(Change<RouteLine>),
    /// Add or remove a policy rule
    #[command(subcommand)]
    Rule(Change<RuleLine>),
    /// Add or remove the queueing discipline of a link
    #[command(subcommand)]
    Qdisc(Change<QdiscLine>),
    /// List them, with the routes that links were attached with
    List {
        /// Whose: docker:NAME, podman:NAME, lxc:NAME, containerd:ID, crio:ID, machined:NAME, pid:N, netns:NAME, or a name
        #[arg(value_name = "GUEST", value_parser = values::checked::<GuestRef>)]
        guest: GuestRef,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Change<T: Args> {
    /// Add it, unless it is there
    Add(T),
    /// Remove it, if it was added
    #[command(alias = "delete", alias = "remove")]
    Del(T),
}

/// Which link of which guest.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Whose: docker:NAME, podman:NAME, lxc:NAME, containerd:ID, crio:ID, machined:NAME, pid:N, netns:NAME, or a name
    #[arg(value_name = "GUEST", value_parser = values::checked::<GuestRef>)]
    guest: GuestRef,
    /// The link of ours that it belongs to
    #[arg(long, default_value = "eth1", value_name = "NAME", value_parser = values::checked::<LinkName>)]
    ifname: LinkName,
    /// The request's own id: the same id gives the same answer for ever [default: a new one]
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
}

#[derive(Debug, Args)]
pub(crate) struct RouteLine {
    #[command(flatten)]
    target: Target,
    /// Destination prefix
    #[arg(value_name = "DESTINATION", value_parser = values::checked::<IpNet>)]
    destination: IpNet,
    /// Next hop [default: the destination is on the link]
    #[arg(long, value_name = "IP", value_parser = values::address)]
    via: Option<IpAddr>,
    /// unicast, blackhole, unreachable or prohibit
    #[arg(long = "type", default_value = "unicast", value_name = "TYPE", value_parser = values::checked::<RouteKind>)]
    kind: RouteKind,
    /// Number of the routing table [default: main]
    #[arg(long, value_name = "N", value_parser = values::checked::<TableId>)]
    table: Option<TableId>,
    /// Of two routes that with the lower one is used [default: 0 for IPv4, 1024 for IPv6]
    #[arg(long, value_name = "N")]
    metric: Option<u32>,
    /// Source address of packets that name none
    #[arg(long, value_name = "IP", value_parser = values::address)]
    src: Option<IpAddr>,
    /// global or link (IPv4) [default: link without --via]
    #[arg(long, value_name = "SCOPE", value_parser = values::checked::<RouteScope>)]
    scope: Option<RouteScope>,
}

#[derive(Debug, Args)]
pub(crate) struct RuleLine {
    #[command(flatten)]
    target: Target,
    /// Packets from these addresses
    #[arg(long, value_name = "PREFIX", value_parser = values::checked::<IpNet>)]
    from: Option<IpNet>,
    /// Packets to these addresses
    #[arg(long, value_name = "PREFIX", value_parser = values::checked::<IpNet>)]
    to: Option<IpNet>,
    /// Packets with this mark of netfilter's
    #[arg(long, value_name = "MARK[/MASK]", value_parser = values::fwmark)]
    fwmark: Option<Fwmark>,
    /// Packets that came over this link
    #[arg(long, value_name = "NAME", value_parser = values::checked::<LinkName>)]
    iif: Option<LinkName>,
    /// Packets of sockets that are bound to this link
    #[arg(long, value_name = "NAME", value_parser = values::checked::<LinkName>)]
    oif: Option<LinkName>,
    /// Packets of IPv6, where no prefix says it
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Number of the routing table
    #[arg(long, value_name = "N", value_parser = values::checked::<TableId>)]
    table: TableId,
    /// Rules are asked in this order, 1 to 32765
    #[arg(long, value_name = "N")]
    priority: u32,
}

#[derive(Debug, Args)]
pub(crate) struct QdiscLine {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    qdisc: QdiscKind,
}

#[derive(Debug, Subcommand)]
enum QdiscKind {
    /// A bad network (tc-netem(8)): delay, loss, a slow line
    Netem {
        /// Added to each packet
        #[arg(long, value_name = "DURATION", value_parser = values::duration)]
        delay: Option<Duration>,
        /// By how much the delay varies
        #[arg(long, value_name = "DURATION", value_parser = values::duration, requires = "delay")]
        jitter: Option<Duration>,
        /// Share of packets that are lost
        #[arg(long, value_name = "PERCENT", value_parser = values::percent)]
        loss: Option<u32>,
        /// Bits a second
        #[arg(long, value_name = "RATE", value_parser = values::rate)]
        rate: Option<u64>,
    },
    /// No faster than a rate (tc-tbf(8))
    Tbf {
        /// Bits a second: 500kbit, 10mbit, 1gbit
        #[arg(long, value_name = "RATE", value_parser = values::rate)]
        rate: u64,
        /// Bytes that may go at once: 32k, 1m
        #[arg(long, value_name = "BYTES", value_parser = values::bytes)]
        burst: u32,
        /// How long a packet may wait
        #[arg(long, value_name = "DURATION", value_parser = values::duration)]
        latency: Duration,
    },
    /// Fair, with short queues (tc-fq_codel(8))
    FqCodel {
        /// Packets that may wait [default: 10240]
        #[arg(long, value_name = "PACKETS")]
        limit: Option<u32>,
        /// Delay that is put up with [default: 5ms]
        #[arg(long, value_name = "DURATION", value_parser = values::duration)]
        target: Option<Duration>,
        /// For how long [default: 100ms]
        #[arg(long, value_name = "DURATION", value_parser = values::duration)]
        interval: Option<Duration>,
    },
}

/// Whether it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    There,
    Gone,
}

impl Guest {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failed> {
        match self {
            Self::Route(change) => change.run(global).await,
            Self::Rule(change) => change.run(global).await,
            Self::Qdisc(change) => change.run(global).await,
            Self::List { guest } => {
                let links = connect::client(global)?.list_traffic(&guest).await?;
                let lines = links
                    .iter()
                    .flat_map(|link| {
                        link.traffic.iter().map(|one| [link.ifname.to_string(), one.to_string()])
                    })
                    .collect::<Vec<_>>();
                let answer: wire::ListTrafficResponse = links.into();
                output::answer(global.output, &answer, |_| table::table(["IFNAME", "TRAFFIC"], lines.clone()))
            }
        }
    }
}

impl<T: Args + Into<(Target, Traffic)>> Change<T> {
    async fn run(self, global: &Global) -> Result<(), Failed> {
        let (line, wanted) = match self {
            Self::Add(line) => (line, Wanted::There),
            Self::Del(line) => (line, Wanted::Gone),
        };
        let (Target { guest, ifname, request_id }, traffic) = line.into();
        let (id, target) = (request_id.unwrap_or_else(Uuid::new_v4), TrafficTarget { guest, ifname });
        let client = connect::client(global)?;
        let of = format!("{} of {}", target.ifname, target.guest);
        if wanted == Wanted::There {
            let added = client.add_traffic(id, &target, &traffic).await;
            let added = added.map_err(|error| explain::change(&error, global))?;
            let said = if added.is_changed { "added to" } else { "was there already on" };
            let answer: wire::AddTrafficResponse = added.into();
            return output::answer(global.output, &answer, |_| format!("{traffic}: {said} {of}"));
        }
        let removed = client.remove_traffic(id, &target, &traffic).await;
        let removed = removed.map_err(|error| explain::change(&error, global))?;
        let said = if removed.is_changed { "removed from" } else { "was never added to" };
        let answer: wire::RemoveTrafficResponse = removed.into();
        output::answer(global.output, &answer, |_| format!("{traffic}: {said} {of}"))
    }
}

impl From<RouteLine> for (Target, Traffic) {
    fn from(line: RouteLine) -> Self {
        let RouteLine { target, destination, via, kind, table, metric, src, scope } = line;
        let details = RouteDetails { kind, table, metric, source: src, scope };
        (target, Traffic::Route(Route { destination, via, details }))
    }
}

impl From<RuleLine> for (Target, Traffic) {
    fn from(line: RuleLine) -> Self {
        let RuleLine { target, from, to, fwmark, iif, oif, ipv6, table, priority } = line;
        let is_ipv6 = ipv6 || from.or(to).is_some_and(|net| net.addr().is_ipv6());
        (target, Traffic::Rule(Rule { is_ipv6, from, to, fwmark, iif, oif, table, priority }))
    }
}

impl From<QdiscLine> for (Target, Traffic) {
    fn from(line: QdiscLine) -> Self {
        let qdisc = match line.qdisc {
            QdiscKind::Netem { delay, jitter, loss, rate } => Qdisc::Netem(Netem {
                delay: delay.unwrap_or_default(),
                jitter: jitter.unwrap_or_default(),
                loss_ppm: loss.unwrap_or_default(),
                rate_bits: rate,
            }),
            QdiscKind::Tbf { rate, burst, latency } => {
                Qdisc::Tbf(Tbf { rate_bits: rate, burst_bytes: burst, latency })
            }
            QdiscKind::FqCodel { limit, target, interval } => {
                Qdisc::FqCodel(FqCodel { limit, target, interval })
            }
        };
        (line.target, Traffic::Qdisc(qdisc))
    }
}
