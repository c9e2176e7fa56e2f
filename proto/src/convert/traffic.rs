//! Routes, rules and queueing disciplines of guests.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::At;
use super::fit;
use super::request::request_id;
use super::route::route;
use super::spec::IFNAME_DEFAULT;
use super::time::{duration, to_duration};
use crate::attachment::Attachment;
use crate::net::LinkName;
use crate::reason::Failure;
use crate::request::{ChangeTraffic, ListTraffic, TrafficTarget};
use crate::traffic::{FqCodel, Fwmark, LinkTraffic, Netem, Qdisc, Rule, Tbf, Traffic, TrafficChanged};
use crate::wire;
use crate::wire::qdisc::Kind;
use crate::wire::traffic::What;

/// The longest time that a packet is kept.
const SPAN_MAX: Duration = Duration::from_secs(60);
/// A terabit a second.
const RATE_MAX: u64 = 1_000_000_000_000;
const MILLION: u32 = 1_000_000;

impl TryFrom<wire::AddTrafficRequest> for ChangeTraffic {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD.
    fn try_from(request: wire::AddTrafficRequest) -> Result<Self, Failure> {
        change(&request.request_id, &request.guest, &request.ifname, request.traffic)
    }
}

impl TryFrom<wire::RemoveTrafficRequest> for ChangeTraffic {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD.
    fn try_from(request: wire::RemoveTrafficRequest) -> Result<Self, Failure> {
        change(&request.request_id, &request.guest, &request.ifname, request.traffic)
    }
}

fn change(
    id: &str,
    guest: &str,
    ifname: &str,
    traffic: Option<wire::Traffic>,
) -> Result<ChangeTraffic, Failure> {
    let at = At::top("traffic");
    let ifname = if ifname.is_empty() { IFNAME_DEFAULT } else { ifname };
    Ok(ChangeTraffic {
        request_id: request_id(id)?,
        target: TrafficTarget {
            guest: At::top("guest").required(guest)?,
            ifname: At::top("ifname").required(ifname)?,
        },
        traffic: parse_fitting(at.present(traffic)?, &at)?,
    })
}

impl From<ChangeTraffic> for wire::AddTrafficRequest {
    fn from(request: ChangeTraffic) -> Self {
        Self {
            request_id: request.request_id.to_string(),
            guest: request.target.guest.into(),
            ifname: request.target.ifname.into(),
            traffic: Some(request.traffic.into()),
        }
    }
}

impl From<ChangeTraffic> for wire::RemoveTrafficRequest {
    fn from(request: ChangeTraffic) -> Self {
        let wire::AddTrafficRequest { request_id, guest, ifname, traffic } = request.into();
        Self { request_id, guest, ifname, traffic }
    }
}

impl TryFrom<wire::ListTrafficRequest> for ListTraffic {
    type Error = Failure;

    /// # Errors
    /// INVALID_FIELD.
    fn try_from(request: wire::ListTrafficRequest) -> Result<Self, Failure> {
        Ok(Self { guest: At::top("guest").required(&request.guest)? })
    }
}

impl From<ListTraffic> for wire::ListTrafficRequest {
    fn from(request: ListTraffic) -> Self {
        Self { guest: request.guest.into() }
    }
}

impl TryFrom<wire::AddTrafficResponse> for TrafficChanged {
    type Error = Failure;

    fn try_from(answer: wire::AddTrafficResponse) -> Result<Self, Failure> {
        let attachment = answer.attachment.map(Attachment::try_from).transpose()?;
        Ok(Self { attachment, is_changed: answer.created })
    }
}

impl From<TrafficChanged> for wire::AddTrafficResponse {
    fn from(changed: TrafficChanged) -> Self {
        Self { attachment: changed.attachment.map(Into::into), created: changed.is_changed }
    }
}

impl TryFrom<wire::RemoveTrafficResponse> for TrafficChanged {
    type Error = Failure;

    fn try_from(answer: wire::RemoveTrafficResponse) -> Result<Self, Failure> {
        let attachment = answer.attachment.map(Attachment::try_from).transpose()?;
        Ok(Self { attachment, is_changed: answer.removed })
    }
}

impl From<TrafficChanged> for wire::RemoveTrafficResponse {
    fn from(changed: TrafficChanged) -> Self {
        Self { attachment: changed.attachment.map(Into::into), removed: changed.is_changed }
    }
}

impl TryFrom<wire::ListTrafficResponse> for Vec<LinkTraffic> {
    type Error = Failure;

    fn try_from(answer: wire::ListTrafficResponse) -> Result<Self, Failure> {
        At::top("links").list(answer.links, usize::MAX, |at, link| {
            Ok(LinkTraffic {
                attachment: at.field("attachment_id").required(&link.attachment_id)?,
                ifname: at.field("ifname").required(&link.ifname)?,
                traffic: list(link.traffic, &at.field("traffic"))?,
            })
        })
    }
}

