//! Which attachments are looked at next. However many there are, an event costs no walk over all of them.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::pace::Pace;

/// While others attach, the time of a look is seen to again after this.
const BUSY: Duration = Duration::from_millis(100);
/// Between two looks that can wait: whoever attaches a thousand links shall not have them all looked at in the next second.
const ECHOES: Duration = Duration::from_millis(50);

/// The paces of all attachments, in order of what is due.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    paces: HashMap<Uuid, Pace>,
    urgent: BTreeSet<(Instant, Uuid)>,
    /// What can wait, see [`Pace::is_echo`].
    echoes: BTreeSet<(Instant, Uuid)>,
    /// When the next of those may begin.
    next_echo: Option<Instant>,
}

impl Agenda {
    /// Changes the pace of an attachment.
    pub(super) fn change(&mut self, id: Uuid, change: impl FnOnce(&mut Pace)) {
        let mut pace = self.paces.remove(&id).unwrap_or_default();
        self.take_off(id, &pace);
        change(&mut pace);
        if let Some(due) = pace.due() {
            self.list(&pace).insert((due, id));
        }
        self.paces.insert(id, pace);
    }

    /// The pace of an attachment that is known.
    pub(super) fn get(&self, id: Uuid) -> Option<&Pace> {
        self.paces.get(&id)
    }

    /// Forgets an attachment that is gone.
    pub(super) fn forget(&mut self, id: Uuid) {
        if let Some(pace) = self.paces.remove(&id) {
            self.take_off(id, &pace);
        }
    }

    /// Begins the looks whose time has come.
    pub(super) fn begin(&mut self, now: Instant, is_busy: bool) -> Vec<Uuid> {
        let Self { paces, urgent, echoes, next_echo } = self;
        let mut first = |list: &mut BTreeSet<(Instant, Uuid)>| {
            let (_, id) = *list.first()?;
            let is_begun = paces.get_mut(&id).is_none_or(|pace| pace.begin(now, is_busy));
            if is_begun { list.pop_first().map(|(_, id)| id) } else { None }
        };
        let mut begun: Vec<Uuid> = std::iter::from_fn(|| first(urgent)).collect();
        if next_echo.is_none_or(|next| next <= now)
            && let Some(id) = first(echoes)
        {
            *next_echo = Some(now + ECHOES);
            begun.push(id);
        }
        begun
    }

    /// When the next look may begin.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let first = |list: &BTreeSet<(Instant, Uuid)>, late: Instant| {
            list.first().map(|&(due, _)| if due <= now { late } else { due })
        };
        // What is late waits for others to attach or detach, or for its turn.
        let busy = now + BUSY;
        let urgent = first(&self.urgent, busy);
        let echo = first(&self.echoes, self.next_echo.filter(|next| now < *next).unwrap_or(busy));
        urgent.into_iter().chain(echo).min()
    }

    fn list(&mut self, pace: &Pace) -> &mut BTreeSet<(Instant, Uuid)> {
        if pace.is_echo() { &mut self.echoes } else { &mut self.urgent }
    }

    fn take_off(&mut self, id: Uuid, pace: &Pace) {
        if let Some(due) = pace.due() {
            self.list(pace).remove(&(due, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::drift::pace::Looked;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn what_was_made_together_is_looked_at_one_by_one_and_a_change_at_once() {
        let (start, mut agenda) = (Instant::now(), Agenda::default());
        for number in 1..=3 {
            agenda.change(id(number), |pace| pace.made(start));
        }
        let later = start + ms(1000);

        let echo = agenda.begin(later, false);
        agenda.change(id(9), |pace| pace.stir(later));

        assert_eq!(echo, [id(1)]);
        assert_eq!((agenda.begin(later, false), agenda.next(later)), (vec![], Some(later + ECHOES)));
        assert_eq!(agenda.begin(later + ECHOES, false), [id(2)]);
        let rest = agenda.begin(later + ms(300), false);
        assert_eq!(rest, [id(9), id(3)]);
        assert_eq!(agenda.next(later + ms(300)), None);
    }

    #[test]
    fn nobody_looks_at_what_is_gone() {
        let (start, mut agenda) = (Instant::now(), Agenda::default());
        agenda.change(id(1), |pace| pace.made(start));
        agenda.change(id(2), |pace| pace.stir(start));

        agenda.forget(id(1));
        agenda.forget(id(2));

        assert_eq!((agenda.begin(start + ms(5000), false), agenda.next(start)), (vec![], None));
        assert!(agenda.get(id(1)).is_none());
    }

    #[test]
    fn a_look_that_is_going_on_is_not_begun_again() {
        let (start, mut agenda) = (Instant::now(), Agenda::default());
        let at = |count| start + ms(count);
        agenda.change(id(1), |pace| pace.stir(start));
        assert_eq!(agenda.begin(at(500), false), [id(1)]);

        agenda.change(id(1), |pace| pace.stir(at(500)));
        let meanwhile = agenda.begin(at(5000), false);
        agenda.change(id(1), |pace| pace.end(at(5000), Looked::AsMade));

        assert!(meanwhile.is_empty());
        assert_eq!(agenda.begin(at(9000), false), [id(1)]);
    }
}
