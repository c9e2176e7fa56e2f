//! The agent's resident memory at rest.

use anyhow::{Context, Result};
use pipewright_tests::{Agent, AgentOptions};

use super::Length;
use crate::arena::Arena;
use crate::table::Line;

pub(super) fn measure(_: Length) -> Result<Vec<Line>> {
    let arena = Arena::linux(AgentOptions::default())?;
    let line = resident(&arena.agent, "memory at rest", 12.0)?;
    arena.finish()?;
    Ok(vec![line])
}

/// Resident memory, and how much of it is no file's.
pub(super) fn resident(agent: &Agent, what: &str, aim: f64) -> Result<Line> {
    let (all, own) = (megabytes(agent, "VmRSS")?, megabytes(agent, "RssAnon")?);
    let shown = format!("{all:.1} MB ({own:.1} anonymous)");
    Ok(Line::free(what, shown, &format!("≤ {aim:.0} MB"), all <= aim))
}

/// One line of `/proc/PID/status` that is in kB.
pub(crate) fn megabytes(agent: &Agent, key: &str) -> Result<f64> {
    let pid = agent.pid().context("the agent ended")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kilobytes = value.with_context(|| format!("{key} is not told"))?.trim().trim_end_matches(" kB");
    Ok(kilobytes.parse::<f64>()? / 1024.0)
}
