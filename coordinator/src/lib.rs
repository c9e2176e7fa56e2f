//! A fleet of hosts as one file: read, checked, turned into one document a host, and rolled out.
//!
//! [`fleet`] is the file's shape, [`check`] makes a [`check::Fleet`] of it or says all that is wrong, [`desired`] makes
//! one [`HostSpec`](pipewright_api::spec::HostSpec) a host. Only [`rollout`] talks to agents.

pub mod check;
pub mod desired;
pub mod file;
pub mod fleet;
pub mod graph;
pub mod inventory;
pub mod name;
pub mod place;
pub mod rollout;
pub mod status;
