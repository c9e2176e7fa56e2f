//! Points in time and spans of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pbjson_types::Timestamp;

use super::At;
use crate::reason::Failure;

const NANOS: i32 = 1_000_000_000;

/// A point in time that must be there.
pub(super) fn timestamp(stamp: Option<Timestamp>, at: &At<'_>) -> Result<SystemTime, Failure> {
    let Timestamp { seconds, nanos } = at.present(stamp)?;
    let bad = || at.refuse(format_args!("{seconds} s and {nanos} ns are no point in time"));
    let nanos = u32::try_from(nanos).ok().filter(|_| nanos < NANOS).ok_or_else(bad)?;
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    second.and_then(|second| second.checked_add(Duration::from_nanos(nanos.into()))).ok_or_else(bad)
}

/// The reverse of [`timestamp`]: nanoseconds count forward, also before 1970.
pub(super) fn to_timestamp(time: SystemTime) -> Timestamp {
    let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let nanos = |span: Duration| i32::try_from(span.subsec_nanos()).unwrap_or(0);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp { seconds: whole(since), nanos: nanos(since) },
        Err(before) => {
            let before = before.duration();
            match nanos(before) {
                0 => Timestamp { seconds: -whole(before), nanos: 0 },
                nanos => Timestamp { seconds: -whole(before) - 1, nanos: NANOS - nanos },
            }
        }
    }
}

/// How long, when the caller says so.
pub(super) fn duration(
    span: Option<pbjson_types::Duration>,
    at: &At<'_>,
) -> Result<Option<Duration>, Failure> {
    let Some(pbjson_types::Duration { seconds, nanos }) = span else { return Ok(None) };
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(part)) if nanos < NANOS => Ok(Some(Duration::new(seconds, part))),
        _ => Err(at.refuse(format_args!("{seconds} s and {nanos} ns are no span of time"))),
    }
}

/// The reverse of [`duration`].
pub(super) fn to_duration(span: Duration) -> pbjson_types::Duration {
    pbjson_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_is_the_same_after_the_wire() {
        let at = At::top("created_at");
        for (seconds, nanos) in
            [(0, 0), (0, 999_999_999), (-1, 0), (-1, 1), (-62_135_596_800, 5), (253_402_300_799, 7)]
        {
            let stamp = Timestamp { seconds, nanos };

            let time = timestamp(Some(stamp), &at).unwrap();

            assert_eq!(to_timestamp(time), stamp);
        }
    }

    #[test]
    fn what_is_no_point_in_time_is_refused() {
        let at = At::top("created_at");
        for (seconds, nanos) in [(0, -1), (0, NANOS), (i64::MAX, NANOS - 1), (i64::MIN, 0)] {
            let failure = timestamp(Some(Timestamp { seconds, nanos }), &at);

            // The far ends fit some platforms' clocks; nothing may panic there.
            assert!(failure.is_err() || seconds.unsigned_abs() > 1 << 62, "{seconds} s {nanos} ns");
        }
        assert_eq!(timestamp(None, &at).unwrap_err().fact("field"), Some("created_at"));
    }
}
