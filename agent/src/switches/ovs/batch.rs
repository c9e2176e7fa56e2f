//! Changes put together into one transaction.

use uuid::Uuid;

use super::change::Membership;
use crate::ovsdb::ops::{Mutation, Mutator, equal, mutate, select};
use crate::ovsdb::{Atom, Operation, Reply, Value};

/// Operations of several changes. One `next_cfg` is for all of them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    operations: Vec<Operation>,
    /// Which change each operation is of.
    owners: Vec<usize>,
    memberships: Vec<(Uuid, Mutator, Vec<Atom>)>,
}

impl Batch {
    /// Adds the operations of the change with this number.
    pub(super) fn add(&mut self, number: usize, operations: Vec<Operation>, membership: Option<Membership>) {
        self.owners.extend(operations.iter().map(|_| number));
        self.operations.extend(operations);
        if let Some(Membership { bridge, mutator, port }) = membership {
            let same = |known: &&mut (Uuid, Mutator, Vec<Atom>)| known.0 == bridge && known.1 == mutator;
            match self.memberships.iter_mut().find(same) {
                Some((_, _, ports)) => ports.push(port),
                None => self.memberships.push((bridge, mutator, vec![port])),
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The change that an operation is of; `None` for operations of all.
    pub(super) fn owner_of(&self, operation: usize) -> Option<usize> {
        self.owners.get(operation).copied()
    }

    /// The whole transaction.
    pub(super) fn operations(&self) -> Vec<Operation> {
        let mut operations = self.operations.clone();
        for (bridge, mutator, ports) in &self.memberships {
            let ports = Mutation::new("ports", *mutator, Value::Set(ports.clone()));
            operations.push(mutate("Bridge", equal("_uuid", *bridge), ports));
        }
        operations.push(mutate("Open_vSwitch", vec![], Mutation::new("next_cfg", Mutator::Add, 1)));
        operations.push(select("Open_vSwitch", vec![], ["next_cfg"]));
        operations
    }
}

/// The `next_cfg` in the replies to a batch.
pub(super) fn next_cfg(replies: &[Reply]) -> Option<i64> {
    match replies.last()?.rows.first()?.get("next_cfg")? {
        Value::Atom(Atom::Integer(number)) => Some(*number),
        Value::Atom(_) | Value::Set(_) | Value::Map(_) => None,
    }
}
