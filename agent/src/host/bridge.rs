//! Linux bridges: made and deleted if they are ours, their ports plugged and freed.

use ipnet::IpNet;
use pipewright_api::net::{LinkName, MacAddr};

use crate::host::address;
use crate::host::link::{self, LinkFacts};
use crate::host::mark;
use crate::host::netlink::{KernelError, Requests};

/// Makes a bridge unless there is one; one that is there stays as it is.
///
/// # Errors
/// EEXIST when the name is that of something else.
pub(super) fn ensure(host: &mut Requests, bridge: &LinkName, mac: MacAddr) -> Result<(), KernelError> {
    match host.request(&link::create_bridge(bridge, mac)) {
        Ok(_) => Ok(()),
        Err(error) if error.errno == libc::EEXIST => match link::find(host, bridge.as_str())? {
            Some(found) if found.kind == "bridge" => Ok(()),
            Some(found) => {
                let text = format!("{bridge} exists and is a {}, not a bridge", found.kind_or_plain());
                Err(KernelError::new(libc::EEXIST, text))
            }
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// The bridge if it is ours, has no ports, and nobody gave it an address.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn to_release(host: &mut Requests, bridge: &LinkName) -> Result<Option<LinkFacts>, KernelError> {
    let is_ours = |link: &LinkFacts| link.kind == "bridge" && link.group == mark::BRIDGE;
    let Some(found) = link::find(host, bridge.as_str())?.filter(is_ours) else { return Ok(None) };
    let is_free = link::list(host, Some(found.index))?.is_empty() && !has_address(host, found.index)?;
    Ok(is_free.then_some(found))
}

/// `ip link set BRIDGE type bridge vlan_filtering 1`, where that is ours to do.
///
/// # Errors
/// EPERM on a bridge of somebody else or with ports of others; EOPNOTSUPP when the kernel's bridges do not filter.
pub(super) fn filter_vlans(
    host: &mut Requests,
    bridge: &LinkName,
    uplink: Option<&LinkName>,
) -> Result<(), KernelError> {
    let missing = || KernelError::new(libc::ENODEV, format!("link {bridge} does not exist"));
    let found = link::find(host, bridge.as_str())?.ok_or_else(missing)?;
    if found.filtering.is_some() {
        return Ok(());
    }
    if !is_ours_alone(host, &found, uplink)? {
        let text = format!("{bridge} is not ours alone, and others would hear less");
        return Err(KernelError::new(libc::EPERM, text));
    }
    host.request(&link::set_filtering(found.index, true))?;
    // Kernels whose bridges cannot filter have taken the request without a word.
    match link::find(host, bridge.as_str())?.and_then(|found| found.filtering) {
        Some(_) => Ok(()),
        None => Err(KernelError::new(libc::EOPNOTSUPP, "the bridge does not filter VLANs")),
    }
}

/// `ip link set BRIDGE type bridge vlan_filtering 0`, where that is ours to do.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn pass_vlans(
    host: &mut Requests,
    bridge: &LinkName,
    uplink: Option<&LinkName>,
) -> Result<(), KernelError> {
    let Some(found) = link::find(host, bridge.as_str())? else { return Ok(()) };
    match found.filtering.is_some() && is_ours_alone(host, &found, uplink)? {
        true => host.request(&link::set_filtering(found.index, false)).map(drop),
        false => Ok(()),
    }
}

/// Whether we made a bridge, and all of its ports but the fleet's uplink.
fn is_ours_alone(
    host: &mut Requests,
    found: &LinkFacts,
    uplink: Option<&LinkName>,
) -> Result<bool, KernelError> {
    let is_ours = found.kind == "bridge" && found.group == mark::BRIDGE;
    let is_uplink = |port: &LinkFacts| uplink.is_some_and(|uplink| uplink.as_str() == port.name);
    let ports = link::list(host, Some(found.index))?;
    Ok(is_ours && ports.iter().all(|port| mark::is_ours(port.group) || is_uplink(port)))
}

/// Whether somebody uses the bridge as a link of the host. We give none an address, and the kernel only link-local ones.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn has_address(host: &mut Requests, index: u32) -> Result<bool, KernelError> {
    let is_kernels = |net: IpNet| matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
    Ok(address::list_all(host, index)?.iter().any(|address| !is_kernels(address.net)))
}

/// Plugs a link into a bridge.
///
/// # Errors
/// ENODEV when one of them is missing; EBUSY when the link is in another bridge, from which the kernel would take it.
pub(super) fn enslave(host: &mut Requests, name: &LinkName, bridge: &LinkName) -> Result<(), KernelError> {
    let into = link::index(host, bridge)?;
    let missing = || KernelError::new(libc::ENODEV, format!("link {name} does not exist"));
    let found = link::find(host, name.as_str())?.ok_or_else(missing)?;
    match found.master {
        Some(master) if master == into => Ok(()),
        Some(master) => {
            let holder = rustix::net::netdevice::index_to_name(&*host, master)?;
            Err(KernelError::new(libc::EBUSY, format!("{name} is in {holder} already")))
        }
        None => host.request(&link::set_master(found.index, into)).map(drop),
    }
}

/// Takes a link out of a bridge, if it is in that one.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn free(host: &mut Requests, name: &LinkName, bridge: &LinkName) -> Result<(), KernelError> {
    let from = link::find(host, bridge.as_str())?.map(|bridge| bridge.index);
    match link::find(host, name.as_str())? {
        Some(found) if from.is_some() && found.master == from => {
            host.request(&link::set_master(found.index, 0)).map(drop)
        }
        Some(_) | None => Ok(()),
    }
}
