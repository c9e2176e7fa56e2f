//! Into the guest: the mark, then the move.

use std::os::fd::AsFd;

use pipewright_api::net::{LinkName, MacAddr, Mtu};
use rtnetlink::packet_route::link::LinkAttribute;

use super::{Radios, link};
use crate::host::link::{change, index};
use crate::host::mark as marks;
use crate::host::netlink::{KernelError, Requests};
use crate::step::{Move, Nic, StepError};

/// `ip link set NIC group GROUP alias ALIAS`, if it still is what was looked at.
///
/// # Errors
/// ENODEV when it is gone, EBUSY when it is another by now; the kernel's refusal.
pub(in crate::host) fn mark(host: &mut Requests, nic: &Nic) -> Result<(), KernelError> {
    let links = link::list(host)?;
    let Some(found) = links.into_iter().find(|link| link.facts.name == nic.name.as_str()) else {
        return Err(KernelError::new(libc::ENODEV, format!("link {} does not exist", nic.name)));
    };
    let is_the_same = found.facts.mac == Some(nic.found.mac)
        && found.facts.group == nic.found.group
        && found.alias == nic.found.alias
        && found.facts.master.is_none();
    if !is_the_same {
        let text = format!("link {} was changed by somebody meanwhile", nic.name);
        return Err(KernelError::new(libc::EBUSY, text));
    }
    host.request(&link::set_mark(found.facts.index, marks::group(nic.id), &nic.alias())).map(drop)
}

/// `ip link set NIC netns GUEST name IFNAME`, or `iw phy PHY set netns GUEST` and the name.
///
/// # Errors
/// NOT_SUPPORTED when the NIC cannot leave; EEXIST when the guest has a link of that name; the kernel's refusal.
pub(in crate::host) fn lend(
    host: &mut Requests,
    radios: Option<&mut Radios>,
    guest: &mut Requests,
    netns: impl AsFd,
    asked: &Move,
    step: impl Fn() -> String,
) -> Result<(), StepError> {
    let refuse = |error: KernelError| refusal(asked, step(), error);
    let number = index(host, &asked.name).map_err(refuse)?;
    let Some(radio) = asked.radio else {
        let there = link::move_to(number, netns, &asked.ifname, None);
        return host.request(&there).map(drop).map_err(refuse);
    };
    let lost =
        || KernelError::new(libc::ENODEV, format!("{} is not in the guest with its radio", asked.name));
    let radios = radios.ok_or_else(|| KernelError::new(libc::ENOENT, "the kernel knows of no wireless"));
    radios.and_then(|radios| radios.set_netns(radio, netns)).map_err(refuse)?;
    let links = link::list(guest).map_err(refuse)?;
    let is_it = |link: &link::NicLink| link.facts.group == marks::group(asked.id);
    let there = links.into_iter().find(is_it).ok_or_else(lost).map_err(refuse)?;
    if there.facts.name == asked.ifname.as_str() {
        return Ok(());
    }
    let name = vec![LinkAttribute::IfName(asked.ifname.to_string())];
    guest.request(&change(there.facts.index, name)).map(drop).map_err(refuse)
}

/// What the kernel means.
fn refusal(asked: &Move, step: String, error: KernelError) -> StepError {
    let Move { name, ifname, .. } = asked;
    // "The interface netns local", which kernels from 6.12 to 6.14 say only now.
    if error.errno == libc::EINVAL && error.text.contains("netns") {
        return StepError::NotMovable { step, link: name.to_string(), why: error.text };
    }
    let text = match error.errno {
        libc::EEXIST => format!("the guest has a link {ifname}, or one with another name of {name}"),
        _ => error.text,
    };
    StepError::Kernel { step, errno: error.errno, text }
}

/// `ip link set IFNAME address MAC mtu BYTES`, in the guest.
///
/// # Errors
/// The kernel's refusal.
pub(in crate::host) fn set_guest_link(
    guest: &mut Requests,
    ifname: &LinkName,
    mac: Option<MacAddr>,
    mtu: Option<Mtu>,
) -> Result<(), KernelError> {
    let mut attributes = Vec::new();
    attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
    attributes.extend(mtu.map(|mtu| LinkAttribute::Mtu(mtu.get())));
    let number = index(guest, ifname)?;
    guest.request(&change(number, attributes)).map(drop)
}
