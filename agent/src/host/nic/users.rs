//! Who uses a NIC, beyond what its routes tell: connections over its addresses, and queues that somebody set up.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use rtnetlink::packet_core::NLM_F_DUMP;

use crate::host::generic::Family;
use crate::host::message::{append, attribute, attributes, read_text, read_u32};
use crate::host::netlink::{KernelError, Request, Requests};

/// Of linux/rtnetlink.h and linux/pkt_sched.h.
const RTM_GETQDISC: u16 = 38;
const TCA_KIND: u16 = 1;
/// Size of `struct tcmsg`, in bytes.
const TCMSG: usize = 20;
/// Of linux/ethtool_netlink.h.
const ETHTOOL: &str = "ethtool";
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;

/// A TCP connection that is established over one of these addresses, or a port that is served on one of them alone. It may be
/// the operator's own.
///
/// # Errors
/// When /proc is not there.
pub(super) fn connection(own: &[IpAddr]) -> io::Result<Option<String>> {
    if own.is_empty() {
        return Ok(None);
    }
    for table in ["tcp", "tcp6"] {
        let text = match fs::read_to_string(format!("/proc/thread-self/net/{table}")) {
            Ok(text) => text,
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table == "tcp6" => continue,
            Err(error) => return Err(error),
        };
        if let Some(found) = text.lines().skip(1).find_map(|line| held(line, own)) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A line of proc_pid_net(5)'s `tcp`, if its local address is one of these.
fn held(line: &str, own: &[IpAddr]) -> Option<String> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
    let (address, port) = endpoint(local).filter(|(address, _)| own.contains(address))?;
    match state {
        "01" => {
            let (peer, _) = endpoint(remote)?;
            Some(format!("a TCP connection from {peer} to {address} port {port}"))
        }
        "0A" => Some(format!("a service on {address} port {port}")),
        _ => None,
    }
}

/// `0100007F:1F90`: words of the address in the machine's byte order, and the port.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = address.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).ok()?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    let address = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?).to_canonical(),
    };
    Some((address, port))
}

/// The kind of a queueing discipline that somebody set up on a link: the kernel's own have no handle. It would be lost.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn qdisc(requests: &mut Requests, index: u32) -> Result<Option<String>, KernelError> {
    let replies = requests.dump_raw(&Request::raw(RTM_GETQDISC, NLM_F_DUMP, &[0; TCMSG]))?;
    let is_somebodys = |body: &&[u8]| {
        let number = |at: usize| body.get(at..).and_then(read_u32);
        number(4) == Some(index) && number(8).is_some_and(|handle| handle >> 16 != 0)
    };
    let mut bodies = replies.iter().map(|reply| &reply.body[..]).filter(is_somebodys);
    Ok(bodies.find_map(|body| attribute(body.get(TCMSG..)?, TCA_KIND)).map(read_text))
}

/// Whether a link cannot leave its namespace, as kernels before 6.12 say it: `ethtool -k LINK` shows netns-local on.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn is_netns_local(index: u32) -> Result<bool, KernelError> {
    let Some(mut ethtool) = Family::open(ETHTOOL)? else { return Ok(false) };
    let (mut header, mut asked) = (Vec::new(), Vec::new());
    append(&mut header, ETHTOOL_A_HEADER_DEV_INDEX, &index.to_ne_bytes());
    append(&mut asked, ETHTOOL_A_FEATURES_HEADER | NLA_F_NESTED, &header);
    let replies = match ethtool.request(ETHTOOL_MSG_FEATURES_GET, &asked) {
        Ok(replies) => replies,
        Err(error) if error.errno == libc::EOPNOTSUPP => return Ok(false),
        Err(error) => return Err(error),
    };
    let bits = |reply: &Vec<u8>| {
        let active = attribute(reply, ETHTOOL_A_FEATURES_ACTIVE)?;
        let bits = attributes(attribute(active, ETHTOOL_A_BITSET_BITS)?);
        let names = bits.filter(|(kind, _)| *kind == ETHTOOL_A_BITSET_BITS_BIT);
        let mut names = names.filter_map(|(_, bit)| attribute(bit, ETHTOOL_A_BITSET_BIT_NAME).map(read_text));
        names.find(|name| name == "netns-local")
    };
    Ok(replies.iter().any(|reply| bits(reply).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_services_on_own_addresses_are_found_and_others_are_not() {
        let own = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let native = |address: &str| -> String {
            let bytes = match address.parse().unwrap() {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            let words = bytes.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
            words.map(|word| format!("{word:08X}")).collect()
        };
        let line = |local: &str, remote: &str, state: &str| {
            format!("   0: {}:0016 {}:C001 {state} 00000000:00000000", native(local), native(remote))
        };

        for (local, remote, state, found) in [
            ("192.0.2.1", "192.0.2.9", "01", Some("a TCP connection from 192.0.2.9 to 192.0.2.1 port 22")),
            ("2001:db8::1", "::", "0A", Some("a service on 2001:db8::1 port 22")),
            (
                "::ffff:192.0.2.1",
                "::ffff:192.0.2.9",
                "01",
                Some("a TCP connection from 192.0.2.9 to 192.0.2.1 port 22"),
            ),
            ("0.0.0.0", "0.0.0.0", "0A", None),
            ("192.0.2.2", "192.0.2.9", "01", None),
            ("192.0.2.1", "192.0.2.9", "06", None),
        ] {
            assert_eq!(held(&line(local, remote, state), &own).as_deref(), found, "{local} {state}");
        }
        assert_eq!(held("  sl  local_address", &own), None);
    }
}
