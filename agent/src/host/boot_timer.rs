//! A timer on CLOCK_BOOTTIME: it goes on while the machine sleeps, and nobody sets it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::dhcp::Moment;
use crate::host::sys;

/// One timer.
#[derive(Debug)]
pub struct BootTimer(AsyncFd<OwnedFd>);

impl BootTimer {
    /// One that waits for nothing yet. Needs a tokio runtime.
    ///
    /// # Errors
    /// What timerfd_create(2) says.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        sys::await_input(timerfd_create(TimerfdClockId::Boottime, flags)?).map(Self)
    }

    /// Returns at that moment, at once if it has passed.
    ///
    /// # Errors
    /// What timerfd_settime(2) says.
    pub async fn until(&mut self, moment: Moment) -> io::Result<()> {
        // All zeros would stop the timer.
        let nanos = i64::from(moment.subsec_nanos()).max(1);
        let seconds = i64::try_from(moment.as_secs()).unwrap_or(i64::MAX);
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let when = Itimerspec { it_interval: zero, it_value: Timespec { tv_sec: seconds, tv_nsec: nanos } };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &when)?;
        let mut count = [0; 8];
        let read = |fd: &OwnedFd| Ok(rustix::io::read(fd, &mut count)?);
        self.0.async_io(tokio::io::Interest::READABLE, read).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::host::dhcp::now;

    #[tokio::test]
    async fn a_moment_is_waited_for_and_one_that_has_passed_is_not() {
        let mut timer = BootTimer::new().unwrap();
        let begin = now();

        timer.until(begin + Duration::from_millis(30)).await.unwrap();
        let after = now();
        timer.until(Duration::ZERO).await.unwrap();
        timer.until(begin).await.unwrap();

        assert!(after >= begin + Duration::from_millis(30));
    }
}
