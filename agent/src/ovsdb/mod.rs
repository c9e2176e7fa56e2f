//! A client of OVSDB, the Open vSwitch database management protocol (RFC 7047).
//!
//! One connection, kept by a task of its own and made anew when it is lost; operations are values that are built, printed
//! and sent; a call whose answer did not come is [`OvsdbError::Unknown`], because OVSDB may carry it out all the same.

mod codec;
mod connection;
mod monitor;
mod session;

pub mod client;
pub mod endpoint;
pub mod error;
pub mod ops;
pub mod value;

pub use client::{Client, Reply};
pub use connection::Patience;
pub use endpoint::Endpoint;
pub use error::{OvsdbError, Refusal};
pub use monitor::{Monitor, Watcher};
pub use ops::Operation;
pub use value::{Atom, NamedUuid, Value};
