//! Policy rules (ip-rule(8)), written as linux/fib_rules.h has them. Ours are known by their protocol, which the kernel
//! compares when one is deleted.

use ipnet::IpNet;
use pipewright_api::traffic::Rule;

use crate::host::mark;
use crate::host::message::{append, attribute, read_u32};
use crate::host::netlink::{KernelError, Request, Requests};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};

/// Message types of linux/rtnetlink.h.
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;
/// Size of `struct fib_rule_hdr`, in bytes.
const BODY: usize = 12;
/// Attributes of linux/fib_rules.h.
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_PROTOCOL: u16 = 21;
/// `FR_ACT_TO_TBL`.
const TO_TABLE: u8 = 1;

/// `ip rule add …`
pub(super) fn add(rule: &Rule) -> Request {
    Request::raw(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &body(rule))
}

/// `ip rule del …`
pub(super) fn remove(rule: &Rule) -> Request {
    Request::raw(RTM_DELRULE, 0, &body(rule))
}

/// # Errors
/// The kernel's refusal.
pub(super) fn is_there(requests: &mut Requests, rule: &Rule) -> Result<bool, KernelError> {
    let mut any = [0; BODY];
    any[0] = family(rule);
    let replies = requests.dump_raw(&Request::raw(RTM_GETRULE, NLM_F_DUMP, &any))?;
    let wanted = body(rule);
    Ok(replies.iter().any(|reply| is_same(&reply.body, &wanted)))
}

/// Whether a rule that the kernel shows has all that was asked for.
fn is_same(shown: &[u8], asked: &[u8]) -> bool {
    let (Some(header), Some(wanted)) = (shown.get(..BODY), asked.get(..BODY)) else { return false };
    // Family, lengths of both prefixes, action.
    let fits = [0, 1, 2, 7].iter().all(|&at| header[at] == wanted[at]);
    let of = |bytes: &[u8], kind| attribute(&bytes[BODY..], kind).map(<[u8]>::to_vec);
    let mask = |bytes| of(bytes, FRA_FWMASK).and_then(|mask| read_u32(&mask));
    let kinds =
        [FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_FWMARK, FRA_TABLE, FRA_OIFNAME, FRA_PROTOCOL];
    fits && kinds.iter().all(|&kind| of(shown, kind) == of(asked, kind))
        // The kernel shows a mask only with a mark.
        && (of(asked, FRA_FWMARK).is_none() || mask(shown) == mask(asked))
}

fn family(rule: &Rule) -> u8 {
    let family = if rule.is_ipv6 { libc::AF_INET6 } else { libc::AF_INET };
    family as u8
}

fn body(rule: &Rule) -> Vec<u8> {
    let length = |net: &Option<IpNet>| net.map_or(0, |net| net.prefix_len());
    let mut body = vec![0; BODY];
    body[0] = family(rule);
    body[1] = length(&rule.to);
    body[2] = length(&rule.from);
    body[7] = TO_TABLE;
    for (kind, net) in [(FRA_DST, &rule.to), (FRA_SRC, &rule.from)] {
        match net {
            Some(IpNet::V4(net)) if net.prefix_len() > 0 => append(&mut body, kind, &net.network().octets()),
            Some(IpNet::V6(net)) if net.prefix_len() > 0 => append(&mut body, kind, &net.network().octets()),
            Some(_) | None => {}
        }
    }
    for (kind, name) in [(FRA_IIFNAME, &rule.iif), (FRA_OIFNAME, &rule.oif)] {
        if let Some(name) = name {
            append(&mut body, kind, &[name.as_str().as_bytes(), &[0]].concat());
        }
    }
    if let Some(fwmark) = rule.fwmark {
        append(&mut body, FRA_FWMARK, &fwmark.mark.to_ne_bytes());
        append(&mut body, FRA_FWMASK, &fwmark.mask.to_ne_bytes());
    }
    append(&mut body, FRA_TABLE, &u32::from(rule.table).to_ne_bytes());
    append(&mut body, FRA_PRIORITY, &rule.priority.to_ne_bytes());
    append(&mut body, FRA_PROTOCOL, &[mark::PROTOCOL]);
    body
}
