//! What is measured, and how Prometheus reads it. Names and units are a contract: docs/operating.md lists them.
//!
//! An observation is a look-up under a shared lock and an addition: labels are static text, and nothing is allocated
//! after the first of its kind. What can be counted when somebody asks (attachments by state) is counted then.

use std::time::Duration;

use pipewright_api::reason::Failure;
use pipewright_api::spec::Kind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tonic::Code;

use crate::dhcp::given::Family as Protocol;
use crate::step::Step;

mod endpoint;
mod exposition;

pub use endpoint::{Endpoint, NoEndpoint};
pub use exposition::{Exposition, Readings};

/// Bounds of whole requests, in seconds: from a dummy to an attach that checks for duplicate addresses.
const REQUESTS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Bounds of single steps, in seconds: from one netlink request to a wait for a router.
const STEPS: [f64; 12] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.01, 0.05, 0.1, 0.5, 2.5, 10.0];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// What the engine measures; clones share it.
#[derive(Debug, Clone)]
pub struct Meters {
    attach: Histograms<Attaches>,
    detach: Histograms<Detaches>,
    refusals: Family<Refusals, Counter>,
    lost: Counter,
    leases: Family<Leases, Counter>,
    follows: Family<Outcomes, Counter>,
    drifts: Family<Drifts, Counter>,
    repairs: Family<Repairs, Counter>,
    orphans: Family<Drifts, Counter>,
    labels: Family<Outcomes, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attaches {
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Detaches {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusals {
    call: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Leases {
    protocol: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcomes {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Drifts {
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Repairs {
    outcome: &'static str,
}

impl Default for Meters {
    fn default() -> Self {
        let requests: fn() -> Histogram = || Histogram::new(REQUESTS);
        Self {
            attach: Family::new_with_constructor(requests),
            detach: Family::new_with_constructor(requests),
            refusals: Family::default(),
            lost: Counter::default(),
            leases: Family::default(),
            follows: Family::default(),
            drifts: Family::default(),
            repairs: Family::default(),
            orphans: Family::default(),
            labels: Family::default(),
        }
    }
}

impl Meters {
    /// An attach ended. `created` is false for one that found what it asked for; a `kind` that was not decided yet is unknown.
    pub(crate) fn attached(&self, kind: Option<Kind>, ended: Result<bool, &Failure>, took: Duration) {
        let result = match ended {
            Ok(true) => "created",
            Ok(false) => "found",
            Err(failure) => self.refused("attach", failure),
        };
        let labels = Attaches { kind: kind.map_or("unknown", word), result };
        self.attach.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// An attachment was taken out, whoever wanted that.
    pub(crate) fn detached(&self, ended: Result<(), &Failure>, took: Duration) {
        let result = match ended {
            Ok(()) => "removed",
            Err(failure) => self.refused("detach", failure),
        };
        self.detach.get_or_create(&Detaches { result }).observe(took.as_secs_f64());
    }

    /// A guest died with its attachment.
    pub(crate) fn lost(&self) {
        self.lost.inc();
    }

    /// What became of an attachment whose guest stopped, started or went.
    pub(crate) fn followed(&self, outcome: &'static str) {
        self.follows.get_or_create(&Outcomes { outcome }).inc();
    }

    /// What became of a label or variable that asks for an attachment.
    pub(crate) fn labelled(&self, outcome: &'static str) {
        self.labels.get_or_create(&Outcomes { outcome }).inc();
    }

    /// An exchange with servers of addresses ended.
    pub(crate) fn lease(&self, protocol: Protocol, result: &'static str) {
        self.leases.get_or_create(&Leases { protocol: protocol.name(), result }).inc();
    }

    /// Somebody changed something of an attachment.
    pub(crate) fn drift(&self, what: &'static str) {
        self.drifts.get_or_create(&Drifts { what }).inc();
    }

    /// A repair ended.
    pub(crate) fn repair(&self, outcome: &'static str) {
        self.repairs.get_or_create(&Repairs { outcome }).inc();
    }

    /// Something that belonged to no record was removed.
    pub(crate) fn orphan(&self, what: &'static str) {
        self.orphans.get_or_create(&Drifts { what }).inc();
    }

    fn refused(&self, call: &'static str, failure: &Failure) -> &'static str {
        self.refusals.get_or_create(&Refusals { call, reason: failure.reason().name() }).inc();
        if is_ours(failure) { "failed" } else { "refused" }
    }
}

/// Whether a failure is for the operator of the host, rather than a mistake of the caller.
pub(crate) fn is_ours(failure: &Failure) -> bool {
    match failure.code() {
        Code::Internal
        | Code::Unavailable
        | Code::ResourceExhausted
        | Code::Unknown
        | Code::DataLoss
        | Code::Unimplemented => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}

/// How long steps take; clones share it.
#[derive(Debug, Clone)]
pub struct StepTimes(Histograms<Steps>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Steps {
    step: &'static str,
}

impl Default for StepTimes {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(STEPS)))
    }
}

impl StepTimes {
    /// Steps were taken, or refused; of those that went to the kernel together each counts for its share of the time.
    pub(crate) fn took(&self, steps: &[Step], took: Duration) {
        let share =
            took.as_secs_f64() / u32::try_from(steps.len()).map_or(1.0, |count| f64::from(count.max(1)));
        for step in steps {
            self.0.get_or_create(&Steps { step: step.name() }).observe(share);
        }
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::LinuxBridge => "linux-bridge",
        Kind::Ovs => "ovs",
        Kind::Macvlan => "macvlan",
        Kind::Ipvlan => "ipvlan",
        Kind::Vlan => "vlan",
        Kind::Dummy => "dummy",
        Kind::Ptp => "ptp",
        Kind::Direct => "direct",
        Kind::Ipoib => "ipoib",
    }
}
