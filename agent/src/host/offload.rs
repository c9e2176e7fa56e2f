//! Checksum offload. A veth leaves checksums to be filled in by a card that frames may never meet; the userspace datapath
//! of Open vSwitch passes them on as they are, so TCP and DHCP die while ping works.

use std::io;

use crate::host::netlink::{KernelError, Requests};
use crate::host::sys;

/// Commands of linux/ethtool.h.
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STXCSUM: u32 = 0x17;

/// `ethtool -K LINK tx off`, in the network namespace of the socket.
///
/// # Errors
/// ENODEV when there is no such link; EOPNOTSUPP when its driver cannot, and it is on.
pub(super) fn disable_tx_checksum(requests: &Requests, link: &str) -> Result<(), KernelError> {
    match sys::ethtool(requests, link, ETHTOOL_STXCSUM, 0) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) && is_off(requests, link)? => {}
        Err(error) => return Err(error.into()),
    }
    match is_off(requests, link)? {
        true => Ok(()),
        false => Err(KernelError::new(libc::EOPNOTSUPP, format!("{link} keeps its TX checksum offload"))),
    }
}

/// Whether checksums are filled in by the sender.
///
/// # Errors
/// ENODEV when there is no such link.
pub(super) fn is_off(requests: &Requests, link: &str) -> io::Result<bool> {
    Ok(sys::ethtool(requests, link, ETHTOOL_GTXCSUM, 0)? == 0)
}
