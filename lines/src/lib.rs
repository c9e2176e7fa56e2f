//! Lines that people write, as what is asked of an agent. `pwctl` reads them from its arguments, the agent from labels and
//! variables of containers: the same words mean the same in both.
//!
//! | module | line |
//! |---|---|
//! | [`link`] | what follows `pwctl attach UPLINK GUEST` |
//! | [`label`] | `pipewright.attach` of a container: the same without GUEST |
//! | [`pipework`] | arguments of the `pipework` script |

pub mod label;
pub mod link;
pub mod pipework;
pub mod values;
