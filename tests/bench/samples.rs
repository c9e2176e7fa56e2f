//! Times of one contestant, and what is said of them.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Times of one thing, in the order in which they were taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    times: Vec<Duration>,
}

impl Samples {
    /// Does it and keeps how long it took.
    pub(crate) fn time<T>(&mut self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let done = act()?;
        self.add(begun.elapsed());
        Ok(done)
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.times.push(time);
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// Nearest rank.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(rank).copied().unwrap_or_default()
    }

    /// `median (p10–p90)`, in ms.
    pub(crate) fn shown(&self) -> String {
        let ms = |percent| milliseconds(self.percentile(percent));
        format!("{} ({}–{})", ms(50), ms(10), ms(90))
    }
}

/// With as many digits as are worth reading.
pub(crate) fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        ..0.1 => format!("{ms:.3}"),
        ..10.0 => format!("{ms:.2}"),
        _ => format!("{ms:.1}"),
    }
}

pub(crate) fn ratio(ours: Duration, floor: Duration) -> f64 {
    ours.as_secs_f64() / floor.as_secs_f64()
}
