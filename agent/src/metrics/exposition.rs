//! The page that Prometheus reads, in the text format of OpenMetrics.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pipewright_api::attachment::State;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{Meters, StepTimes};

/// What is looked at when somebody asks.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// How many attachments are in which state.
    pub attachments: Vec<State>,
    /// How many of them differ from what was made.
    pub drifted: usize,
    /// Whether Open vSwitch's database is reached, and its rows known.
    pub is_ovsdb_connected: bool,
    /// How often it was reached again after a loss, since the agent started.
    pub ovsdb_reconnects: u64,
    /// Runtimes with an API, and whether they answer.
    pub runtimes: Vec<(&'static str, bool)>,
}

/// Everything that is measured, under its public names.
#[derive(Debug)]
pub struct Exposition {
    registry: Registry,
    gauges: Mutex<Gauges>,
}

#[derive(Debug, Default)]
struct Gauges {
    attachments: Family<States, Gauge>,
    drifted: Gauge,
    ovsdb_connected: Gauge,
    ovsdb_reconnects: Counter,
    runtimes: Family<Runtimes, Gauge>,
    memory: Gauge,
    threads: Gauge,
    files: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct States {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Runtimes {
    runtime: &'static str,
}

/// A gauge that is 0 is shown, too: an alert on it must not depend on whether it ever was above.
const STATES: [State; 5] =
    [State::Attaching, State::Attached, State::Detaching, State::Incomplete, State::Waiting];

impl Exposition {
    /// Gives what is measured its names.
    pub fn new(meters: &Meters, steps: &StepTimes) -> Self {
        let mut all = Registry::default();
        let gauges = Gauges::default();
        all.register_with_unit(
            "pipewright_attach_duration",
            "Time from the guest's look-up to the answer on the disk, without waiting for a turn",
            Unit::Seconds,
            meters.attach.clone(),
        );
        all.register_with_unit(
            "pipewright_detach_duration",
            "Time to take one attachment out, whoever wanted that",
            Unit::Seconds,
            meters.detach.clone(),
        );
        all.register_with_unit(
            "pipewright_step_duration",
            "Time of one step; steps that go to the kernel together share theirs equally",
            Unit::Seconds,
            steps.0.clone(),
        );
        all.register("pipewright_refusals", "Attaches and detaches that failed", meters.refusals.clone());
        all.register(
            "pipewright_attachments_lost",
            "Attachments that were gone with their guest",
            meters.lost.clone(),
        );
        all.register(
            "pipewright_lease_exchanges",
            "Exchanges with DHCP servers over leases that are kept",
            meters.leases.clone(),
        );
        all.register(
            "pipewright_follow",
            "Attachments that follow their guests: what became of them when those stopped, started or went",
            meters.follows.clone(),
        );
        all.register("pipewright_drifts", "What somebody else changed of attachments", meters.drifts.clone());
        all.register("pipewright_repairs", "Repairs of what was changed", meters.repairs.clone());
        all.register(
            "pipewright_orphans_removed",
            "What had our mark, belonged to no record, and was removed",
            meters.orphans.clone(),
        );
        all.register(
            "pipewright_attachments_drifted",
            "Attachments that differ from what was made",
            gauges.drifted.clone(),
        );
        all.register(
            "pipewright_labels",
            "What became of labels and variables of containers that ask for attachments",
            meters.labels.clone(),
        );
        all.register("pipewright_attachments", "Attachments by state", gauges.attachments.clone());
        all.register(
            "pipewright_ovsdb_connected",
            "1 while Open vSwitch's database is reached and its rows are known",
            gauges.ovsdb_connected.clone(),
        );
        all.register(
            "pipewright_ovsdb_reconnects",
            "How often Open vSwitch's database was reached again after a loss",
            gauges.ovsdb_reconnects.clone(),
        );
        all.register("pipewright_runtime_up", "1 while a runtime's API answers", gauges.runtimes.clone());
        all.register("pipewright_build", "The agent", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let start = Gauge::<i64>::default();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        start.set(since.as_secs().try_into().unwrap_or(i64::MAX));
        all.register_with_unit("process_start_time", "When the agent started", Unit::Seconds, start);
        all.register_with_unit(
            "process_resident_memory",
            "Memory in use",
            Unit::Bytes,
            gauges.memory.clone(),
        );
        all.register("process_threads", "Threads", gauges.threads.clone());
        all.register("process_open_fds", "Open file descriptors", gauges.files.clone());
        Self { registry: all, gauges: Mutex::new(gauges) }
    }

    /// The page, with what was just looked at.
    ///
    /// # Errors
    /// Never for what is registered here.
    pub fn page(&self, now: &Readings) -> Result<String, std::fmt::Error> {
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        for state in STATES {
            let count = now.attachments.iter().filter(|&&one| one == state).count();
            gauges.attachments.get_or_create(&States { state: word(state) }).set(whole(count));
        }
        gauges.drifted.set(whole(now.drifted));
        gauges.ovsdb_connected.set(now.is_ovsdb_connected.into());
        let reconnects = now.ovsdb_reconnects.saturating_sub(gauges.ovsdb_reconnects.get());
        gauges.ovsdb_reconnects.inc_by(reconnects);
        for &(runtime, is_up) in &now.runtimes {
            gauges.runtimes.get_or_create(&Runtimes { runtime }).set(is_up.into());
        }
        gauges.look_at_ourselves();
        let mut page = String::with_capacity(16 << 10);
        encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

impl Gauges {
    /// Where /proc does not say, the gauge stays as it was.
    fn look_at_ourselves(&self) {
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            let number = |key: &str| {
                let value = status.lines().find_map(|line| line.strip_prefix(key))?;
                value.split_ascii_whitespace().next()?.parse::<i64>().ok()
            };
            if let Some(kibibytes) = number("VmRSS:") {
                self.memory.set(kibibytes << 10);
            }
            if let Some(threads) = number("Threads:") {
                self.threads.set(threads);
            }
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // Without the one that lists them.
            self.files.set(whole(files.count().saturating_sub(1)));
        }
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn word(state: State) -> &'static str {
    match state {
        State::Attaching => "attaching",
        State::Attached => "attached",
        State::Detaching => "detaching",
        State::Detached => "detached",
        State::Incomplete => "incomplete",
        State::Waiting => "waiting",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pipewright_api::reason::{Failure, Reason};
    use pipewright_api::spec::Kind;

    use super::*;

    #[test]
    fn the_page_has_the_names_that_the_documentation_promises() {
        let (meters, steps) = (Meters::default(), StepTimes::default());
        let exposition = Exposition::new(&meters, &steps);
        let failure = Failure::new(Reason::OvsdbDown, "it is down");
        meters.attached(Some(Kind::Ovs), Ok(true), Duration::from_millis(3));
        meters.attached(None, Err(&failure), Duration::from_millis(3));
        meters.detached(Ok(()), Duration::from_millis(3));
        meters.lost();
        meters.drift("address");
        meters.repair("repaired");
        meters.orphan("link");

        let readings =
            Readings { attachments: vec![State::Attached; 2], ovsdb_reconnects: 3, ..Readings::default() };
        let page = exposition.page(&readings).unwrap();

        for line in [
            "pipewright_attach_duration_seconds_bucket{le=\"0.005\",kind=\"ovs\",result=\"created\"} 1",
            "pipewright_attach_duration_seconds_count{kind=\"unknown\",result=\"failed\"} 1",
            "pipewright_detach_duration_seconds_count{result=\"removed\"} 1",
            "pipewright_refusals_total{call=\"attach\",reason=\"OVSDB_DOWN\"} 1",
            "pipewright_attachments_lost_total 1",
            "pipewright_drifts_total{what=\"address\"} 1",
            "pipewright_repairs_total{outcome=\"repaired\"} 1",
            "pipewright_orphans_removed_total{what=\"link\"} 1",
            "pipewright_attachments_drifted 0",
            "pipewright_attachments{state=\"attached\"} 2",
            "pipewright_attachments{state=\"incomplete\"} 0",
            "pipewright_ovsdb_connected 0",
            "pipewright_ovsdb_reconnects_total 3",
            concat!("pipewright_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert!(page.ends_with("# EOF\n"));
        assert_eq!(exposition.page(&readings).unwrap().matches("reconnects_total 3").count(), 1);
    }
}
