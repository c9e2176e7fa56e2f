//! DHCP for IPv4 (RFC 2131) and IPv6 (RFC 8415) without a client program: pure. Messages come in as bytes and go out as bytes; the time is a
//! parameter. [`crate::host`] has the sockets and the guests.
//!
//! | file | what |
//! |---|---|
//! | [`message`] | messages and their options (RFC 2131 §2, RFC 2132) |
//! | [`packet`] | the IPv4 and UDP headers around them |
//! | [`lease`] | what a server gives: address, routes, times |
//! | [`client`] | the state machine of RFC 2131 figure 5 |
//! | [`v6`] | the same for IPv6 |
//! | [`machine`] | what both clients have in common for who carries their messages |
//! | [`given`] | what both give, for the rest of the agent |

pub mod client;
pub(crate) mod dice;
pub mod given;
pub mod lease;
pub mod machine;
pub mod message;
pub mod packet;
pub mod v6;

pub use machine::{Action, Actions, Machine};

#[cfg(test)]
mod tests;

/// A moment of CLOCK_BOOTTIME: since the host's start, suspended time included. Nobody sets this clock, so a lease lasts
/// as long as the server said, whatever happens to the time of day.
pub type Moment = std::time::Duration;
