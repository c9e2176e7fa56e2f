//! Changes as values: what each needs, decided from the live copy, and the operations that make it.
//!
//! Every change begins with preconditions (`wait` with no timeout), so one that is sent twice, or that comes late, or that
//! meets somebody else's change is refused and not carried out twice.

use pipewright_api::net::{LinkName, MacAddr};
use pipewright_api::spec::Vlan;
use uuid::Uuid;

use super::live::Live;
use super::rows::{Port, vlan_columns};
use super::{Plug, SwitchError, mark};
use crate::ovsdb::ops::{
    Condition, Function, Mutation, Mutator, equal, expect_none, expect_one, insert, mutate, update,
};
use crate::ovsdb::value::row;
use crate::ovsdb::{Atom, NamedUuid, Operation, Value};

/// What is asked of Open vSwitch.
#[derive(Debug, Clone)]
pub(super) enum Change {
    EnsureBridge { bridge: LinkName, mac: Option<MacAddr>, is_userspace: bool },
    ReleaseBridge { bridge: LinkName },
    Plug(Plug),
    Unplug { port: LinkName, id: Uuid },
    SetVlan { port: LinkName, id: Uuid, vlan: Vlan },
}

/// What the live copy says to a change.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing to do.
    Settled(Finding),
    /// This is to do, and then a port joins or leaves a bridge.
    Commit(Vec<Operation>, Option<Membership>),
}

/// Why there is nothing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is as it is wanted.
    AsWanted,
    /// What is to be removed is not there.
    Absent,
    /// It is somebody else's, who is named.
    Foreign(String),
    /// Other ports are in the bridge.
    InUse,
}

/// A port that joins or leaves a bridge. Those of one transaction are put together: each is a copy of the whole set.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) bridge: Uuid,
    pub(super) mutator: Mutator,
    pub(super) port: Atom,
}

impl Change {
    /// What is to do. `number` keeps the names of rows apart in one transaction.
    ///
    /// # Errors
    /// If it cannot be: the bridge is missing, the port is another's.
    pub(super) fn decide(&self, live: &Live, number: usize) -> Result<Verdict, SwitchError> {
        match self {
            Self::EnsureBridge { bridge, mac, is_userspace } => {
                ensure_bridge(live, number, bridge, *mac, *is_userspace)
            }
            Self::ReleaseBridge { bridge } => Ok(release_bridge(live, bridge)),
            Self::Plug(plug) => self::plug(live, number, plug),
            Self::Unplug { port, id } => Ok(unplug(live, port, *id)),
            Self::SetVlan { port, id, vlan } => set_vlan(live, port, *id, vlan),
        }
    }

    /// The bridge or port that is changed. Each bridge has a port of its own name.
    pub(super) fn object(&self) -> &LinkName {
        match self {
            Self::EnsureBridge { bridge, .. } | Self::ReleaseBridge { bridge } => bridge,
            Self::Plug(Plug { port, .. }) | Self::Unplug { port, .. } | Self::SetVlan { port, .. } => port,
        }
    }

    /// For messages: `plug port pw… into bridge br0`.
    pub(super) fn what(&self) -> String {
        match self {
            Self::EnsureBridge { bridge, .. } => format!("make bridge {bridge}"),
            Self::ReleaseBridge { bridge } => format!("delete bridge {bridge}"),
            Self::Plug(plug) => format!("plug port {} into bridge {}", plug.port, plug.bridge),
            Self::Unplug { port, .. } => format!("unplug port {port}"),
            Self::SetVlan { port, .. } => format!("set the VLANs of port {port}"),
        }
    }
}

/// `ovs-vsctl --may-exist add-br BRIDGE`; a bridge of somebody else is used as it is.
fn ensure_bridge(
    live: &Live,
    number: usize,
    bridge: &LinkName,
    mac: Option<MacAddr>,
    is_userspace: bool,
) -> Result<Verdict, SwitchError> {
    if live.bridge(bridge.as_str()).is_some() {
        return Ok(Verdict::Settled(Finding::AsWanted));
    }
    if let Some((row, found)) = live.port(bridge.as_str()) {
        return Err(taken(live, row, found));
    }
    let name = || Value::from(bridge.to_string());
    let named = |what| NamedUuid::numbered(what, number);
    let mut columns =
        row([("name", name()), ("ports", named("local").into()), ("external_ids", mark::bridge())]);
    if let Some(mac) = mac {
        columns.insert("other_config".into(), Value::map([("hwaddr", mac.to_string())]));
    }
    if is_userspace {
        columns.insert("datapath_type".into(), "netdev".into());
    }
    let internal = row([("name", name()), ("type", "internal".into())]);
    let local = row([("name", name()), ("interfaces", named("internal").into())]);
    let operations = vec![
        expect_none("Bridge", equal("name", name()), "name"),
        expect_none("Interface", equal("name", name()), "name"),
        insert("Interface", internal, Some(named("internal"))),
        insert("Port", local, Some(named("local"))),
        insert("Bridge", columns, Some(named("bridge"))),
        mutate("Open_vSwitch", vec![], Mutation::new("bridges", Mutator::Insert, named("bridge"))),
    ];
    Ok(Verdict::Commit(operations, None))
}

