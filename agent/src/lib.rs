//! The daemon of one host.

pub mod host;
pub mod ovsdb;
pub mod step;
pub mod switches;