impl From<Vec<LinkTraffic>> for wire::ListTrafficResponse {
    fn from(links: Vec<LinkTraffic>) -> Self {
        let link = |link: LinkTraffic| wire::LinkTraffic {
            attachment_id: link.attachment.to_string(),
            ifname: link.ifname.into(),
            traffic: link.traffic.into_iter().map(wire::Traffic::from).collect(),
        };
        Self { links: links.into_iter().map(link).collect() }
    }
}

/// As an attachment shows it: parsed, and not judged.
pub(super) fn list(traffic: Vec<wire::Traffic>, at: &At<'_>) -> Result<Vec<Traffic>, Failure> {
    at.list(traffic, usize::MAX, |at, one| parse(one, at))
}

fn parse_fitting(asked: wire::Traffic, at: &At<'_>) -> Result<Traffic, Failure> {
    let traffic = parse(asked, at)?;
    match &traffic {
        Traffic::Route(route) => fit::added_route(route, &at.field("route"))?,
        Traffic::Rule(rule) => fit_rule(rule, &at.field("rule"))?,
        Traffic::Qdisc(_) => {}
    }
    Ok(traffic)
}

fn parse(traffic: wire::Traffic, at: &At<'_>) -> Result<Traffic, Failure> {
    match traffic.what {
        None => Err(at.refuse("it is required: a route, a rule or a qdisc")),
        Some(What::Route(asked)) => Ok(Traffic::Route(route(&asked, &at.field("route"))?)),
        Some(What::Rule(asked)) => Ok(Traffic::Rule(rule(&asked, &at.field("rule"))?)),
        Some(What::Qdisc(asked)) => Ok(Traffic::Qdisc(qdisc(asked, &at.field("qdisc"))?)),
    }
}

fn rule(rule: &wire::Rule, at: &At<'_>) -> Result<Rule, Failure> {
    let from: Option<IpNet> = at.field("from").optional(&rule.from)?;
    let to: Option<IpNet> = at.field("to").optional(&rule.to)?;
    let is_v6 = |net: &IpNet| matches!(net, IpNet::V6(_));
    let fwmark = match (rule.fwmark, rule.fwmask) {
        (0, 0) => None,
        (mark, 0) => Some(Fwmark { mark, mask: u32::MAX }),
        (mark, mask) => Some(Fwmark { mark, mask }),
    };
    Ok(Rule {
        is_ipv6: rule.ipv6 || from.as_ref().or(to.as_ref()).is_some_and(is_v6),
        from,
        to,
        fwmark,
        iif: at.field("iif").optional(&rule.iif)?,
        oif: at.field("oif").optional(&rule.oif)?,
        table: at.field("table").number(rule.table)?,
        priority: rule.priority,
    })
}

fn fit_rule(rule: &Rule, at: &At<'_>) -> Result<(), Failure> {
    for (name, net) in [("from", rule.from), ("to", rule.to)] {
        let Some(net) = net else { continue };
        let at = at.field(name);
        if net.addr() != net.network() {
            let whole = net.trunc();
            return Err(at.refuse(format_args!("{net} has bits after its prefix: did you mean {whole}?")));
        }
        if matches!(net.addr(), IpAddr::V6(_)) != rule.is_ipv6 {
            return Err(at.refuse(format_args!("{net} is of another family than the rule")));
        }
    }
    if let Some(Fwmark { mark, mask }) = rule.fwmark
        && mark & !mask != 0
    {
        let why = format_args!("{mark:#x} has bits outside of its mask {mask:#x}: no packet would have it");
        return Err(at.field("fwmark").refuse(why));
    }
    let is_any = rule.from.is_none()
        && rule.to.is_none()
        && rule.fwmark.is_none()
        && rule.iif.is_none()
        && rule.oif.is_none();
    if is_any {
        return Err(at.refuse("it would be for every packet: give from, to, fwmark, iif or oif"));
    }
    match rule.priority {
        1..=Rule::PRIORITY_MAX => Ok(()),
        other => {
            let most = Rule::PRIORITY_MAX;
            Err(at.field("priority").refuse(format_args!("{other} is no priority of ours: use 1 to {most}")))
        }
    }
}

fn qdisc(qdisc: wire::Qdisc, at: &At<'_>) -> Result<Qdisc, Failure> {
    match qdisc.kind {
        None => Err(at.refuse("it is required: netem, tbf or fq_codel; others are for RunTool")),
        Some(Kind::Netem(asked)) => netem(&asked, &at.field("netem")).map(Qdisc::Netem),
        Some(Kind::Tbf(asked)) => tbf(&asked, &at.field("tbf")).map(Qdisc::Tbf),
        Some(Kind::FqCodel(asked)) => fq_codel(&asked, &at.field("fq_codel")).map(Qdisc::FqCodel),
    }
}