/// `ovs-vsctl del-br BRIDGE`, if it is ours and only its own port is left in it.
fn release_bridge(live: &Live, bridge: &LinkName) -> Verdict {
    let Some((id, found)) = live.bridge(bridge.as_str()) else { return Verdict::Settled(Finding::Absent) };
    if !found.is_ours {
        return Verdict::Settled(Finding::Foreign("somebody else".to_owned()));
    }
    if found.ports.iter().any(|port| live.port_name(*port) != Some(bridge.as_str())) {
        return Verdict::Settled(Finding::InUse);
    }
    let ours = is_marked(id, mark::bridge());
    let operations = vec![
        expect_one("Bridge", ours, "ports", Value::set(found.ports.iter().copied())),
        mutate("Open_vSwitch", vec![], Mutation::new("bridges", Mutator::Delete, id)),
    ];
    Verdict::Commit(operations, None)
}

/// `ovs-vsctl add-port BRIDGE PORT tag=…`
fn plug(live: &Live, number: usize, plug: &Plug) -> Result<Verdict, SwitchError> {
    let Plug { bridge, port, vlan, id, purpose, labels } = plug;
    let no_bridge = || SwitchError::NoBridge { bridge: bridge.to_string() };
    let (bridge_row, _) = live.bridge(bridge.as_str()).ok_or_else(no_bridge)?;
    if let Some((row, found)) = live.port(port.as_str()) {
        let is_in_bridge = live.bridge_of(row).is_some_and(|(found_in, _)| found_in == bridge_row);
        return match found.id == Some(*id) && is_in_bridge {
            true if found.vlan.as_ref() == Some(vlan) => Ok(Verdict::Settled(Finding::AsWanted)),
            true => set_vlan(live, port, *id, vlan),
            false => Err(taken(live, row, found)),
        };
    }
    if live.has_interface(port.as_str()) {
        let by = "another port that it is an interface of".to_owned();
        return Err(SwitchError::PortTaken { port: port.to_string(), bridge: None, by });
    }
    let name = || Value::from(port.to_string());
    let named = |what| NamedUuid::numbered(what, number);
    let interface = row([("name", name()), ("external_ids", mark::interface(*id, labels))]);
    let mut columns = vlan_columns(vlan);
    columns.extend(row([
        ("name", name()),
        ("interfaces", named("interface").into()),
        ("external_ids", mark::port(*id, *purpose)),
    ]));
    let operations = vec![
        expect_one("Bridge", equal("_uuid", bridge_row), "name", bridge.to_string()),
        expect_none("Interface", equal("name", name()), "name"),
        insert("Interface", interface, Some(named("interface"))),
        insert("Port", columns, Some(named("port"))),
    ];
    let membership = Membership { bridge: bridge_row, mutator: Mutator::Insert, port: named("port").into() };
    Ok(Verdict::Commit(operations, Some(membership)))
}

/// `ovs-vsctl --if-exists del-port PORT`, if it carries the id. The rows of port and interface go with the reference.
fn unplug(live: &Live, port: &LinkName, id: Uuid) -> Verdict {
    let Some((row, found)) = live.port(port.as_str()) else { return Verdict::Settled(Finding::Absent) };
    if found.id != Some(id) {
        return Verdict::Settled(Finding::Foreign(owner(found)));
    }
    let Some((bridge, _)) = live.bridge_of(row) else { return Verdict::Settled(Finding::Absent) };
    let operations = vec![expect_one("Port", is_marked(row, mark::id(id)), "name", port.to_string())];
    let membership = Membership { bridge, mutator: Mutator::Delete, port: row.into() };
    Verdict::Commit(operations, Some(membership))
}

/// `ovs-vsctl set port PORT tag=…`, if it carries the id.
fn set_vlan(live: &Live, port: &LinkName, id: Uuid, vlan: &Vlan) -> Result<Verdict, SwitchError> {
    let no_port = || SwitchError::NoPort { port: port.to_string() };
    let (row, found) = live.port(port.as_str()).ok_or_else(no_port)?;
    if found.id != Some(id) {
        return Err(taken(live, row, found));
    }
    if found.vlan.as_ref() == Some(vlan) {
        return Ok(Verdict::Settled(Finding::AsWanted));
    }
    let operations = vec![
        expect_one("Port", is_marked(row, mark::id(id)), "name", port.to_string()),
        update("Port", equal("_uuid", row), vlan_columns(vlan)),
    ];
    Ok(Verdict::Commit(operations, None))
}

/// The row, as long as its `external_ids` hold the mark.
fn is_marked(row: Uuid, mark: Value) -> Vec<Condition> {
    vec![
        Condition::new("_uuid", Function::Equal, row),
        Condition::new("external_ids", Function::Includes, mark),
    ]
}

fn taken(live: &Live, row: Uuid, port: &Port) -> SwitchError {
    SwitchError::PortTaken {
        port: port.name.to_string(),
        bridge: live.bridge_of(row).map(|(_, bridge)| bridge.name.to_string()),
        by: owner(port),
    }
}

fn owner(port: &Port) -> String {
    match (port.id, &*port.foreign) {
        (Some(id), _) => format!("attachment {id}"),
        (None, "") => "somebody who left no mark".to_owned(),
        (None, marks) => marks.to_owned(),
    }
}
