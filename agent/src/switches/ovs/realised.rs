//! Whether ovs-vswitchd has acted on what was committed: `cur_cfg`, `ofport` and `error`.

use pipewright_api::net::LinkName;
use uuid::Uuid;

use super::SwitchError;
use super::live::Live;

/// OpenFlow's number of a bridge's own port.
const LOCAL: i64 = 65534;

/// Whether ovs-vswitchd has made a bridge. It says nothing about a datapath that it cannot open, except in its log.
pub(super) fn bridge_state(live: &Live, name: &LinkName, next_cfg: i64) -> Option<Result<(), SwitchError>> {
    if !live.has_done(next_cfg) {
        return None;
    }
    let local = live.port(name.as_str()).and_then(|(_, port)| live.interface(port));
    let error = match local.map(|local| (local.ofport, &local.error)) {
        Some((Some(LOCAL), _)) => return Some(Ok(())),
        Some((_, Some(error))) => error.to_string(),
        Some((_, None)) => {
            "its datapath cannot be opened; does this kernel have the openvswitch module? See ovs-vswitchd.log".to_owned()
        }
        None => "it was deleted by somebody else".to_owned(),
    };
    Some(Err(SwitchError::PortError { port: name.to_string(), error }))
}

/// Whether ovs-vswitchd has made a port.
pub(super) fn port_state(live: &Live, name: &LinkName, id: Uuid) -> Option<Result<u16, SwitchError>> {
    let Some((_, port)) = live.port(name.as_str()).filter(|(_, port)| port.id == Some(id)) else {
        return Some(Err(SwitchError::NoPort { port: name.to_string() }));
    };
    if !live.has_done(live.commit_of(id)) {
        return None;
    }
    let interface = live.interface(port)?;
    let error = match (&interface.error, interface.ofport) {
        (Some(error), _) => error.to_string(),
        (None, Some(ofport)) => match u16::try_from(ofport) {
            Ok(ofport @ 1..) => return Some(Ok(ofport)),
            Ok(0) | Err(_) => "it has no port number; see ovs-vswitchd.log".to_owned(),
        },
        (None, None) => return None,
    };
    Some(Err(SwitchError::PortError { port: name.to_string(), error }))
}
