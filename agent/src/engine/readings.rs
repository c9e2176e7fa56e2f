//! What is looked at when somebody reads the metrics.

use std::time::Duration;

use super::Engine;
use crate::guests::Docker;
use crate::host::Host;
use crate::metrics::{Meters, Readings, StepTimes};

/// How long a runtime may take to answer before it counts as away.
const ANSWER: Duration = Duration::from_secs(2);

impl<H: Host> Engine<H> {
    /// What it measures.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// How long its steps take.
    pub(crate) fn step_times(&self) -> &StepTimes {
        self.kernel.step_times()
    }

    /// What can be counted now.
    pub(crate) async fn readings(&self) -> Readings {
        let (docker, podman) = tokio::join!(is_up(self.guests.docker()), is_up(self.guests.podman()));
        let ovs = self.ovs.facts();
        let (records, _) = self.shelf.attachments();
        Readings {
            attachments: records.iter().map(|record| record.attachment.state).collect(),
            drifted: records.iter().filter(|record| !record.attachment.drift.is_empty()).count(),
            is_ovsdb_connected: ovs.is_connected,
            ovsdb_reconnects: ovs.connections.saturating_sub(1),
            runtimes: vec![("docker", docker), ("podman", podman)],
        }
    }
}

async fn is_up(server: &Docker) -> bool {
    matches!(tokio::time::timeout(ANSWER, server.version()).await, Ok(Ok(_)))
}
