//! What is measured, a file a row. Each makes its own hosts, so that any of them can be run alone.

use anyhow::Result;

use crate::table::Line;

mod attach;
mod cold;
mod dhcp;
mod docker;
mod flight;
mod grpc;
mod load;
mod macvlan;
pub(crate) mod memory;
mod ovs;
mod ovs_many;
mod restart;
mod thousand;
mod wait;

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Quick,
    Full,
}

impl Length {
    pub(crate) fn rounds(self, quick: usize, full: usize) -> usize {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// A row: its name, and what measures it.
pub(crate) type Row = (&'static str, fn(Length) -> Result<Vec<Line>>);

/// All of them; those that leave the kernel a thousand links to delete come last.
pub(crate) const ROWS: [Row; 14] = [
    ("memory", memory::measure),
    ("attach", attach::measure),
    ("flight", flight::measure),
    ("grpc", grpc::measure),
    ("cold", cold::measure),
    ("wait", wait::measure),
    ("docker", docker::measure),
    ("macvlan", macvlan::measure),
    ("dhcp", dhcp::measure),
    ("restart", restart::measure),
    ("ovs", ovs::measure),
    ("load", load::measure),
    ("thousand", thousand::measure),
    ("ovs-many", ovs_many::measure),
];
