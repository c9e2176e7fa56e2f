//! Which datapath new bridges get.
//!
//! `Open_vSwitch.datapath_types` says what ovs-vswitchd was built with, not what works: it lists `system` on a kernel
//! without the openvswitch module, too. So the kernel is asked for the module's generic netlink family, which is what
//! ovs-vswitchd itself does (and which makes the kernel load the module if it can).

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

/// The datapath of new bridges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Datapath {
    /// The kernel's where it has one, else the userspace one.
    #[default]
    Auto,
    /// The kernel's (`datapath_type=system`).
    System,
    /// The userspace one (`datapath_type=netdev`).
    Netdev,
}

impl Datapath {
    /// Whether new bridges run in userspace; `built` is `datapath_types`, empty if ovs-vswitchd never ran. Their guests
    /// must fill in checksums themselves. May block while the kernel loads a module.
    ///
    /// # Errors
    /// Those of the netlink socket.
    pub(super) fn is_userspace(self, built: &[String]) -> io::Result<bool> {
        match self {
            Self::System => Ok(false),
            Self::Netdev => Ok(true),
            Self::Auto if !built.is_empty() && !built.iter().any(|kind| kind == "system") => Ok(true),
            Self::Auto => kernel_has_family("ovs_datapath").map(|has| !has),
        }
    }
}

const CTRL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_NAME: u16 = 2;
const REQUEST: u16 = 1;
const ERROR: u16 = 2;

/// `genl ctrl get name NAME` (linux/genetlink.h).
fn kernel_has_family(name: &str) -> io::Result<bool> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&get_family(name), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let field = |at: usize| answer.get(at..).and_then(|rest| rest.first_chunk::<4>().copied());
    let kind = field(4).map(|[a, b, _, _]| u16::from_ne_bytes([a, b]));
    match (kind, field(16).map(i32::from_ne_bytes)) {
        (Some(CTRL), _) => Ok(true),
        (Some(ERROR), Some(code)) if code == -libc::ENOENT => Ok(false),
        (Some(ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "an answer that is none of generic netlink")),
    }
}

/// nlmsghdr, genlmsghdr and one attribute, each in the host's byte order.
fn get_family(name: &str) -> Vec<u8> {
    let attribute = 4 + name.len() + 1;
    let padded = attribute.next_multiple_of(4);
    let mut message = Vec::with_capacity(20 + padded);
    message.extend(((20 + padded) as u32).to_ne_bytes());
    message.extend(CTRL.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([GET_FAMILY, 1, 0, 0]);
    message.extend((attribute as u16).to_ne_bytes());
    message.extend(FAMILY_NAME.to_ne_bytes());
    message.extend(name.as_bytes());
    message.resize(20 + padded, 0);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_its_own_families() {
        assert!(kernel_has_family("nlctrl").unwrap());
        assert!(!kernel_has_family("no_such_family").unwrap());
    }

    #[test]
    fn a_datapath_that_was_chosen_is_taken() {
        assert!(Datapath::Netdev.is_userspace(&["system".to_owned()]).unwrap());
        assert!(!Datapath::System.is_userspace(&["netdev".to_owned()]).unwrap());
    }

    #[test]
    fn without_support_in_ovs_vswitchd_the_kernel_is_not_asked() {
        assert!(Datapath::Auto.is_userspace(&["netdev".to_owned()]).unwrap());
    }
}
