//! Wire messages to domain types and back, one file a topic.
//!
//! From the wire everything is parsed once, and a refusal names the field's path in the message:
//! `spec.static_addresses.cidrs[1]: "192.0.2.0/24" is not an interface address: …`. What a *request* carries must fit
//! together as well ([`fit`]), so nothing that is refused later than here was ever valid by its form. What an *answer*
//! carries is only parsed: an agent may show a record that a newer rule would refuse.
//! To the wire nothing can fail.

mod agent;
mod at;
mod attachment;
mod finding;
pub mod fit;
mod guest;
mod host;
mod reason;
mod request;
mod route;
mod spec;
mod time;
mod traffic;

use at::At;
