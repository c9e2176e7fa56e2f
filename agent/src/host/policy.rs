//! What the packet filter does with frames between ports of linux bridges, as far as it can be told by looking.

use std::io;

use rtnetlink::packet_core::NLM_F_DUMP;

use crate::host::kernel::{Inner, Kernel};
use crate::host::message::{attribute, read_text};
use crate::host::netlink::{KernelError, Request, Requests};

/// Of linux/netfilter/nfnetlink.h and nf_tables.h: NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN.
const GETCHAIN: u16 = 10 << 8 | 4;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_HOOK_HOOKNUM: u16 = 1;
/// `struct nfgenmsg`, in bytes.
const NFGENMSG: usize = 4;
/// `NF_INET_FORWARD` and `NF_DROP`.
const FORWARD: u32 = 2;
const DROP: u32 = 0;

/// What happens to frames between ports of linux bridges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Nobody looks at them, or nothing drops them that no rule speaks of.
    Passes,
    /// A chain drops what none of its rules takes: `table filter, chain FORWARD`.
    Drops(String),
    /// It cannot be told; why.
    Unknown(String),
}

impl Kernel {
    /// Whether bridged frames meet a FORWARD chain whose policy is drop.
    ///
    /// # Errors
    /// What the thread for the question says.
    pub async fn forward_policy(&self) -> io::Result<Policy> {
        self.ask(|_| Ok(policy())).await
    }
}

fn policy() -> Policy {
    if !Inner::calls_iptables() {
        return Policy::Passes;
    }
    // iptables-legacy has tables of its own, which only its own calls show.
    if std::fs::read_to_string("/proc/thread-self/net/ip_tables_names")
        .is_ok_and(|text| text.contains("filter"))
    {
        return Policy::Unknown(
            "iptables-legacy has a filter table; see `iptables-legacy -S FORWARD`".to_owned(),
        );
    }
    match dropping_chain() {
        Ok(Some(chain)) => Policy::Drops(chain),
        Ok(None) => Policy::Passes,
        // A kernel without nf_tables has no chains of it.
        Err(error) if matches!(error.errno, libc::EINVAL | libc::EPROTONOSUPPORT | libc::EOPNOTSUPP) => {
            Policy::Passes
        }
        Err(error) => Policy::Unknown(format!("nf_tables cannot be listed: {error}")),
    }
}

/// `nft list chains`
fn dropping_chain() -> Result<Option<String>, KernelError> {
    let mut requests = Requests::open_netfilter()?;
    let everything = [u8::try_from(libc::AF_UNSPEC).unwrap_or_default(), 0, 0, 0];
    let replies = requests.dump_raw(&Request::raw(GETCHAIN, NLM_F_DUMP, &everything))?;
    Ok(replies.iter().find_map(|reply| dropping(&reply.body)))
}

/// The chain's name, if it is one that sees forwarded IPv4 packets and drops by default.
fn dropping(body: &[u8]) -> Option<String> {
    let is_ipv4 = matches!(i32::from(*body.first()?), libc::AF_INET | libc::NFPROTO_INET);
    let chain = body.get(NFGENMSG..)?;
    let hook = read_be32(attribute(attribute(chain, NFTA_CHAIN_HOOK)?, NFTA_HOOK_HOOKNUM)?)?;
    let policy = read_be32(attribute(chain, NFTA_CHAIN_POLICY)?)?;
    let name = |kind| attribute(chain, kind).map(read_text).unwrap_or_default();
    let is_dropping = is_ipv4 && hook == FORWARD && policy == DROP;
    is_dropping.then(|| format!("table {}, chain {}", name(NFTA_CHAIN_TABLE), name(NFTA_CHAIN_NAME)))
}

fn read_be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::message::append;

    fn chain(family: i32, hook: u32, policy: u32) -> Vec<u8> {
        let mut nested = Vec::new();
        append(&mut nested, NFTA_HOOK_HOOKNUM, &hook.to_be_bytes());
        let mut body = vec![u8::try_from(family).unwrap(), 0, 0, 0];
        append(&mut body, NFTA_CHAIN_TABLE, b"filter\0");
        append(&mut body, NFTA_CHAIN_NAME, b"FORWARD\0");
        append(&mut body, NFTA_CHAIN_HOOK, &nested);
        append(&mut body, NFTA_CHAIN_POLICY, &policy.to_be_bytes());
        body
    }

    #[test]
    fn only_a_forward_chain_of_ipv4_that_drops_is_told() {
        assert_eq!(dropping(&chain(libc::AF_INET, 2, 0)).unwrap(), "table filter, chain FORWARD");
        assert!(dropping(&chain(libc::NFPROTO_INET, 2, 0)).is_some());
        assert_eq!(dropping(&chain(libc::AF_INET, 2, 1)), None);
        assert_eq!(dropping(&chain(libc::AF_INET, 1, 0)), None);
        assert_eq!(dropping(&chain(libc::AF_INET6, 2, 0)), None);
        assert_eq!(dropping(&chain(libc::AF_INET, 2, 0)[..20]), None);
    }
}
