//! What the clients of both protocols have in common, for who carries their messages.

use super::Moment;

/// What a client wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<Message, To, Lease> {
    /// Send this.
    Send {
        /// The message.
        message: Message,
        /// To whom.
        to: To,
    },
    /// The address is ours, newly or for longer.
    Bound(Lease),
    /// The server takes the address back; it says why, or nothing.
    Refused(Option<String>),
    /// The lease ran out.
    Ended,
    /// A message of a server was not heeded.
    Ignored(&'static str),
}

/// What a [`Machine`] wants done.
pub type Actions<M> = Vec<Action<<M as Machine>::Message, <M as Machine>::To, <M as Machine>::Lease>>;

/// A client of one link: messages and the time go in, actions come out.
pub trait Machine {
    /// What it hears and says.
    type Message;
    /// Whom it says it to.
    type To;
    /// Whom it hears it from.
    type From;
    /// What it gets.
    type Lease;

    /// When the next call of [`Machine::tick`] is due; `None`: never.
    fn due(&self) -> Option<Moment>;

    /// What the client may use now.
    fn lease(&self) -> Option<&Self::Lease>;

    /// Whether there is nothing to send or to hear before the lease's next time.
    fn is_at_rest(&self) -> bool;

    /// When that is over; `None`: never, or there is nothing.
    fn ends_at(&self) -> Option<Moment>;

    /// It is over: looks for another one.
    fn end(&mut self, now: Moment);

    /// What was waited for did not come.
    fn go_on(&mut self, now: Moment) -> Actions<Self>;

    /// Time has passed.
    fn tick(&mut self, now: Moment) -> Actions<Self> {
        if self.due().is_none_or(|due| now < due) {
            return Vec::new();
        }
        if self.ends_at().is_some_and(|end| now >= end) {
            self.end(now);
            return vec![Action::Ended];
        }
        self.go_on(now)
    }

    /// A message came.
    fn hear(&mut self, message: &Self::Message, from: Self::From, now: Moment) -> Actions<Self>;

    /// Somebody else uses the address that was just bound: tells its server, and looks for another one.
    fn decline(&mut self, now: Moment) -> Actions<Self>;
}
