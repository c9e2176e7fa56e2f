//! A link of the host itself: a whole NIC, a VF, or an 802.1Q sub-interface.

use pipewright_api::net::{LinkName, MacAddr};
use pipewright_api::reason::Failure;
use pipewright_api::spec::Kind;

use super::{Decision, Link, Parent, vlan};
use crate::step::{Ends, Move, Nic, NicState, Step, WholeLink};

/// What a guest gets as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direct {
    /// A link that is there, and that nobody uses: it is lent.
    Lent(Box<Candidate>),
    /// A sub-interface that is missing: it is born in the guest.
    Born(Parent),
}

/// A link of the host that can be lent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub link: LinkName,
    /// It is no virtual link.
    pub is_hardware: bool,
    /// The address that its hardware came with.
    pub permanent_mac: Option<MacAddr>,
    /// The number of its radio, of a wireless one.
    pub radio: Option<u32>,
    /// The most bytes that its driver takes.
    pub most_mtu: u32,
    /// What must come back.
    pub state: NicState,
}

/// `ip link set NIC netns GUEST name IFNAME`, or `iw phy PHY set netns GUEST`
pub(super) fn plan(link: &Link<'_>, direct: &Direct) -> Result<Decision, Failure> {
    match direct {
        Direct::Born(parent) => Ok(Decision { kind: Kind::Direct, ..vlan::plan(link, parent)? }),
        Direct::Lent(candidate) => lend(link, candidate),
    }
}

fn lend(link: &Link<'_>, nic: &Candidate) -> Result<Decision, Failure> {
    if nic.radio.is_some() && link.is_leased() {
        let why =
            "a radio is in no network before somebody in the guest joins one: give it an address, or none";
        return Err(Failure::field("spec.dhcp", why));
    }
    if nic.radio.is_some() && link.is_checked() {
        let why = "a radio has no neighbours before somebody in the guest joins a network: leave it out";
        return Err(Failure::field("spec.duplicate_check", why));
    }
    let mac = link.spec.mac.unwrap_or(nic.state.mac);
    let link = &Link { mac, host_end: link.host_end.clone(), alias: None, ..*link };
    let ifname = &link.spec.ifname;
    let mut plan = vec![
        Step::MarkNic(Box::new(Nic {
            id: link.id,
            name: nic.link.clone(),
            ifname: ifname.clone(),
            is_hardware: nic.is_hardware,
            permanent_mac: nic.permanent_mac,
            radio: nic.radio,
            found: nic.state.clone(),
        })),
        Step::MoveNic(Move { id: link.id, name: nic.link.clone(), ifname: ifname.clone(), radio: nic.radio }),
    ];
    let mac = Some(link.mac).filter(|&mac| mac != nic.state.mac);
    let mtu = Some(link.mtu).filter(|mtu| mtu.get() != nic.state.mtu);
    if mac.is_some() || mtu.is_some() {
        plan.push(Step::SetGuestLink { ifname: ifname.clone(), mac, mtu });
    }
    plan.extend(link.configure(false));
    let whole = WholeLink { id: link.id, name: ifname.clone(), mac: link.mac, mtu: link.mtu };
    plan.push(link.verify(Ends::Whole(whole.clone())));
    if nic.radio.is_none() {
        plan.push(Step::AwaitGuestForwarding { ifname: ifname.clone() });
        plan.extend(link.finish(Ends::Whole(whole)));
    }
    Ok(link.decide(Kind::Direct, None, plan))
}
