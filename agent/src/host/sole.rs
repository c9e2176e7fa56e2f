//! Which of several agents is the first in a network namespace: the one whose netlink socket has a certain number. The kernel
//! gives it to one at a time, takes it back when the process ends, however it ends, and leaves no file behind.

use std::io;

use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

/// `pwag`; above every pid, which is what sockets are numbered by unless somebody asks.
const NUMBER: u32 = 0x7077_6167;

/// The socket, of which nothing is read; `None` while another agent has it.
#[derive(Debug)]
pub(super) struct Sole(Option<Socket>);

impl Sole {
    /// Asks for it in the calling thread's network namespace.
    ///
    /// # Errors
    /// What socket(2) and bind(2) say, but for EADDRINUSE.
    pub(super) fn claim() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        match socket.bind(&SocketAddr::new(NUMBER, 0)) {
            Ok(()) => Ok(Self(Some(socket))),
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => Ok(Self(None)),
            Err(error) => Err(error),
        }
    }

    /// Whether this agent is the one.
    pub(super) fn is_ours(&self) -> bool {
        self.0.is_some()
    }
}
