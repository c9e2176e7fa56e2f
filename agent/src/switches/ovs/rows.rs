//! Rows of the Open_vSwitch database, as far as we need them. See ovs-vswitchd.conf.db(5).
//!
//! Statistics are left out: they change every five seconds for every port.

use std::collections::HashMap;

use pipewright_api::net::VlanId;
use pipewright_api::spec::Vlan;
use serde::Deserialize;
use uuid::Uuid;

use super::{Purpose, mark};
use crate::ovsdb::Value;
use crate::ovsdb::value::{Row, Set, StringMap};

/// The database.
pub(super) const DATABASE: &str = "Open_vSwitch";
/// What is watched.
pub(super) const TABLES: [(&str, &[&str]); 4] = [
    ("Open_vSwitch", &["cur_cfg", "next_cfg", "ovs_version", "datapath_types", "iface_types"]),
    ("Bridge", &["name", "ports", "datapath_type", "external_ids"]),
    ("Port", &["name", "tag", "trunks", "vlan_mode", "interfaces", "external_ids"]),
    ("Interface", &["name", "ofport", "error", "link_state"]),
];

/// `<table-updates>` of RFC 7047 §4.1.6.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Tables {
    #[serde(rename = "Open_vSwitch")]
    pub(super) root: Rows<Root>,
    #[serde(rename = "Bridge")]
    pub(super) bridges: Rows<Bridge>,
    #[serde(rename = "Port")]
    pub(super) ports: Rows<Port>,
    #[serde(rename = "Interface")]
    pub(super) interfaces: Rows<Interface>,
}

pub(super) type Rows<T> = HashMap<Uuid, Change<T>>;

/// The whole row as it is now; `None` when it is deleted.
#[derive(Deserialize)]
pub(super) struct Change<T> {
    pub(super) new: Option<T>,
}

/// The one row of table Open_vSwitch.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Root {
    pub(super) cur_cfg: i64,
    pub(super) next_cfg: i64,
    pub(super) ovs_version: Set<String>,
    pub(super) datapath_types: Set<String>,
    pub(super) iface_types: Set<String>,
}

#[derive(Debug, Deserialize)]
#[serde(from = "WireBridge")]
pub(super) struct Bridge {
    pub(super) name: Box<str>,
    pub(super) ports: Vec<Uuid>,
    pub(super) datapath_type: Box<str>,
    pub(super) is_ours: bool,
}

#[derive(Deserialize)]
struct WireBridge {
    name: Box<str>,
    ports: Set<Uuid>,
    datapath_type: Box<str>,
    external_ids: StringMap,
}

impl From<WireBridge> for Bridge {
    fn from(wire: WireBridge) -> Self {
        let is_ours = mark::is_our_bridge(&wire.external_ids);
        Self { name: wire.name, ports: wire.ports.0, datapath_type: wire.datapath_type, is_ours }
    }
}

#[derive(Debug, Deserialize)]
#[serde(from = "WirePort")]
pub(super) struct Port {
    pub(super) name: Box<str>,
    /// `None`: a mode that we do not set.
    pub(super) vlan: Option<Vlan>,
    pub(super) interfaces: Box<[Uuid]>,
    pub(super) id: Option<Uuid>,
    pub(super) purpose: Option<Purpose>,
    /// Marks of a port that is not ours.
    pub(super) foreign: Box<str>,
}

#[derive(Deserialize)]
struct WirePort {
    name: Box<str>,
    tag: Set<i64>,
    trunks: Set<i64>,
    vlan_mode: Set<String>,
    interfaces: Set<Uuid>,
    external_ids: StringMap,
}

