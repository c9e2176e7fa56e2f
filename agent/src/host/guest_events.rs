//! The kernel's events of one network namespace, for a thread that waits for something in it: a reason to look again.

use std::time::Instant;

use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::host::netlink::KernelError;

/// `RTMGRP_LINK`, `RTMGRP_IPV6_IFADDR` and `RTMGRP_IPV6_ROUTE` of linux/rtnetlink.h.
pub(super) const LINKS: u32 = 1;
pub(super) const IPV6_ADDRESSES: u32 = 0x100;
pub(super) const IPV6_ROUTES: u32 = 0x400;

/// Events of the network namespace that the calling thread is in when it opens them.
#[derive(Debug)]
pub(super) struct GuestEvents(Socket);

impl GuestEvents {
    /// Those from now on. To be opened before the first look, so that none falls between.
    ///
    /// # Errors
    /// What socket(2) says.
    pub(super) fn open(groups: u32) -> Result<Self, KernelError> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        socket.bind(&SocketAddr::new(0, groups))?;
        Ok(Self(socket))
    }

    /// Whether there was one until then.
    ///
    /// # Errors
    /// What poll(2) says.
    pub(super) fn wait(&self, until: Instant) -> Result<bool, KernelError> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let time = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&time)) {
                Ok(0) => return Ok(false),
                Ok(_) => return self.drain().map(|()| true),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// What the events say is looked up; that there were some is enough.
    fn drain(&self) -> Result<(), KernelError> {
        let mut start = [0; 16];
        loop {
            match self.0.recv_from(&mut &mut start[..], 0) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // Lost events are events.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
