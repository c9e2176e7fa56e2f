//! The daemon of one host.
//!
//! A call comes in at [`api`], which turns it into types; [`engine`] finds the guest by [`guests`], has [`kinds`] decide
//! on a plan of [`step`]s, remembers it, and has [`host`] take the steps. Only [`host`] and [`switches`] change the machine.

pub mod api;
pub mod config;
pub mod daemon;
pub mod declared;
pub mod dhcp;
pub mod engine;
pub mod guests;
pub mod host;
pub mod kinds;
pub mod metrics;
pub mod ovsdb;
pub mod status;
pub mod step;
pub mod switches;
pub mod telemetry;
