//! Back to the host: from the guest, or from wherever the kernel put the NIC when its guest died; then as it was. What is as it
//! was already is left alone, so it can be done again after it was interrupted anywhere.

use std::time::{Duration, Instant};

use rtnetlink::packet_route::link::LinkAttribute;

use super::link::{self, NicLink, UP};
use super::{Radios, objects, settings};
use crate::host::dhcp::now;
use crate::host::link::change;
use crate::host::netlink::{Answer, KernelError, Request, Requests};
use crate::host::way::Home;
use crate::host::{guest_link, saved_route, sysctl};
use crate::step::{Nic, SavedRoute};

/// How long the kernel may take to give back the hardware of a dead guest. What has not come by then was pulled out, or is
/// deeper in a namespace of the guest's own.
const COMES_BACK: Duration = Duration::from_secs(10);
/// How long the kernel may take to route to an address of the host's own.
const USABLE: Duration = Duration::from_secs(2);
/// `IN6_ADDR_GEN_MODE_NONE` of linux/if_link.h.
const NO_ADDRESSES: u8 = 1;

/// Brings a NIC back. `guest` is a socket in the guest, whose namespace the calling thread is in then; without it the guest is
/// gone, or cannot be entered any more although `netns_id` shows that it lives.
///
/// # Errors
/// What could not be made good, all of it. The NIC keeps its mark then.
pub(in crate::host) fn give_back(
    host: &mut Requests,
    home: &Home,
    guest: Option<&mut Requests>,
    netns_id: Option<i32>,
    nic: &Nic,
) -> Result<(), KernelError> {
    if let Some(found) = link::find_lent(host, nic, true)? {
        return make_good(host, home, nic, &found);
    }
    if link::is_home(host, nic)? {
        return Ok(());
    }
    let found = match guest {
        Some(guest) => {
            let Some(lent) = link::find_lent(guest, nic, false)? else {
                gone(nic);
                return Ok(());
            };
            let fetched = fetch(guest, home, nic, &lent);
            // When the host has another link of its name, it comes under the guest's all the same.
            let found = link::find_lent(host, nic, true)?;
            if found.is_none() {
                fetched?;
            }
            found
        }
        None => {
            if netns_id.is_some() && guest_link::find(host, netns_id, &nic.ifname)?.is_some() {
                let text = format!(
                    "{} is in a guest that lives on but cannot be entered any more; end its last process",
                    nic.name
                );
                return Err(KernelError::new(libc::EBUSY, text));
            }
            await_return(host, home, nic)?
        }
    };
    match found {
        Some(found) => make_good(host, home, nic, &found),
        None => {
            gone(nic);
            Ok(())
        }
    }
}

/// Nothing of ours is left of it.
fn gone(nic: &Nic) {
    let Nic { id, name, .. } = nic;
    if nic.is_hardware {
        tracing::warn!(nic = %name, attachment = %id, "the NIC is neither in the host nor in its guest any more");
    } else {
        tracing::info!(nic = %name, attachment = %id, "the virtual NIC went with its guest");
    }
}

/// `ip link set IFNAME netns HOST name NIC` in the guest, or `iw phy PHY set netns HOST`.
fn fetch(guest: &mut Requests, home: &Home, nic: &Nic, lent: &NicLink) -> Result<(), KernelError> {
    let Some(radio) = nic.radio else {
        let mut come = |number| {
            let home = link::move_to(lent.facts.index, &home.netns, &nic.name, number);
            guest.request(&home).map(drop)
        };
        return match come(Some(nic.found.index)) {
            // Another link of the host has its number by now.
            Err(error) if error.errno == libc::EBUSY => come(None),
            result => result,
        };
    };
    let radios =
        Radios::open()?.ok_or_else(|| KernelError::new(libc::ENOENT, "the kernel knows of no wireless"));
    radios?.set_netns(radio, &home.netns)
}

