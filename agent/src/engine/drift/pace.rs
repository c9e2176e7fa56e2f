//! When an attachment is looked at and repaired: soon after something was changed, seldom where something is changed all the
//! time, and more and more seldom where somebody undoes every repair.

use std::time::{Duration, Instant};

/// From an event to the look: what belongs together comes together.
const SETTLE: Duration = Duration::from_millis(200);
/// The shortest and the longest rest of an attachment at which events lead to nothing.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);
/// After the first repair, and at most.
const FIRST_HOLD: Duration = Duration::from_secs(1);
const LONGEST_HOLD: Duration = Duration::from_secs(60);
/// A repair that held for so long was no part of a quarrel.
const HELD: Duration = Duration::from_secs(60);
/// Repairs in a row from which on an attachment is said to be flapping.
const FLAPPING: u32 = 3;
/// How long a look waits while others attach or detach; one that nothing but the making of the attachment called for waits longer.
const GIVES_WAY: Duration = Duration::from_millis(500);
const GIVES_WAY_LONG: Duration = Duration::from_secs(5);
/// Events of what the agent itself made are heard until then.
const ECHO: Duration = Duration::from_millis(400);

/// The pace of one attachment.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    due: Option<Instant>,
    /// Nothing but what the agent itself made calls for the look that is due.
    is_echo: bool,
    made: Option<Instant>,
    is_looked_at: bool,
    looked: Option<Instant>,
    rest: Duration,
    /// Repairs in a row, with the last one.
    repairs: u32,
    repaired: Option<Instant>,
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// All is as it was made.
    AsMade,
    /// Something was repaired, or could not be although it was tried.
    Tried,
    /// Something differs, and stays so for now.
    Differs,
}

impl Pace {
    /// The agent made it, and has read it back.
    pub(super) fn made(&mut self, now: Instant) {
        self.made = Some(now);
        self.stir(now);
    }

    /// Something was changed where it is.
    pub(super) fn stir(&mut self, now: Instant) {
        let may_be_echo = self.made.is_some_and(|made| now.saturating_duration_since(made) < ECHO);
        self.is_echo = may_be_echo && (self.is_echo || self.due.is_none());
        let since = self.looked.map(|looked| now.saturating_duration_since(looked));
        if since.is_some_and(|since| since > self.rest * 2) {
            self.rest = Duration::ZERO;
        }
        let rested = self.looked.map_or(now, |looked| looked + self.rest);
        let due = rested.max(now + SETTLE);
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// When it is to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_looked_at)
    }

    /// Whether it can wait: what it shows was read back when it was made.
    pub(super) fn is_echo(&self) -> bool {
        self.is_echo
    }

    /// Whether its time has come; then somebody looks. While others attach it waits a little.
    pub(super) fn begin(&mut self, now: Instant, is_busy: bool) -> bool {
        let grace = match (is_busy, self.is_echo) {
            (false, _) => Duration::ZERO,
            (true, false) => GIVES_WAY,
            (true, true) => GIVES_WAY_LONG,
        };
        let is_due = self.due().is_some_and(|due| due + grace <= now);
        if is_due {
            (self.due, self.is_looked_at) = (None, true);
        }
        is_due
    }

    /// Somebody has looked.
    pub(super) fn end(&mut self, now: Instant, looked: Looked) {
        self.is_looked_at = false;
        self.looked = Some(now);
        self.rest = (self.rest * 2).clamp(SHORTEST, LONGEST);
        match looked {
            Looked::AsMade => {}
            Looked::Tried => {
                self.repairs = if self.is_quarrel(now) { self.repairs.saturating_add(1) } else { 1 };
                self.repaired = Some(now);
                // Whether it held, or can be done now.
                let again = now + self.hold();
                self.due = Some(self.due.map_or(again, |before| before.min(again)));
            }
            // What is not repaired now is tried again, by and by.
            Looked::Differs => {
                let again = self.holds_until().filter(|until| *until > now).unwrap_or(now + LONGEST);
                self.due = Some(self.due.map_or(again, |before| before.min(again)));
            }
        }
    }

