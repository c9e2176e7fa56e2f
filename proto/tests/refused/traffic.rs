//! Changes of what steers traffic that must be refused.

use std::time::Duration;

use pipewright_api::wire;
use pipewright_api::wire::qdisc::Kind;
use pipewright_api::wire::traffic::What;

use super::{Refused, route};

type Row = Refused<wire::AddTrafficRequest>;

/// The request that every row of [`rows`] begins with.
pub(crate) fn valid() -> wire::AddTrafficRequest {
    wire::AddTrafficRequest {
        request_id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        guest: "docker:web".to_owned(),
        ifname: "eth1".to_owned(),
        traffic: Some(wire::Traffic { what: Some(What::Route(valid_route())) }),
    }
}

/// The same of what is to be removed.
pub(crate) fn removed(request: wire::AddTrafficRequest) -> wire::RemoveTrafficRequest {
    let wire::AddTrafficRequest { request_id, guest, ifname, traffic } = request;
    wire::RemoveTrafficRequest { request_id, guest, ifname, traffic }
}

fn valid_route() -> wire::Route {
    wire::Route {
        table: 100,
        metric: 50,
        source: "192.0.2.10".to_owned(),
        scope: wire::RouteScope::Global.into(),
        ..route("198.51.100.0/24", "192.0.2.254")
    }
}

fn valid_rule() -> wire::Rule {
    wire::Rule {
        from: "192.0.2.0/24".to_owned(),
        to: "198.51.100.0/24".to_owned(),
        fwmark: 0x10,
        fwmask: 0xf0,
        iif: "eth0".to_owned(),
        oif: "eth1".to_owned(),
        table: 100,
        priority: 1000,
        ipv6: false,
    }
}

fn valid_netem() -> wire::Netem {
    let span = |millis| Some(Duration::from_millis(millis).into());
    wire::Netem { delay: span(100), jitter: span(10), loss_ppm: 10_000, rate_bits: 8_000_000 }
}

fn valid_tbf() -> wire::Tbf {
    let latency = Some(Duration::from_millis(50).into());
    wire::Tbf { rate_bits: 8_000_000, burst_bytes: 16_000, latency }
}

/// Every change that must be refused.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = requests();
    rows.extend(routes());
    rows.extend(rules());
    rows.extend(netems());
    rows.extend(other_qdiscs());
    rows
}

fn requests() -> Vec<Row> {
    vec![
        Row::new("traffic without request id", "request_id", |request: &mut wire::AddTrafficRequest| {
            request.request_id.clear();
        }),
        Row::new("traffic of a strange request id", "request_id", |request| {
            request.request_id = "first".to_owned();
        }),
        Row::new("traffic of nobody", "guest", |request| request.guest.clear()),
        Row::new("traffic of the host", "guest", |request| request.guest = "pid:1".to_owned()),
        Row::new("traffic of a path", "guest", |request| request.guest = "netns:/etc/passwd".to_owned()),
        Row::new("traffic of a strange link", "ifname", |request| request.ifname = "a%d".to_owned()),
        Row::new("traffic of a long link", "ifname", |request| {
            request.ifname = "abcdefghijklmnop".to_owned();
        }),
        Row::new("no traffic", "traffic", |request| request.traffic = None),
        Row::new("traffic that is nothing", "traffic", |request| {
            request.traffic = Some(wire::Traffic { what: None });
        }),
    ]
}

fn with(name: &str, field: &str, what: What) -> Row {
    Row::new(name, &format!("traffic.{field}"), move |request: &mut wire::AddTrafficRequest| {
        request.traffic = Some(wire::Traffic { what: Some(what.clone()) });
    })
}

fn of_route(name: &str, field: &str, spoil: impl Fn(&mut wire::Route)) -> Row {
    let mut route = valid_route();
    spoil(&mut route);
    with(&format!("added route: {name}"), &format!("route.{field}"), What::Route(route))
}