/// The kernel announces a dead guest before its links are back. Only hardware comes back, and to the machine's first
/// namespace.
fn await_return(host: &mut Requests, home: &Home, nic: &Nic) -> Result<Option<NicLink>, KernelError> {
    if !nic.is_hardware || !sysctl::is_in_first_netns()? {
        return Ok(None);
    }
    let until = Instant::now() + COMES_BACK;
    loop {
        let found = link::find_lent(host, nic, true)?;
        if found.is_some() || !home.events.wait(until)? {
            return Ok(found);
        }
    }
}

/// Makes a NIC of the host what it was.
fn make_good(host: &mut Requests, home: &Home, nic: &Nic, now: &NicLink) -> Result<(), KernelError> {
    let (found, index) = (&nic.found, now.facts.index);
    let mut faults = Vec::new();
    let is_down = link_itself(host, nic, now, &mut faults);
    // Under another name nothing goes on: that name would be in the labels of its addresses, and its own is another link's.
    if rustix::net::netdevice::index_to_name(&*host, index)? != nic.name.as_str() {
        return said(&faults);
    }
    faults.extend(settings::write_all(&home.netns, nic.name.as_str(), &found.settings));
    let missing = missing_addresses(host, nic, index)?;
    let (early, late): (Vec<_>, Vec<_>) = missing.into_iter().partition(|(_, is_v6)| !is_v6);
    take(host, early.into_iter().flat_map(|(requests, _)| requests), &mut faults);
    if is_down || now.flags != found.flags {
        // Its link-local address is among those that follow, if it had one.
        let generation = found.address_generation.map(|_| link::set_address_generation(index, NO_ADDRESSES));
        take(host, generation.into_iter().chain([link::set_all_flags(index, found.flags)]), &mut faults);
    }
    // The kernel takes those of IPv6 away from a link that goes down, and gives their routes to one that is up.
    // And it puts a new one before the others.
    take(host, late.into_iter().rev().flat_map(|(requests, _)| requests), &mut faults);
    if found.flags & UP != 0 {
        await_usable(host, home, nic)?;
    }
    routes(host, nic, index, &mut faults)?;
    let neighbours = found.neighbours.iter().map(|kept| objects::add_neighbour(kept, index));
    take(host, neighbours.collect::<Result<Vec<_>, _>>()?, &mut faults);
    take(host, found.address_generation.map(|mode| link::set_address_generation(index, mode)), &mut faults);
    said(&faults)?;
    // Last, so that what was interrupted before is begun anew.
    host.request(&link::set_mark(index, found.group, &found.alias)).map(drop)
}

/// All that was refused as one error.
fn said(faults: &[KernelError]) -> Result<(), KernelError> {
    let Some(first) = faults.first() else { return Ok(()) };
    let texts: Vec<&str> = faults.iter().map(|fault| fault.text.as_str()).collect();
    Err(KernelError::new(first.errno, texts.join("; ")))
}

/// MAC address, MTU, name, length of the queue, other names. A name or a MAC address is changed while the link is down; whether
/// it was set down for that.
fn link_itself(host: &mut Requests, nic: &Nic, now: &NicLink, faults: &mut Vec<KernelError>) -> bool {
    let (found, index) = (&nic.found, now.facts.index);
    let has_name = now.facts.name == nic.name.as_str();
    let has_mac = now.facts.mac == Some(found.mac);
    let mut requests = Vec::new();
    let is_in_the_way = now.flags & UP != 0 && !(has_name && has_mac);
    if is_in_the_way {
        requests.push(link::set_flags(index, 0, UP));
    }
    if !has_mac {
        requests.push(change(index, vec![LinkAttribute::Address(found.mac.octets().to_vec())]));
    }
    if now.facts.mtu != found.mtu {
        requests.push(change(index, vec![LinkAttribute::Mtu(found.mtu)]));
    }
    if !has_name {
        requests.push(change(index, vec![LinkAttribute::IfName(nic.name.to_string())]));
    }
    if now.queue != found.queue {
        requests.push(change(index, vec![LinkAttribute::TxQueueLen(found.queue)]));
    }
    let gone = found.altnames.iter().filter(|name| !now.altnames.contains(name));
    let new = now.altnames.iter().filter(|name| !found.altnames.contains(name));
    requests.extend(new.map(|name| link::set_altname(index, name, false)));
    requests.extend(gone.map(|name| link::set_altname(index, name, true)));
    let before = faults.len();
    take(host, requests, faults);
    if let Some(taken) = faults[before..].iter_mut().find(|fault| fault.errno == libc::EEXIST) {
        taken.text = format!("the host has another link {}, or one with another name of it", nic.name);
    }
    is_in_the_way
}

