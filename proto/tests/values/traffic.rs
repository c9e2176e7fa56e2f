//! What steers traffic.

use std::time::Duration;

use ipnet::IpNet;
use pipewright_api::spec::{Route, RouteDetails, RouteKind, RouteScope, TableId};
use pipewright_api::traffic::{FqCodel, Fwmark, LinkTraffic, Netem, Qdisc, Rule, Tbf, Traffic};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{id, link_name, router};

pub(crate) fn traffic() -> impl Strategy<Value = Traffic> {
    prop_oneof![
        any::<bool>().prop_flat_map(route).prop_map(Traffic::Route),
        any::<bool>().prop_flat_map(rule).prop_map(Traffic::Rule),
        qdisc().prop_map(Traffic::Qdisc),
    ]
    .boxed()
}

pub(crate) fn link_traffic() -> impl Strategy<Value = LinkTraffic> {
    (id(), link_name("x"), vec(traffic(), 0..4)).prop_map(|(attachment, ifname, traffic)| LinkTraffic {
        attachment,
        ifname,
        traffic,
    })
}

fn net(v6: bool) -> impl Strategy<Value = IpNet> {
    any::<u8>().prop_map(move |net| {
        let text = if v6 { format!("2001:db8:f{net:03x}::/48") } else { format!("198.18.{net}.0/24") };
        text.parse().unwrap()
    })
}

fn table() -> impl Strategy<Value = TableId> {
    (1u32..).prop_filter_map("the kernel's own", |number| TableId::try_from(number).ok())
}

fn route(v6: bool) -> impl Strategy<Value = Route> {
    let kind = prop_oneof![
        Just(RouteKind::Unicast),
        Just(RouteKind::Blackhole),
        Just(RouteKind::Unreachable),
        Just(RouteKind::Prohibit),
    ];
    let scope = prop::sample::select(vec![None, Some(RouteScope::Global), Some(RouteScope::Link)]);
    let details = (kind, option::of(table()), option::of(1u32..), option::of(router(v6)), scope);
    (net(v6), option::of(router(v6)), details).prop_map(
        move |(destination, via, (kind, table, metric, source, scope))| {
            let is_unicast = kind == RouteKind::Unicast;
            let via = via.filter(|_| is_unicast);
            let fits =
                |scope: &RouteScope| !v6 && is_unicast && (*scope == RouteScope::Global || via.is_none());
            let details = RouteDetails { kind, table, metric, source, scope: scope.filter(fits) };
            Route { destination, via, details }
        },
    )
}

fn rule(v6: bool) -> impl Strategy<Value = Rule> {
    let fwmark = (any::<u32>(), 1u32..).prop_map(|(mark, mask)| Fwmark { mark: mark & mask, mask });
    let links = (option::of(link_name("x")), option::of(link_name("x")));
    // Of every packet there is no rule.
    let nets = (option::of(net(v6)), net(v6));
    (nets, option::of(fwmark), links, table(), 1..=Rule::PRIORITY_MAX).prop_map(
        move |((from, to), fwmark, (iif, oif), table, priority)| Rule {
            is_ipv6: v6,
            from,
            to: Some(to),
            fwmark,
            iif,
            oif,
            table,
            priority,
        },
    )
}

fn rate() -> impl Strategy<Value = u64> {
    (1u64..=1_000_000_000).prop_map(|bytes| bytes * 8)
}

fn span(least: u64) -> impl Strategy<Value = Duration> {
    (least..=4_000_000).prop_map(Duration::from_micros)
}

fn qdisc() -> impl Strategy<Value = Qdisc> {
    let netem = (span(0), 0u64..=100, 1u32..=1_000_000, option::of(rate())).prop_map(
        |(delay, percent, loss_ppm, rate_bits)| {
            let jitter = u64::try_from(delay.as_micros()).unwrap() * percent / 100;
            Netem { delay, jitter: Duration::from_micros(jitter), loss_ppm, rate_bits }
        },
    );
    let tbf = (rate(), 1600u32..=100_000_000, span(1)).prop_map(|(rate_bits, burst_bytes, latency)| Tbf {
        rate_bits,
        burst_bytes,
        latency,
    });
    let fq_codel = (option::of(1u32..), option::of(span(1)), option::of(span(1)))
        .prop_map(|(limit, target, interval)| FqCodel { limit, target, interval });
    prop_oneof![netem.prop_map(Qdisc::Netem), tbf.prop_map(Qdisc::Tbf), fq_codel.prop_map(Qdisc::FqCodel),]
}