fn netem(netem: &wire::Netem, at: &At<'_>) -> Result<Netem, Failure> {
    if netem.loss_ppm > MILLION {
        let why = format_args!("{} of a million are too many: use 0 to 1000000", netem.loss_ppm);
        return Err(at.field("loss_ppm").refuse(why));
    }
    let delay = span(netem.delay, &at.field("delay"))?.unwrap_or_default();
    let jitter = span(netem.jitter, &at.field("jitter"))?.unwrap_or_default();
    if jitter > delay {
        return Err(at
            .field("jitter")
            .refuse("it is more than the delay: no packet arrives before it is sent"));
    }
    let parsed = Netem {
        delay,
        jitter,
        loss_ppm: netem.loss_ppm,
        rate_bits: match netem.rate_bits {
            0 => None,
            bits => Some(rate(bits, &at.field("rate_bits"))?),
        },
    };
    match parsed.delay.is_zero() && parsed.loss_ppm == 0 && parsed.rate_bits.is_none() {
        true => Err(at.refuse("it would do nothing: give delay, loss_ppm or rate_bits")),
        false => Ok(parsed),
    }
}

fn tbf(tbf: &wire::Tbf, at: &At<'_>) -> Result<Tbf, Failure> {
    let at_burst = at.field("burst_bytes");
    let burst_bytes = match tbf.burst_bytes {
        // Less than a frame would never pass one.
        bytes @ 1600..=1_000_000_000 => bytes,
        bytes => return Err(at_burst.refuse(format_args!("{bytes} is no burst: use 1600 to 1000000000"))),
    };
    let latency = span(tbf.latency, &at.field("latency"))?
        .filter(|latency| !latency.is_zero())
        .ok_or_else(|| at.field("latency").refuse("it is required: how long a packet may wait"))?;
    let tbf = Tbf { rate_bits: rate(tbf.rate_bits, &at.field("rate_bits"))?, burst_bytes, latency };
    let fits = tbf.limit_bytes() <= u64::from(u32::MAX);
    match fits {
        true => Ok(tbf),
        false => Err(at.field("latency").refuse("more than 4 GiB would wait: use less")),
    }
}

fn fq_codel(asked: &wire::FqCodel, at: &At<'_>) -> Result<FqCodel, Failure> {
    Ok(FqCodel {
        limit: Some(asked.limit).filter(|limit| *limit != 0),
        target: span(asked.target, &at.field("target"))?.filter(|span| !span.is_zero()),
        interval: span(asked.interval, &at.field("interval"))?.filter(|span| !span.is_zero()),
    })
}

fn span(span: Option<pbjson_types::Duration>, at: &At<'_>) -> Result<Option<Duration>, Failure> {
    let span = duration(span, at)?;
    match span {
        Some(span) if span > SPAN_MAX => {
            Err(at.refuse(format_args!("{span:?} is too long: use at most 60 s")))
        }
        // What is shown in microseconds is kept in microseconds.
        Some(span) if !span.subsec_nanos().is_multiple_of(1000) => {
            Err(at.refuse(format_args!("{span:?} is finer than a microsecond")))
        }
        span => Ok(span),
    }
}

fn rate(bits: u64, at: &At<'_>) -> Result<u64, Failure> {
    match bits {
        8..=RATE_MAX if bits.is_multiple_of(8) => Ok(bits),
        bits => Err(at.refuse(format_args!("{bits} bit/s is no rate: use 8 to {RATE_MAX}, a multiple of 8"))),
    }
}

impl From<Traffic> for wire::Traffic {
    fn from(traffic: Traffic) -> Self {
        Self {
            what: Some(match traffic {
                Traffic::Route(route) => What::Route(route.into()),
                Traffic::Rule(rule) => What::Rule(rule.into()),
                Traffic::Qdisc(qdisc) => What::Qdisc(qdisc.into()),
            }),
        }
    }
}

impl From<Rule> for wire::Rule {
    fn from(rule: Rule) -> Self {
        let net = |net: Option<IpNet>| net.map(|net| net.to_string()).unwrap_or_default();
        let link = |link: Option<LinkName>| link.map(String::from).unwrap_or_default();
        let (fwmark, fwmask) = rule.fwmark.map_or((0, 0), |fwmark| (fwmark.mark, fwmark.mask));
        Self {
            from: net(rule.from),
            to: net(rule.to),
            fwmark,
            fwmask,
            iif: link(rule.iif),
            oif: link(rule.oif),
            table: rule.table.into(),
            priority: rule.priority,
            ipv6: rule.is_ipv6,
        }
    }
}

impl From<Qdisc> for wire::Qdisc {
    fn from(qdisc: Qdisc) -> Self {
        let kind = match qdisc {
            Qdisc::Netem(netem) => Kind::Netem(wire::Netem {
                delay: Some(to_duration(netem.delay)),
                jitter: Some(to_duration(netem.jitter)),
                loss_ppm: netem.loss_ppm,
                rate_bits: netem.rate_bits.unwrap_or_default(),
            }),
            Qdisc::Tbf(tbf) => Kind::Tbf(wire::Tbf {
                rate_bits: tbf.rate_bits,
                burst_bytes: tbf.burst_bytes,
                latency: Some(to_duration(tbf.latency)),
            }),
            Qdisc::FqCodel(fq_codel) => Kind::FqCodel(wire::FqCodel {
                limit: fq_codel.limit.unwrap_or_default(),
                target: fq_codel.target.map(to_duration),
                interval: fq_codel.interval.map(to_duration),
            }),
        };
        Self { kind: Some(kind) }
    }
}