/// For each address that is not there the requests that add it, and whether it is IPv6's.
fn missing_addresses(
    host: &mut Requests,
    nic: &Nic,
    index: u32,
) -> Result<Vec<(Vec<Request>, bool)>, KernelError> {
    let elapsed = u32::try_from(now().as_secs().saturating_sub(nic.found.seen_at)).unwrap_or(u32::MAX);
    let there = objects::addresses(host, index)?;
    let there = there.iter().map(objects::address_of).collect::<Result<Vec<_>, _>>()?;
    let mut missing = Vec::new();
    for kept in &nic.found.addresses {
        let address = objects::address_of(kept)?;
        if !there.contains(&address) {
            missing.push((objects::add_address(kept, index, elapsed)?, address.addr().is_ipv6()));
        }
    }
    Ok(missing)
}

/// The kernel makes the routes to a host's own addresses of IPv6 by and by, and frames for them are lost until then.
fn await_usable(host: &mut Requests, home: &Home, nic: &Nic) -> Result<(), KernelError> {
    let until = Instant::now() + USABLE;
    let mut wanted = Vec::new();
    for kept in &nic.found.addresses {
        wanted.extend(objects::was_usable(kept)?);
    }
    while !wanted.is_empty() {
        let own = objects::own_ipv6(host)?;
        wanted.retain(|address| !own.contains(address));
        if !wanted.is_empty() && !home.events.wait(until)? {
            tracing::debug!(nic = %nic.name, ?wanted, "the kernel does not route to these addresses yet");
            return Ok(());
        }
    }
    Ok(())
}

/// Adds the routes that are not there. One by way of a gateway is refused until the one that reaches the gateway is there, so
/// those that are refused are tried again for as long as that helps.
fn routes(
    host: &mut Requests,
    nic: &Nic,
    index: u32,
    faults: &mut Vec<KernelError>,
) -> Result<(), KernelError> {
    let mut missing: Vec<_> = nic.found.routes.iter().collect();
    loop {
        let requests = missing.iter().map(|saved| saved_route::restore_over(saved, index));
        let answers = host.batch(&requests.collect::<Result<Vec<_>, _>>()?)?;
        let refused: Vec<_> = missing
            .iter()
            .zip(answers)
            .filter_map(|(saved, answer)| Some((*saved, answer.err()?)))
            // It is there already.
            .filter(|(_, error)| error.errno != libc::EEXIST)
            .collect();
        if refused.is_empty() || refused.len() == missing.len() {
            let say = |(saved, error): (&SavedRoute, KernelError)| {
                KernelError::new(error.errno, format!("ip route add {}: {}", saved.text, error.text))
            };
            faults.extend(refused.into_iter().map(say));
            return Ok(());
        }
        missing = refused.into_iter().map(|(saved, _)| saved).collect();
    }
}

/// Takes requests together and goes on past those that are refused.
fn take(host: &mut Requests, requests: impl IntoIterator<Item = Request>, faults: &mut Vec<KernelError>) {
    let requests: Vec<Request> = requests.into_iter().collect();
    match host.batch(&requests) {
        Ok(answers) => faults.extend(answers.into_iter().filter_map(Answer::err)),
        Err(error) => faults.push(error),
    }
}
