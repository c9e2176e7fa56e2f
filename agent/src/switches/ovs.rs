//! Open vSwitch.

/// Why Open vSwitch did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SwitchError {}
