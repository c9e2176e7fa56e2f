//! An attachment that was made, or is gone, and what is left to do when its caller has the answer.

use std::sync::Arc;
use std::time::Duration;

use pipewright_api::attachment::Attachment;
use tracing::Span;

use super::Engine;
use crate::engine::entered::Entered;
use crate::engine::records::Record;
use crate::engine::timetable::Errand;
use crate::host::Host;

/// An attachment that was made, or found made. Nobody else changes its guests while this lives.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) record: Arc<Record>,
    /// As its caller is shown it, if it has one.
    pub(super) shown: Option<Arc<Attachment>>,
    /// False when it was there already.
    pub(super) created: bool,
    pub(super) entered: Entered,
}

/// The same, to be finished when the caller has its answer.
#[derive(Debug)]
#[must_use = "it is to be finished"]
pub(super) struct Outcome {
    pub(super) made: Made,
    /// For whom it was made, in logs.
    pub(super) span: Span,
    pub(super) took: Duration,
}

impl Outcome {
    /// What the caller is told.
    pub(super) fn shown(&self) -> Arc<Attachment> {
        self.made.shown.clone().unwrap_or_else(|| Arc::new(self.made.record.shown()))
    }

    /// Has it kept and followed from now on. None of that is for the caller to wait for.
    pub(super) fn finish<H: Host>(self, engine: &Engine<H>) -> (Arc<Record>, bool) {
        let Self { made: Made { record, created, entered, .. }, span, took } = self;
        if created {
            for lease in &record.leases {
                engine.timetable.at((record.attachment.id, Errand::Lease(lease.family())), lease.renew_at());
            }
            engine.announce_later(&record);
            engine.drift.made(&record);
            if record.follows {
                engine.following.send_replace(());
            }
        }
        // Whoever detaches this waits until it is known everywhere, but not until it is in the log, whose reader may be slow.
        drop(entered);
        span.in_scope(|| match created {
            true => tracing::info!(?took, "attached"),
            false => tracing::debug!(?took, "attached already"),
        });
        (record, created)
    }
}

/// One that is gone, which is to be told in the log.
#[derive(Debug)]
#[must_use = "it is to be told"]
pub(super) struct Removed {
    /// For whom it was removed, in logs.
    pub(super) span: Span,
    pub(super) took: Duration,
    /// Why, where nobody asked.
    pub(super) cause: Option<&'static str>,
}

impl Removed {
    /// One line. Whoever reads it may be slow.
    pub(super) fn tell(self) {
        let Self { span, took, cause } = self;
        span.in_scope(|| tracing::info!(?took, cause, "detached"));
    }
}
