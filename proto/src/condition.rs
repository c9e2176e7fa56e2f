//! What a link in a guest can be waited for, and what it looks like from inside.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::net::ParseError;

/// What to wait for. Each includes the ones before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// The link is there and administratively up.
    #[default]
    Up,
    /// It has carrier, and the switch forwards its frames.
    Carrier,
    /// It has an address in use (not tentative, RFC 4862) besides an IPv6 link-local one.
    Address,
    /// A default gateway over it answers ARP or neighbour discovery.
    Gateway,
}

impl Condition {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Up, Self::Carrier, Self::Address, Self::Gateway];
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Carrier => "carrier",
            Self::Address => "address",
            Self::Gateway => "gateway",
        })
    }
}

impl FromStr for Condition {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let named = Self::ALL.into_iter().find(|condition| condition.to_string() == text);
        named.ok_or_else(|| ParseError::new(text, "a condition", "use up, carrier, address or gateway"))
    }
}

/// What a guest's link looks like from inside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestLinkState {
    /// There is a link of that name.
    pub exists: bool,
    /// Administratively up (IFF_UP).
    pub up: bool,
    /// It has carrier.
    pub carrier: bool,
    /// Addresses in use.
    pub addresses: Vec<IpNet>,
    /// Addresses still being checked for duplicates.
    pub tentative: Vec<IpNet>,
    /// Gateway of a default route over the link.
    pub gateway: Option<IpAddr>,
    /// The gateway as a neighbour: `reachable`, `incomplete`, `failed` … (RFC 4861); empty when there is none.
    pub gateway_state: String,
}

impl GuestLinkState {
    /// Whether a condition holds, with all before it.
    pub fn meets(&self, condition: Condition) -> bool {
        let holds = |condition| match condition {
            Condition::Up => self.exists && self.up,
            Condition::Carrier => self.carrier,
            Condition::Address => self.addresses.iter().any(is_useful),
            Condition::Gateway => self.gateway.is_some() && answers(&self.gateway_state),
        };
        Condition::ALL.into_iter().filter(|before| *before <= condition).all(holds)
    }

    /// Whether its gateway has to be asked, or asked again: everything else is there, and nobody waits for its answer.
    pub fn gateway_is_silent(&self) -> bool {
        self.meets(Condition::Address)
            && self.gateway.is_some()
            && matches!(self.gateway_state.as_str(), "" | "none" | "failed" | "stale")
    }

    /// What the next condition that does not hold lacks: `it is down`.
    pub fn lacks(&self) -> String {
        match self {
            state if !state.exists => "there is no such link".to_owned(),
            state if !state.up => "it is down".to_owned(),
            state if !state.carrier => {
                "it is up without carrier, or its switch does not forward yet".to_owned()
            }
            state if state.meets(Condition::Address) => state.gateway_as_text(),
            state if state.tentative.iter().any(is_useful) => {
                "its addresses are still tentative, or in use by others".to_owned()
            }
            _ => "it has no address".to_owned(),
        }
    }

    fn gateway_as_text(&self) -> String {
        match (&self.gateway, self.gateway_state.as_str()) {
            (None, _) => "it has no gateway".to_owned(),
            (Some(gateway), "") => format!("its gateway {gateway} is silent"),
            (Some(gateway), state) => format!("its gateway {gateway} is {state}"),
        }
    }
}

/// Its addresses and its gateway, as what follows a comma: `, 192.0.2.10/24, gateway 192.0.2.1 reachable`.
impl fmt::Display for GuestLinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if number == 0 { ", " } else { " " })?;
        }
        match (&self.gateway, self.gateway_state.as_str()) {
            (None, _) => Ok(()),
            (Some(gateway), "") => write!(f, ", gateway {gateway}"),
            (Some(gateway), state) => write!(f, ", gateway {gateway} {state}"),
        }
    }
}

/// Whether a neighbour of that state was heard of lately, or is known for good: nobody asks what an operator entered, nor
/// on links that need no link-layer addresses.
pub fn answers(neighbour: &str) -> bool {
    matches!(neighbour, "reachable" | "permanent" | "noarp")
}

/// An address that others can reach, unlike those that the kernel makes by itself.
fn is_useful(net: &IpNet) -> bool {
    !matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> GuestLinkState {
        GuestLinkState {
            exists: true,
            up: true,
            carrier: true,
            addresses: vec!["192.0.2.10/24".parse().unwrap()],
            tentative: Vec::new(),
            gateway: Some("192.0.2.1".parse().unwrap()),
            gateway_state: "reachable".to_owned(),
        }
    }

    /// The greatest condition that holds.
    fn met(state: &GuestLinkState) -> Option<Condition> {
        Condition::ALL.into_iter().rev().find(|condition| state.meets(*condition))
    }

    #[test]
    fn a_condition_takes_all_before_it() {
        let local: IpNet = "fe80::1/64".parse().unwrap();
        let cases = [
            (GuestLinkState::default(), None, "there is no such link"),
            (GuestLinkState { up: false, ..ready() }, None, "it is down"),
            (GuestLinkState { carrier: false, ..ready() }, Some(Condition::Up), "it is up without carrier"),
            (
                GuestLinkState { addresses: vec![local], ..ready() },
                Some(Condition::Carrier),
                "it has no address",
            ),
            (
                GuestLinkState { addresses: Vec::new(), tentative: ready().addresses, ..ready() },
                Some(Condition::Carrier),
                "still tentative",
            ),
            (GuestLinkState { gateway: None, ..ready() }, Some(Condition::Address), "it has no gateway"),
            (
                GuestLinkState { gateway_state: "incomplete".to_owned(), ..ready() },
                Some(Condition::Address),
                "its gateway 192.0.2.1 is incomplete",
            ),
        ];
        for (state, expected, said) in cases {
            assert_eq!(met(&state), expected, "{state:?}");
            assert!(state.lacks().contains(said), "{}", state.lacks());
        }
        assert_eq!(met(&ready()), Some(Condition::Gateway));
    }

    #[test]
    fn a_gateway_is_asked_when_all_else_is_there_and_nobody_waits_for_its_answer() {
        for (state, expected) in
            [("", true), ("failed", true), ("stale", true), ("incomplete", false), ("reachable", false)]
        {
            assert_eq!(
                GuestLinkState { gateway_state: state.to_owned(), ..ready() }.gateway_is_silent(),
                expected,
                "{state}"
            );
        }
        let without_address =
            GuestLinkState { addresses: Vec::new(), gateway_state: String::new(), ..ready() };
        assert!(!without_address.gateway_is_silent());
    }
}
