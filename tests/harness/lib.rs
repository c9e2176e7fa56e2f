//! The lab: hosts as network namespaces with a real Open vSwitch and real Docker, and what an operator sees of them.
//! Nothing here touches the machine's own links, switch or Docker, and nothing stays when the program ends, however it
//! ends (see [`undertaker`]).

#![allow(clippy::panic, reason = "a harness fails a test by panicking")]

pub mod agent;
pub mod ctl;
pub mod dhcp;
pub mod docker;
pub mod fabric;
pub mod guest;
pub mod host;
pub mod lab;
pub mod netns;
pub mod ovs;
pub mod process;
pub mod reach;
pub mod residue;
pub mod rootfs;
pub mod runtimes;
pub mod skip;
pub mod snapshot;
pub mod undertaker;

pub use agent::{Agent, AgentOptions};
pub use dhcp::DhcpServer;
pub use docker::Docker;
pub use guest::Guest;
pub use host::Host;
pub use lab::Lab;
pub use ovs::{Datapath, Ovs};
pub use reach::{Reach, reach};
pub use runtimes::{Network, Runtime};
pub use skip::Need;
pub use snapshot::Snapshot;
