//! What most stories begin with, and how they ask.

use std::sync::Arc;

use anyhow::Result;
use pipewright_tests::ctl::Answer;
use pipewright_tests::{Agent, AgentOptions, Host, Lab};

/// An Open vSwitch bridge that is not ours.
pub(crate) const FOREIGN: &str = "foreign0";

/// A lab of one host with an agent.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) host: Arc<Host>,
    pub(crate) agent: Arc<Agent>,
}

impl Scene {
    /// With an Open vSwitch that has one bridge of somebody else's.
    pub(crate) fn ovs() -> Result<Self> {
        let lab = Lab::new()?;
        let host = lab.host("a")?;
        // The first bridge of the userspace datapath brings a link ovs-netdev, which Open vSwitch never removes.
        host.ovs()?.add_bridge(FOREIGN)?;
        let agent = host.agent(AgentOptions::default())?;
        Ok(Self { lab, host, agent })
    }

    /// Types a pwctl line that must succeed.
    pub(crate) fn ctl(&self, words: &str) -> Result<Answer> {
        self.agent.ctl(words)?.ok()
    }
}
