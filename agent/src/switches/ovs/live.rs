//! A live copy of the rows that we need, kept by a monitor.
//!
//! Updates carry whole rows, so the copy cannot drift: each update replaces what it names, and a new connection replaces
//! everything. An update comes before the answer to the transaction that caused it (RFC 7047 §4.1.6), so who has the
//! answer reads its own change here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;
use tokio::sync::watch;
use uuid::Uuid;

use super::rows::{Bridge, Change, Interface, Port, Root, Rows, Tables};
use super::{OvsBridge, OvsPort, SwitchError};
use crate::ovsdb::Watcher;

/// The rows, and a bell that rings when they change.
#[derive(Debug)]
pub(super) struct LiveCopy {
    live: Mutex<Live>,
    changes: watch::Sender<u64>,
}

/// Rows as of the last update.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// The connection stands and the rows are complete.
    pub(super) is_synced: bool,
    /// How often the rows came anew.
    pub(super) connections: u64,
    /// Why the server does not let us watch.
    pub(super) refusal: Option<String>,
    root: Option<(Uuid, Root)>,
    bridges: HashMap<Uuid, Bridge>,
    ports: HashMap<Uuid, Port>,
    interfaces: HashMap<Uuid, Interface>,
    port_names: HashMap<Box<str>, Uuid>,
    bridge_of: HashMap<Uuid, Uuid>,
    /// `next_cfg` of the last change of each attachment's port.
    commits: HashMap<Uuid, i64>,
}

impl LiveCopy {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { live: Mutex::default(), changes: watch::Sender::new(0) })
    }

    /// The rows. The guard must not be kept: the connection waits for it.
    pub(super) fn read(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn note_commit(&self, id: Uuid, next_cfg: Option<i64>) {
        let commits = &mut self.read().commits;
        match next_cfg {
            Some(next_cfg) => commits.insert(id, next_cfg),
            None => commits.remove(&id),
        };
    }

    fn change(&self, change: impl FnOnce(&mut Live)) {
        change(&mut self.read());
        self.changes.send_modify(|count| *count += 1);
    }
}

/// The monitor's end of a live copy.
pub(super) struct Feed(pub(super) Arc<LiveCopy>);

impl Watcher for Feed {
    fn replaced(&mut self, tables: &RawValue) -> Result<(), serde_json::Error> {
        let tables: Tables = serde_json::from_str(tables.get())?;
        self.0.change(|live| {
            let commits = std::mem::take(&mut live.commits);
            let database = live.root.as_ref().map(|(id, _)| *id);
            let connections = live.connections + 1;
            *live = Live { is_synced: true, connections, ..Live::default() };
            live.apply(tables);
            // Numbers of another database mean nothing in this one.
            if live.root.as_ref().map(|(id, _)| *id) == database {
                live.commits = commits;
            }
        });
        Ok(())
    }

    fn updated(&mut self, tables: &RawValue) -> Result<(), serde_json::Error> {
        let tables: Tables = serde_json::from_str(tables.get())?;
        self.0.change(|live| live.apply(tables));
        Ok(())
    }

    fn refused(&mut self, error: &str) {
        self.0.change(|live| live.refusal = Some(error.to_owned()));
    }

    fn lost(&mut self, _cause: &str) {
        self.0.change(|live| live.is_synced = false);
    }
}

impl Live {
    fn apply(&mut self, tables: Tables) {
        for (id, Change { new }) in tables.root {
            self.root = new.map(|root| (id, root));
        }
        self.apply_bridges(tables.bridges);
        self.apply_ports(tables.ports);
        for (id, Change { new }) in tables.interfaces {
            match new {
                Some(interface) => self.interfaces.insert(id, interface),
                None => self.interfaces.remove(&id),
            };
        }
    }

    fn apply_bridges(&mut self, rows: Rows<Bridge>) {
        // First what leaves, then what comes: a port may move from one bridge to another in one update.
        for id in rows.keys() {
            for port in self.bridges.remove(id).map(|bridge| bridge.ports).unwrap_or_default() {
                self.bridge_of.remove(&port);
            }
        }
        for (id, bridge) in rows.into_iter().filter_map(|(id, row)| Some((id, row.new?))) {
            self.bridge_of.extend(bridge.ports.iter().map(|port| (*port, id)));
            self.bridges.insert(id, bridge);
        }
    }

