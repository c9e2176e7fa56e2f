//! Queueing disciplines at the root of a guest's link (tc(8)), written as linux/pkt_sched.h has them. Ours are known by their
//! handle: the kernel deletes none of another, and makes none where one of another is; its own default has none.

use pipewright_api::traffic::{FqCodel, Netem, Qdisc, Tbf};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};

use crate::host::mark;
use crate::host::message::{append, attribute, read_text, read_u32};
use crate::host::netlink::{KernelError, Request, Requests};

/// Message types of linux/rtnetlink.h.
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
/// Size of `struct tcmsg`, in bytes.
const BODY: usize = 20;
/// `TC_H_ROOT`.
const ROOT: u32 = 0xffff_ffff;
/// Attributes of linux/rtnetlink.h.
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
/// Of linux/pkt_sched.h.
const TCA_NETEM_RATE: u16 = 6;
const TCA_NETEM_RATE64: u16 = 8;
const TCA_NETEM_LATENCY64: u16 = 10;
const TCA_NETEM_JITTER64: u16 = 11;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TCA_FQ_CODEL_TARGET: u16 = 1;
const TCA_FQ_CODEL_LIMIT: u16 = 2;
const TCA_FQ_CODEL_INTERVAL: u16 = 3;
/// Packets that netem keeps, as tc(8) asks for.
const NETEM_LIMIT: u32 = 1000;
/// `TC_LINKLAYER_ETHERNET`; without one the kernel expects a table of sizes.
const ETHERNET: u8 = 1;

/// `tc qdisc add dev … root handle 7077: …`
pub(super) fn add(index: u32, qdisc: &Qdisc) -> Request {
    let mut body = header(index, mark::QDISC, ROOT);
    append(&mut body, TCA_KIND, &[qdisc.kind().as_bytes(), &[0]].concat());
    append(&mut body, TCA_OPTIONS, &options(qdisc));
    Request::raw(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &body)
}

/// `tc qdisc del dev … root handle 7077:`
pub(super) fn remove(index: u32) -> Request {
    Request::raw(RTM_DELQDISC, 0, &header(index, mark::QDISC, ROOT))
}

/// Whether ours, of that kind and with these options, is at the root of a link.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn is_there(requests: &mut Requests, index: u32, qdisc: &Qdisc) -> Result<bool, KernelError> {
    let replies = requests.dump_raw(&Request::raw(RTM_GETQDISC, NLM_F_DUMP, &header(index, 0, 0)))?;
    let is_ours = |body: &[u8]| {
        let field = |at: usize| body.get(at..).and_then(read_u32);
        let kind = body.get(BODY..).and_then(|rest| attribute(rest, TCA_KIND)).map(read_text);
        (field(4), field(8), field(12)) == (Some(index), Some(mark::QDISC), Some(ROOT))
            && kind.as_deref() == Some(qdisc.kind())
            && body
                .get(BODY..)
                .and_then(|rest| attribute(rest, TCA_OPTIONS))
                .is_some_and(|shown| fits(qdisc, shown))
    };
    Ok(replies.iter().any(|reply| is_ours(&reply.body)))
}

/// Whether the kernel shows what was asked for. It keeps spans in units of its own, so what is exact is compared.
fn fits(qdisc: &Qdisc, shown: &[u8]) -> bool {
    let number = |kind| attribute(shown, kind).and_then(read_u32);
    match qdisc {
        // Of `struct tc_netem_qopt` the third field.
        Qdisc::Netem(netem) => shown.get(8..).and_then(read_u32) == Some(loss(netem)),
        // Of `struct tc_tbf_qopt` the bytes that may wait, after two of `struct tc_ratespec`.
        Qdisc::Tbf(tbf) => attribute(shown, TCA_TBF_PARMS)
            .is_some_and(|parameters| parameters.get(24..).and_then(read_u32) == Some(limit(tbf))),
        Qdisc::FqCodel(FqCodel { limit, .. }) => {
            limit.is_none_or(|limit| number(TCA_FQ_CODEL_LIMIT) == Some(limit))
        }
    }
}

fn header(index: u32, handle: u32, parent: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    for field in [index, handle, parent, 0] {
        body.extend(field.to_ne_bytes());
    }
    body
}

fn options(qdisc: &Qdisc) -> Vec<u8> {
    match qdisc {
        Qdisc::Netem(netem) => netem_options(netem),
        Qdisc::Tbf(tbf) => tbf_options(tbf),
        Qdisc::FqCodel(fq_codel) => fq_codel_options(fq_codel),
    }
}

/// A share of 2^32 - 1.
fn loss(netem: &Netem) -> u32 {
    let share = u64::from(netem.loss_ppm) * u64::from(u32::MAX) / 1_000_000;
    u32::try_from(share).unwrap_or(u32::MAX)
}

/// `struct tc_netem_qopt`, then attributes.
fn netem_options(netem: &Netem) -> Vec<u8> {
    let mut options = Vec::new();
    // Latency and jitter in the kernel's ticks are overridden below; gap and duplicate are not used.
    for field in [0, NETEM_LIMIT, loss(netem), 0, 0, 0] {
        options.extend(u32::to_ne_bytes(field));
    }
    let nanos = |span: std::time::Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
    append(&mut options, TCA_NETEM_LATENCY64, &nanos(netem.delay).to_ne_bytes());
    append(&mut options, TCA_NETEM_JITTER64, &nanos(netem.jitter).to_ne_bytes());
    if let Some(bits) = netem.rate_bits {
        let bytes = bits / 8;
        // `struct tc_netem_rate`: the rate, and the overhead of packets and of cells.
        let mut rate = u32::try_from(bytes).unwrap_or(u32::MAX).to_ne_bytes().to_vec();
        rate.extend([0; 12]);
        append(&mut options, TCA_NETEM_RATE, &rate);
        if bytes > u64::from(u32::MAX) {
            append(&mut options, TCA_NETEM_RATE64, &bytes.to_ne_bytes());
        }
    }
    options
}

/// Bytes that may wait at all.
fn limit(tbf: &Tbf) -> u32 {
    u32::try_from(tbf.limit_bytes()).unwrap_or(u32::MAX)
}

fn tbf_options(tbf: &Tbf) -> Vec<u8> {
    let bytes = tbf.rate_bits / 8;
    // `struct tc_ratespec`, of which the cell's size is for tables only.
    let mut parameters = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    parameters.extend(u32::try_from(bytes).unwrap_or(u32::MAX).to_ne_bytes());
    // No rate for peaks.
    parameters.extend([0; 12]);
    // The buffer is given in bytes below.
    for field in [limit(tbf), 0, 0] {
        parameters.extend(u32::to_ne_bytes(field));
    }
    let mut options = Vec::new();
    append(&mut options, TCA_TBF_PARMS, &parameters);
    append(&mut options, TCA_TBF_BURST, &tbf.burst_bytes.to_ne_bytes());
    if bytes > u64::from(u32::MAX) {
        append(&mut options, TCA_TBF_RATE64, &bytes.to_ne_bytes());
    }
    options
}

fn fq_codel_options(fq_codel: &FqCodel) -> Vec<u8> {
    let micros = |span: std::time::Duration| u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
    let FqCodel { limit, target, interval } = *fq_codel;
    let mut options = Vec::new();
    for (kind, number) in [
        (TCA_FQ_CODEL_LIMIT, limit),
        (TCA_FQ_CODEL_TARGET, target.map(micros)),
        (TCA_FQ_CODEL_INTERVAL, interval.map(micros)),
    ] {
        if let Some(number) = number {
            append(&mut options, kind, &number.to_ne_bytes());
        }
    }
    options
}