impl From<WirePort> for Port {
    fn from(wire: WirePort) -> Self {
        let id = mark::id_of(&wire.external_ids);
        let foreign = if id.is_some() { Box::default() } else { mark::foreign(&wire.external_ids) };
        Self {
            name: wire.name,
            vlan: vlan(wire.tag.into_first(), &wire.trunks.0, wire.vlan_mode.into_first().as_deref()),
            interfaces: wire.interfaces.0.into(),
            id,
            purpose: mark::purpose_of(&wire.external_ids),
            foreign,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(from = "WireInterface")]
pub(super) struct Interface {
    pub(super) name: Box<str>,
    /// -1: ovs-vswitchd cannot use it. `None`: it has not tried.
    pub(super) ofport: Option<i64>,
    pub(super) error: Option<Box<str>>,
    pub(super) is_up: bool,
}

#[derive(Deserialize)]
struct WireInterface {
    name: Box<str>,
    ofport: Set<i64>,
    error: Set<String>,
    link_state: Set<String>,
}

impl From<WireInterface> for Interface {
    fn from(wire: WireInterface) -> Self {
        Self {
            name: wire.name,
            ofport: wire.ofport.into_first(),
            error: wire.error.into_first().filter(|error| !error.is_empty()).map(Into::into),
            is_up: wire.link_state.into_first().is_some_and(|state| state == "up"),
        }
    }
}

/// What the columns of a port mean; without a mode a tag makes an access port, and its absence a trunk.
fn vlan(tag: Option<i64>, trunks: &[i64], mode: Option<&str>) -> Option<Vlan> {
    let id = |number: i64| VlanId::try_from(u32::try_from(number).ok()?).ok();
    match (mode, tag) {
        (None | Some("access"), Some(tag)) => id(tag).map(Vlan::Access),
        (None | Some("trunk"), None) if trunks.is_empty() => Some(Vlan::Every),
        (None | Some("trunk"), None) => {
            trunks.iter().map(|number| id(*number)).collect::<Option<_>>().map(Vlan::Trunk)
        }
        _ => None,
    }
}

/// The columns that make a port carry these VLANs: `tag=42 vlan_mode=access`. All three, so that they replace others.
pub(super) fn vlan_columns(vlan: &Vlan) -> Row {
    let number = |id: &VlanId| i64::from(id.get());
    let none = || Value::Set(Vec::new());
    let (tag, trunks, mode) = match vlan {
        Vlan::Access(id) => (number(id).into(), none(), "access".into()),
        Vlan::Trunk(ids) => (none(), Value::set(ids.iter().map(number)), "trunk".into()),
        Vlan::Every => (none(), none(), none()),
    };
    crate::ovsdb::value::row([("tag", tag), ("trunks", trunks), ("vlan_mode", mode)])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn port(columns: &serde_json::Value) -> Port {
        serde_json::from_value(columns.clone()).unwrap()
    }

    #[test]
    fn what_we_write_is_what_we_read() {
        let vlans = |ids: &[u32]| ids.iter().map(|id| VlanId::try_from(*id).unwrap()).collect();
        let access = Vlan::Access(VlanId::try_from(42).unwrap());
        for vlan in [access, Vlan::Trunk(vlans(&[7])), Vlan::Trunk(vlans(&[7, 4094])), Vlan::Every] {
            let mut columns = serde_json::to_value(vlan_columns(&vlan)).unwrap();
            columns["name"] = json!("p");
            columns["interfaces"] = json!(["uuid", Uuid::nil()]);
            columns["external_ids"] = serde_json::to_value(mark::port(Uuid::max(), Purpose::Uplink)).unwrap();

            let port = port(&columns);

            assert_eq!(port.vlan, Some(vlan));
            assert_eq!((port.id, port.purpose), (Some(Uuid::max()), Some(Purpose::Uplink)));
        }
    }

    #[test]
    fn vlans_that_nobody_can_use_and_other_modes_are_none_of_ours() {
        for (tag, mode) in [(0, "access"), (4095, "access"), (5, "native-untagged"), (5, "dot1q-tunnel")] {
            assert_eq!(vlan(Some(tag), &[], Some(mode)), None);
        }
        assert_eq!(vlan(None, &[0], Some("trunk")), None);
    }
}
