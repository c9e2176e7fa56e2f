//! Routes of the guest that are taken away for a while and put back to the letter: kept as the kernel's own message, since
//! any list of properties would miss one (metrics, several next hops, encapsulation, a preference).

use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};

use crate::host::message::{append, attribute, attributes, from_hex, read_u32};
use crate::host::netlink::{KernelError, Request};
use crate::host::route::{BODY, ONLINK, RTA_GATEWAY, RTA_OIF, RTA_VIA};
use crate::step::SavedRoute;

/// Message types of linux/rtnetlink.h.
pub(super) const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
/// Attributes of linux/rtnetlink.h.
pub(super) const RTA_MULTIPATH: u16 = 9;
pub(super) const RTA_CACHEINFO: u16 = 12;
const RTA_EXPIRES: u16 = 23;
pub(super) const RTA_NH_ID: u16 = 30;
/// Flags that say how a route should be; the others say how it is, and are refused in a request.
const ASKED: u32 = 2 /* RTNH_F_PERVASIVE */ | ONLINK;
/// Size of `struct rtnexthop`, in bytes.
pub(super) const NEXT_HOP: usize = 8;
/// Ticks a second in what the kernel tells user space.
const USER_HZ: u32 = 100;

/// `ip route add …`, as it was.
///
/// # Errors
/// EBADMSG when the record is damaged.
pub(super) fn restore(saved: &SavedRoute) -> Result<Request, KernelError> {
    Ok(Request::raw(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &as_asked(&body(saved)?)))
}

/// `ip route del …`, that route and no other.
///
/// # Errors
/// EBADMSG when the record is damaged.
pub(super) fn set_aside(saved: &SavedRoute) -> Result<Request, KernelError> {
    Ok(Request::raw(RTM_DELROUTE, 0, &as_asked(&body(saved)?)))
}

/// The number of the link that the route leads over; `None` for none.
///
/// # Errors
/// EBADMSG when the record is damaged.
pub(super) fn oif(saved: &SavedRoute) -> Result<Option<u32>, KernelError> {
    let body = body(saved)?;
    let attributes = &body[BODY..];
    let of_first_hop = || read_u32(attribute(attributes, RTA_MULTIPATH)?.get(4..)?);
    Ok(attribute(attributes, RTA_OIF).and_then(read_u32).or_else(of_first_hop))
}

/// `ip route append …`, as it was, over links that all have another number now.
///
/// # Errors
/// EBADMSG when the record is damaged.
pub(super) fn restore_over(saved: &SavedRoute, index: u32) -> Result<Request, KernelError> {
    let mut asked = as_asked(&body(saved)?);
    let number = index.to_ne_bytes();
    let mut start = BODY;
    while let Some(&[a, b, c, d]) = asked.get(start..start + 4) {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let Some(value) = asked.get_mut(start + 4..start + length) else { break };
        match u16::from_ne_bytes([c, d]) {
            RTA_OIF if value.len() == number.len() => value.copy_from_slice(&number),
            RTA_MULTIPATH => each_hop(value, |hop| hop[4..NEXT_HOP].copy_from_slice(&number)),
            _ => {}
        }
        start += length.next_multiple_of(4);
    }
    Ok(Request::raw(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, &asked))
}

fn body(saved: &SavedRoute) -> Result<Vec<u8>, KernelError> {
    from_hex(&saved.message, BODY, &saved.text)
}

/// Turns what the kernel showed into what can be asked of it.
fn as_asked(body: &[u8]) -> Vec<u8> {
    let (header, rest) = body.split_at(BODY);
    let mut asked = header[..8].to_vec();
    let flags = read_u32(&header[8..]).unwrap_or(0) & ASKED;
    asked.extend(flags.to_ne_bytes());
    // A route by a next hop object is shown with what the object says, and refused if asked for so.
    let by_object = attribute(rest, RTA_NH_ID).is_some();
    for (kind, value) in attributes(rest) {
        match kind {
            RTA_OIF | RTA_GATEWAY | RTA_VIA | RTA_MULTIPATH if by_object => {}
            RTA_MULTIPATH => append(&mut asked, kind, &next_hops_as_asked(value)),
            // Use counts, and with `expires` at offset 8 how long a route from a router advertisement has left.
            RTA_CACHEINFO => match value.get(8..).and_then(read_u32) {
                None | Some(0) => {}
                Some(left) => append(&mut asked, RTA_EXPIRES, &(left / USER_HZ).max(1).to_ne_bytes()),
            },
            kind => append(&mut asked, kind, value),
        }
    }
    asked
}

fn next_hops_as_asked(hops: &[u8]) -> Vec<u8> {
    let mut asked = hops.to_vec();
    each_hop(&mut asked, |hop| hop[2] &= ASKED as u8);
    asked
}

/// Changes each `struct rtnexthop` of a route over several.
fn each_hop(hops: &mut [u8], change: impl Fn(&mut [u8])) {
    let mut start = 0;
    while let Some(hop) = hops.get_mut(start..).filter(|hop| hop.len() >= NEXT_HOP) {
        let length = usize::from(u16::from_ne_bytes([hop[0], hop[1]]));
        change(hop);
        if length < NEXT_HOP {
            break;
        }
        start += length.next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::message::to_hex;

    fn saved(message: &str) -> SavedRoute {
        SavedRoute { text: "default".to_owned(), message: message.to_owned() }
    }

    #[test]
    fn a_damaged_record_is_refused() {
        for message in ["", "0", "zz", "0200", "020000000000000000000000f"] {
            assert_eq!(restore(&saved(message)).unwrap_err().errno, libc::EBADMSG, "{message}");
        }
    }

    #[test]
    fn what_a_route_is_now_is_not_asked_for_again() {
        let dead_and_onlink = (1_u32 | ONLINK).to_ne_bytes();
        let body = [&[2, 0, 0, 0, 254, 3, 0, 1][..], &dead_and_onlink, &[8, 0, 4, 0, 7, 0, 0, 0]].concat();

        let asked = as_asked(&body);

        assert_eq!(asked[8..12], ONLINK.to_ne_bytes());
        assert_eq!(asked[12..], body[12..]);
        assert_eq!(oif(&saved(&to_hex(&body))).unwrap(), Some(7));
    }
}
