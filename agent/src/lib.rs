//! The daemon of one host.

pub mod host;
pub mod step;
pub mod switches;
