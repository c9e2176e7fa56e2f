//! Who runs a bridge.

pub mod ovs;