fn routes() -> Vec<Row> {
    let destination = |text: &str| {
        of_route(&format!("to {text:?}"), "destination", |route| route.destination = text.to_owned())
    };
    let via = |text: &str| of_route(&format!("via {text:?}"), "via", |route| route.via = text.to_owned());
    let source =
        |text: &str| of_route(&format!("from {text:?}"), "source", |route| route.source = text.to_owned());
    let mut rows: Vec<Row> =
        ["", "x", "198.51.100.1/24", "198.51.100.0/33", "127.0.0.0/8", "::1/128", "::ffff:0:0/96"]
            .map(destination)
            .into();
    rows.extend(["x", "2001:db8::1", "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"].map(via));
    rows.extend(["x", "192.0.2.10/24", "2001:db8::1"].map(source));
    rows.extend([
        of_route("the kernel's table", "table", |route| route.table = 255),
        of_route("a strange type", "type", |route| route.r#type = 17),
        of_route("a strange scope", "scope", |route| route.scope = 17),
        of_route("nowhere, by a next hop", "via", |route| route.r#type = wire::RouteType::Blackhole.into()),
        of_route("nowhere, on the link", "scope", |route| {
            route.r#type = wire::RouteType::Prohibit.into();
            route.via.clear();
        }),
        of_route("on the link, by a next hop", "scope", |route| {
            route.scope = wire::RouteScope::Link.into();
        }),
        of_route("a scope of IPv6", "scope", |route| {
            route.destination = "2001:db8::/32".to_owned();
            route.via = "fe80::1".to_owned();
            route.source.clear();
        }),
    ]);
    rows
}

fn of_rule(name: &str, field: &str, spoil: impl Fn(&mut wire::Rule)) -> Row {
    let mut rule = valid_rule();
    spoil(&mut rule);
    let path = if field.is_empty() { "rule".to_owned() } else { format!("rule.{field}") };
    with(&format!("rule: {name}"), &path, What::Rule(rule))
}

fn rules() -> Vec<Row> {
    let priority =
        |number: u32| of_rule(&format!("priority {number}"), "priority", |rule| rule.priority = number);
    let table = |number: u32| of_rule(&format!("table {number}"), "table", |rule| rule.table = number);
    let mut rows = Vec::new();
    for text in ["x", "192.0.2.1/24", "192.0.2.0/33", "2001:db8::1/64"] {
        rows.push(of_rule(&format!("from {text:?}"), "from", |rule| rule.from = text.to_owned()));
        rows.push(of_rule(&format!("to {text:?}"), "to", |rule| rule.to = text.to_owned()));
    }
    for text in ["a%d", "eth 0", "abcdefghijklmnop"] {
        rows.push(of_rule(&format!("iif {text:?}"), "iif", |rule| rule.iif = text.to_owned()));
        rows.push(of_rule(&format!("oif {text:?}"), "oif", |rule| rule.oif = text.to_owned()));
    }
    rows.extend([0, 32_766, u32::MAX].map(priority));
    rows.extend([0, 255].map(table));
    rows.extend([
        of_rule("IPv4 in a rule of IPv6", "from", |rule| rule.ipv6 = true),
        of_rule("from IPv6 to IPv4", "to", |rule| rule.from = "2001:db8::/32".to_owned()),
        of_rule("a mark outside of its mask", "fwmark", |rule| rule.fwmark = 0x100),
        of_rule("every packet", "", |rule| {
            *rule = wire::Rule { table: 100, priority: 1000, ..wire::Rule::default() };
        }),
    ]);
    rows
}

fn of_qdisc(name: &str, field: &str, kind: Kind) -> Row {
    let what = What::Qdisc(wire::Qdisc { kind: Some(kind) });
    with(&format!("qdisc: {name}"), &format!("qdisc.{field}"), what)
}

fn of_netem(name: &str, field: &str, spoil: impl Fn(&mut wire::Netem)) -> Row {
    let mut netem = valid_netem();
    spoil(&mut netem);
    let path = if field.is_empty() { "netem".to_owned() } else { format!("netem.{field}") };
    of_qdisc(name, &path, Kind::Netem(netem))
}

fn netems() -> Vec<Row> {
    let rate = |bits: u64| of_netem(&format!("rate {bits}"), "rate_bits", |netem| netem.rate_bits = bits);
    let span = |seconds, nanos| Some(Duration::new(seconds, nanos).into());
    let mut rows: Vec<Row> = [7, 9, 8_000_000_000_008].map(rate).into();
    rows.extend([
        of_netem("more than all is lost", "loss_ppm", |netem| netem.loss_ppm = 1_000_001),
        of_netem("a delay of more than a minute", "delay", |netem| netem.delay = span(60, 1000)),
        of_netem("a delay below zero", "delay", |netem| {
            netem.delay.iter_mut().for_each(|delay| delay.seconds = -1);
        }),
        of_netem("a delay of a nanosecond", "delay", |netem| netem.delay = span(0, 1)),
        of_netem("a jitter of a nanosecond", "jitter", |netem| netem.jitter = span(0, 1)),
        of_netem("more jitter than delay", "jitter", |netem| netem.jitter = span(0, 100_001_000)),
        of_netem("jitter without delay", "jitter", |netem| netem.delay = None),
        of_netem("nothing", "", |netem| *netem = wire::Netem::default()),
    ]);
    rows
}

fn of_tbf(name: &str, field: &str, spoil: impl Fn(&mut wire::Tbf)) -> Row {
    let mut tbf = valid_tbf();
    spoil(&mut tbf);
    of_qdisc(name, &format!("tbf.{field}"), Kind::Tbf(tbf))
}

fn other_qdiscs() -> Vec<Row> {
    let span = |seconds, nanos| Some(Duration::new(seconds, nanos).into());
    let fq_codel = |name: &str, field: &str, fq_codel| {
        of_qdisc(name, &format!("fq_codel.{field}"), Kind::FqCodel(fq_codel))
    };
    vec![
        with("qdisc: none", "qdisc", What::Qdisc(wire::Qdisc { kind: None })),
        of_tbf("a bucket without a rate", "rate_bits", |tbf| tbf.rate_bits = 0),
        of_tbf("a bucket of half a byte", "rate_bits", |tbf| tbf.rate_bits = 8_000_004),
        of_tbf("a bucket that no frame fits into", "burst_bytes", |tbf| tbf.burst_bytes = 1599),
        of_tbf("a bucket of more than a gigabyte", "burst_bytes", |tbf| tbf.burst_bytes = 1_000_000_001),
        of_tbf("a bucket without latency", "latency", |tbf| tbf.latency = None),
        of_tbf("a bucket of no latency", "latency", |tbf| tbf.latency = span(0, 0)),
        of_tbf("a bucket of long latency", "latency", |tbf| tbf.latency = span(61, 0)),
        of_tbf("a bucket in which too much waits", "latency", |tbf| {
            (tbf.rate_bits, tbf.latency) = (1_000_000_000_000, span(60, 0));
        }),
        fq_codel(
            "a long target",
            "target",
            wire::FqCodel { target: span(61, 0), ..wire::FqCodel::default() },
        ),
        fq_codel(
            "a short target",
            "target",
            wire::FqCodel { target: span(0, 1), ..wire::FqCodel::default() },
        ),
        fq_codel(
            "a long interval",
            "interval",
            wire::FqCodel { interval: span(61, 0), ..wire::FqCodel::default() },
        ),
        fq_codel(
            "a short interval",
            "interval",
            wire::FqCodel { interval: span(0, 999), ..wire::FqCodel::default() },
        ),
    ]
}