    fn is_quarrel(&self, now: Instant) -> bool {
        self.holds_until().is_some_and(|until| now < until + HELD)
    }

    fn hold(&self) -> Duration {
        let doubled = FIRST_HOLD.saturating_mul(1 << self.repairs.saturating_sub(1).min(16));
        doubled.min(LONGEST_HOLD)
    }

    fn holds_until(&self) -> Option<Instant> {
        self.repaired.map(|repaired| repaired + self.hold())
    }

    /// How long repairs are left alone from now on, because somebody undid the last ones; `None` when one may be tried.
    pub(super) fn held(&self, now: Instant) -> Option<Duration> {
        let left = self.holds_until()?.checked_duration_since(now)?;
        Some(left).filter(|left| !left.is_zero())
    }

    /// Whether somebody undoes repairs again and again.
    pub(super) fn is_flapping(&self) -> bool {
        self.repairs >= FLAPPING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn the_first_change_after_a_rest_is_looked_at_within_a_second() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        pace.stir(start);

        assert!(!pace.begin(start, false) && pace.begin(start + SETTLE, false));
        pace.end(start + SETTLE, Looked::AsMade);

        let later = start + Duration::from_secs(3600);
        pace.stir(later);
        assert_eq!(pace.due(), Some(later + SETTLE));
    }

    #[test]
    fn a_guest_that_is_never_quiet_is_looked_at_seldom() {
        let (start, mut pace, mut looks) = (Instant::now(), Pace::default(), 0);
        for tick in 0..6000 {
            let now = start + ms(tick * 100);
            pace.stir(now);
            if pace.begin(now, false) {
                looks += 1;
                pace.end(now, Looked::AsMade);
            }
        }

        // Ten minutes of events.
        assert!((60..75).contains(&looks), "{looks}");
    }

    #[test]
    fn who_undoes_every_repair_is_answered_less_and_less_often() {
        let (start, mut pace, mut repairs) = (Instant::now(), Pace::default(), Vec::new());
        for tick in 0..36_000 {
            let now = start + ms(tick * 100);
            pace.stir(now);
            if pace.begin(now, false) {
                let looked = match pace.held(now) {
                    None => {
                        repairs.push(now - start);
                        Looked::Tried
                    }
                    Some(_) => Looked::Differs,
                };
                pace.end(now, looked);
            }
        }

        // An hour.
        assert!((60..80).contains(&repairs.len()) && pace.is_flapping(), "{repairs:?}");
    }

    #[test]
    fn a_repair_that_held_is_no_quarrel() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        for hour in 0..5 {
            let now = start + Duration::from_secs(hour * 3600);
            pace.stir(now);
            assert!(pace.begin(now + SETTLE, false) && pace.held(now).is_none());
            pace.end(now, Looked::Tried);
        }

        assert!(!pace.is_flapping());
    }

    #[test]
    fn what_cannot_be_repaired_is_tried_again_without_an_event() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        pace.stir(start);
        assert!(pace.begin(start + SETTLE, false));

        pace.end(start + SETTLE, Looked::Differs);

        assert_eq!(pace.due(), Some(start + SETTLE + LONGEST));
    }

    #[test]
    fn what_follows_the_making_can_wait_and_a_later_change_cannot() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        pace.made(start);
        pace.stir(start + ms(150));
        assert!(pace.is_echo() && !pace.begin(start + SETTLE + GIVES_WAY, true));

        pace.stir(start + ECHO);

        assert!(!pace.is_echo() && pace.begin(start + SETTLE + GIVES_WAY, true));
    }

    #[test]
    fn a_look_gives_way_to_attaches_for_a_while() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        pace.stir(start);

        assert!(!pace.begin(start + SETTLE, true) && pace.begin(start + SETTLE + GIVES_WAY, true));
    }
}