    fn apply_ports(&mut self, rows: Rows<Port>) {
        // Likewise: a name may go from one row to another in one update.
        for id in rows.keys() {
            if let Some(port) = self.ports.remove(id) {
                self.port_names.remove(&port.name);
            }
        }
        for (id, port) in rows.into_iter().filter_map(|(id, row)| Some((id, row.new?))) {
            self.port_names.insert(port.name.clone(), id);
            self.ports.insert(id, port);
        }
    }

    /// The one row of table Open_vSwitch.
    ///
    /// # Errors
    /// [`SwitchError::Refused`] if nobody made it.
    pub(super) fn root(&self) -> Result<&Root, SwitchError> {
        self.root.as_ref().map(|(_, root)| root).ok_or_else(|| SwitchError::Refused {
            what: "look into the Open_vSwitch database".to_owned(),
            details: "it is empty; start openvswitch, or run `ovs-vsctl --no-wait init`".to_owned(),
        })
    }

    pub(super) fn bridge(&self, name: &str) -> Option<(Uuid, &Bridge)> {
        self.bridges.iter().find(|(_, bridge)| &*bridge.name == name).map(|(id, bridge)| (*id, bridge))
    }

    pub(super) fn bridges(&self) -> impl Iterator<Item = &Bridge> {
        self.bridges.values()
    }

