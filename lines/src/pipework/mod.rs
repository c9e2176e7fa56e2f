//! Lines written for the `pipework` script. `docs/pipework.md` says what is the same and what is better.

mod address;
mod dhcp;
mod form;
mod names;
mod parse;
mod resolve;
#[cfg(test)]
mod tests;
mod usage;
mod words;

pub use form::{Addressing, Attach, Dhcp, DhcpClient, Form, HostInterface, Refused};
pub use parse::{could_be_link, parse};
pub use resolve::{spec, unknown};
pub use usage::USAGE;
