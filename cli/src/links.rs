//! The links of the network namespace that we are in, without an agent: one netlink socket that lists them and then hears
//! of every change. Not sysfs, which shows the namespace that it was mounted in.

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use pipewright_api::net::LinkName;

/// `RTNLGRP_LINK` of linux/rtnetlink.h.
const LINKS: u32 = 1;
/// Types of messages (linux/netlink.h, linux/rtnetlink.h).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// Sizes of `struct nlmsghdr` and `struct ifinfomsg`, in bytes.
const HEADER: usize = 16;
const LINK: usize = 16;
/// `IFLA_IFNAME` of linux/if_link.h.
const IFNAME: u16 = 3;
/// `IFF_UP`, `IFF_RUNNING` and `IFF_LOWER_UP` of linux/if.h.
const UP: u32 = 1;
const RUNNING: u32 = 0x40;
const LOWER_UP: u32 = 0x1_0000;

/// What a link is like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LinkState {
    /// It is there.
    pub(crate) exists: bool,
    /// Administratively up.
    pub(crate) up: bool,
    /// Frames pass.
    pub(crate) carrier: bool,
}

/// Waits until a link is as wanted; `seen` hears of each of its states on the way.
///
/// # Errors
/// When netlink cannot be used.
pub(crate) async fn wait(
    ifname: &LinkName,
    wanted: impl Fn(LinkState) -> bool,
    mut seen: impl FnMut(LinkState),
) -> io::Result<()> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    socket.socket_mut().bind_auto()?;
    // Before the list, so that nothing happens between the two.
    socket.socket_mut().add_membership(LINKS)?;
    ask(&socket).await?;
    loop {
        let bytes = match socket.recv_from_full().await {
            Ok((bytes, from)) if from.port_number() == 0 => bytes,
            // Only the kernel tells of links.
            Ok(_) => continue,
            // Some changes were lost: list again.
            Err(error) if error.raw_os_error() == Some(ENOBUFS) => {
                ask(&socket).await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        for message in messages(&bytes) {
            let Some(state) = read(message, ifname.as_str())? else { continue };
            seen(state);
            if wanted(state) {
                return Ok(());
            }
        }
    }
}

/// `ENOBUFS` of asm-generic/errno.h.
const ENOBUFS: i32 = 105;

/// `ip link show`.
async fn ask(socket: &TokioSocket) -> io::Result<()> {
    let mut request = Vec::with_capacity(HEADER + LINK);
    request.extend(((HEADER + LINK) as u32).to_ne_bytes());
    request.extend(RTM_GETLINK.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    // Sequence number, port, and a `struct ifinfomsg` that names no link.
    request.resize(HEADER + LINK, 0);
    socket.send_to(&request, &SocketAddr::new(0, 0)).await.map(|_| ())
}

/// Types and bodies of the messages in a datagram.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let kind = u16_at(bytes, 4)?;
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The state of the link, if the message is about it.
fn read((kind, body): (u16, &[u8]), ifname: &str) -> io::Result<Option<LinkState>> {
    match kind {
        NLMSG_ERROR => match u32_at(body, 0).map_or(0, u32::cast_signed) {
            0 => Ok(None),
            errno => Err(io::Error::from_raw_os_error(-errno)),
        },
        NLMSG_DONE => Ok(None),
        // The first byte is a family; a bridge tells of its ports with the same types and another one.
        RTM_NEWLINK | RTM_DELLINK if body.first() == Some(&0) && name(body) == Some(ifname.as_bytes()) => {
            let flags = u32_at(body, 8).unwrap_or_default();
            Ok(Some(match kind {
                RTM_DELLINK => LinkState::default(),
                _ => LinkState {
                    exists: true,
                    up: flags & UP != 0,
                    carrier: flags & (RUNNING | LOWER_UP) == RUNNING | LOWER_UP,
                },
            }))
        }
        _ => Ok(None),
    }
}

/// The link's name, which ends with a NUL.
fn name(body: &[u8]) -> Option<&[u8]> {
    let mut rest = body.get(LINK..)?;
    loop {
        let length = usize::from(u16_at(rest, 0)?);
        let value = rest.get(4..length)?;
        if u16_at(rest, 2)? == IFNAME {
            return value.split(|byte| *byte == 0).next();
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(kind: u16, name: &str, flags: u32) -> Vec<u8> {
        let mut body = vec![0; LINK];
        body[8..12].copy_from_slice(&flags.to_ne_bytes());
        // An attribute that is not looked for, then the name.
        for (attribute, value) in [(13_u16, vec![1, 2, 3]), (IFNAME, [name.as_bytes(), &[0]].concat())] {
            body.extend((4 + value.len() as u16).to_ne_bytes());
            body.extend(attribute.to_ne_bytes());
            body.extend(&value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = Vec::new();
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.resize(HEADER, 0);
        message.extend(body);
        message
    }

    fn states(bytes: &[u8]) -> Vec<LinkState> {
        messages(bytes).filter_map(|message| read(message, "eth1").unwrap()).collect()
    }

    #[test]
    fn only_the_link_that_is_meant_is_read() {
        let bytes = [
            link(RTM_NEWLINK, "eth10", UP | RUNNING | LOWER_UP),
            link(RTM_NEWLINK, "eth1", 0),
            link(RTM_NEWLINK, "eth1", UP),
            link(RTM_NEWLINK, "eth1", UP | RUNNING | LOWER_UP),
            link(RTM_DELLINK, "eth1", UP),
        ]
        .concat();
        let state = |exists, up, carrier| LinkState { exists, up, carrier };

        assert_eq!(
            states(&bytes),
            [
                state(true, false, false),
                state(true, true, false),
                state(true, true, true),
                LinkState::default()
            ]
        );
    }

    #[test]
    fn what_is_cut_short_is_no_message_and_no_panic() {
        let whole = link(RTM_NEWLINK, "eth1", UP);

        for length in 0..whole.len() {
            assert_eq!(states(&whole[..length]), []);
        }
        assert_eq!(states(&[0; 64]), []);
    }
}