    pub(super) fn port(&self, name: &str) -> Option<(Uuid, &Port)> {
        let id = *self.port_names.get(name)?;
        Some((id, self.ports.get(&id)?))
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = (Uuid, &Port)> {
        self.ports.iter().map(|(id, port)| (*id, port))
    }

    pub(super) fn port_name(&self, id: Uuid) -> Option<&str> {
        self.ports.get(&id).map(|port| &*port.name)
    }

    pub(super) fn bridge_of(&self, port: Uuid) -> Option<(Uuid, &Bridge)> {
        let id = *self.bridge_of.get(&port)?;
        Some((id, self.bridges.get(&id)?))
    }

    /// Whether an interface of that name exists, whatever port it is in. Looks at each.
    pub(super) fn has_interface(&self, name: &str) -> bool {
        self.interfaces.values().any(|interface| &*interface.name == name)
    }

    /// The interface of a port that has one.
    pub(super) fn interface(&self, port: &Port) -> Option<&Interface> {
        self.interfaces.get(port.interfaces.first()?)
    }

    /// The `next_cfg` that stands for the attachment's port: its last change, or all that is known to be asked. A database
    /// that was put back from a copy counts on from before that change.
    pub(super) fn commit_of(&self, id: Uuid) -> i64 {
        let asked = self.root.as_ref().map_or(0, |(_, root)| root.next_cfg);
        self.commits.get(&id).map_or(asked, |&commit| commit.min(asked))
    }

    /// Whether ovs-vswitchd has acted on everything up to this `next_cfg`.
    pub(super) fn has_done(&self, next_cfg: i64) -> bool {
        self.root.as_ref().is_some_and(|(_, root)| root.cur_cfg >= next_cfg)
    }

    /// A bridge as others see it.
    pub(super) fn show_bridge(&self, bridge: &Bridge) -> OvsBridge {
        OvsBridge {
            name: bridge.name.to_string(),
            ports: bridge.ports.iter().filter_map(|id| self.port_name(*id)).map(str::to_owned).collect(),
            datapath_type: bridge.datapath_type.to_string(),
            is_ours: bridge.is_ours,
        }
    }

    /// A port as others see it.
    pub(super) fn show_port(&self, row: Uuid, port: &Port) -> OvsPort {
        let interface = self.interface(port);
        OvsPort {
            name: port.name.to_string(),
            bridge: self.bridge_of(row).map(|(_, bridge)| bridge.name.to_string()),
            vlan: port.vlan.clone(),
            id: port.id,
            purpose: port.purpose,
            ofport: interface.and_then(|interface| interface.ofport),
            error: interface.and_then(|interface| interface.error.as_deref()).map(str::to_owned),
            is_up: interface.is_some_and(|interface| interface.is_up),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;

    /// Rows of the server: bridge to its ports, and port to its name.
    type Model = (BTreeMap<u8, Vec<u8>>, BTreeMap<u8, u8>);

    fn row_id(kind: u128, number: u8) -> Uuid {
        Uuid::from_u128(kind << 64 | u128::from(number))
    }

    fn bridge_row(number: u8, ports: &[u8]) -> Json {
        let ports: Vec<Json> = ports.iter().map(|port| json!(["uuid", row_id(2, *port)])).collect();
        json!({"name": format!("br{number}"), "ports": ["set", ports], "datapath_type": "", "external_ids": ["map", []]})
    }

    fn port_row(name: u8) -> Json {
        let none = json!(["set", []]);
        json!({"name": format!("p{name}"), "tag": 5, "trunks": none, "vlan_mode": none, "interfaces": none,
            "external_ids": ["map", []]})
    }

    /// What the server would say of the way from one state to the next.
    fn update(before: &Model, after: &Model) -> Tables {
        fn changed<T: PartialEq>(
            kind: u128,
            before: &BTreeMap<u8, T>,
            after: &BTreeMap<u8, T>,
            row: impl Fn(u8, &T) -> Json,
        ) -> Json {
            let gone = before.iter().filter(|(number, _)| !after.contains_key(number));
            let gone = gone.map(|(number, old)| (*number, json!({"old": row(*number, old)})));
            let new = after.iter().filter(|(number, value)| before.get(number) != Some(value));
            let new = new.map(|(number, value)| (*number, json!({"new": row(*number, value)})));
            gone.chain(new)
                .map(|(number, row)| (row_id(kind, number).to_string(), row))
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        let bridges = changed(1, &before.0, &after.0, |number, ports| bridge_row(number, ports));
        let ports = changed(2, &before.1, &after.1, |_, name| port_row(*name));
        serde_json::from_value(json!({"Bridge": bridges, "Port": ports})).unwrap()
    }

    /// States in which names are unique and a port is in one bridge, as in any real database.
    fn any_model() -> impl Strategy<Value = Model> {
        let places = prop::collection::btree_map(0_u8..8, (0_u8..8, 0_u8..3), 0..8);
        places.prop_map(|places| {
            let mut model = Model::default();
            for (port, (name, bridge)) in places {
                if !model.1.values().any(|taken| *taken == name) {
                    model.1.insert(port, name);
                    model.0.entry(bridge).or_default().push(port);
                }
            }
            model
        })
    }

    #[test]
    fn a_database_that_counts_on_from_an_earlier_copy_is_not_waited_for() {
        let copy = LiveCopy::new();
        let root = |next_cfg: i64| {
            let row = json!({"cur_cfg": next_cfg, "next_cfg": next_cfg, "ovs_version": "", "datapath_types": "",
                "iface_types": ""});
            let tables = json!({"Open_vSwitch": {row_id(0, 0).to_string(): {"new": row}}});
            serde_json::value::to_raw_value(&tables).unwrap()
        };
        let mut feed = Feed(Arc::clone(&copy));
        feed.replaced(&root(7)).unwrap();
        copy.note_commit(Uuid::max(), Some(7));

        feed.replaced(&root(3)).unwrap();

        let live = copy.read();
        assert!(live.has_done(live.commit_of(Uuid::max())));
    }

    proptest! {
        #[test]
        fn the_copy_never_drifts_from_the_server(states in prop::collection::vec(any_model(), 1..8)) {
            let (mut live, mut before) = (Live::default(), Model::default());
            for state in states {
                live.apply(update(&before, &state));

                prop_assert_eq!(live.ports().count(), state.1.len());
                prop_assert_eq!(live.bridges().count(), state.0.len());
                for (bridge, ports) in &state.0 {
                    for port in ports {
                        let (row, found) = live.port(&format!("p{}", state.1[port])).unwrap();
                        prop_assert_eq!(row, row_id(2, *port));
                        prop_assert_eq!(live.show_port(row, found).bridge, Some(format!("br{bridge}")));
                    }
                }
                let gone = (0..8).filter(|name| !state.1.values().any(|taken| taken == name));
                for name in gone {
                    let name = format!("p{name}");
                    prop_assert!(live.port(&name).is_none());
                }
                before = state;
            }
            prop_assert_eq!(live.bridge_of.len(), before.1.len());
        }
    }
}
