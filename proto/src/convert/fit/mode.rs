//! Whether a mode is one of the kind's.

use super::super::At;
use crate::reason::Failure;
use crate::spec::{AttachmentSpec, Kind, Mode};

/// Without a kind, the uplink decides, and with it the agent.
pub(super) fn fits(spec: &AttachmentSpec, at: &At<'_>) -> Result<(), Failure> {
    let Some(mode) = spec.mode else { return Ok(()) };
    match (mode, spec.known_kind()) {
        (Mode::Macvlan(_), Some(Kind::Macvlan) | None)
        | (Mode::Ipvlan(_), Some(Kind::Ipvlan))
        | (Mode::Ipoib(_), Some(Kind::Ipoib)) => Ok(()),
        (Mode::Ipoib(_), None | Some(Kind::Macvlan | Kind::Ipvlan)) => {
            Err(at.refuse(format_args!("{mode} is a mode of ipoib: ask for that kind, too")))
        }
        (Mode::Macvlan(_) | Mode::Ipvlan(_), Some(Kind::Ipoib)) => {
            Err(at.refuse(format_args!("{mode} is no mode of ipoib: use datagram or connected")))
        }
        (Mode::Ipvlan(_), None | Some(Kind::Macvlan)) => {
            Err(at.refuse(format_args!("{mode} is a mode of ipvlan: ask for that kind, too")))
        }
        (Mode::Macvlan(_), Some(Kind::Ipvlan)) => {
            Err(at.refuse(format_args!("{mode} is no mode of ipvlan: use l2, l3 or l3s")))
        }
        (
            _,
            Some(
                kind @ (Kind::LinuxBridge | Kind::Ovs | Kind::Vlan | Kind::Dummy | Kind::Ptp | Kind::Direct),
            ),
        ) => Err(at.refuse(format_args!("{kind} has no modes: leave it out"))),
    }
}
