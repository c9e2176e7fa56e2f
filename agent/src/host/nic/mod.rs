//! NICs of the host that are lent to guests: how one is looked at, marked, moved, and brought back as it was.
//!
//! While it is away a NIC carries the attachment's group and an alias that says whose it is. Both survive every move, so a NIC
//! that the kernel gave back by itself, because its guest died, is known again whatever its name is then (`dev7`, or what it
//! was called in the guest). The mark comes before the move and goes last of all.

mod give_back;
mod lend;
mod link;
mod look;
mod objects;
mod radio;
mod settings;
mod users;

pub(super) use give_back::give_back;
pub(super) use lend::{lend, mark, set_guest_link};
pub use look::{NicFacts, Obstacle};
pub(in crate::host) use radio::Radios;
