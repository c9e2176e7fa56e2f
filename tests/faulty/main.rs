//! `pwagent-faulty`: the real agent on the real host, but for steps that are refused, that kill it, or that have a defect.
//!
//! `PIPEWRIGHT_FAULT=refuse:N | kill-before:N | kill-after:N | panic:N` names the N-th step that the agent takes, counted from 0
//! over its whole life; several are separated by commas. `PIPEWRIGHT_STEPS=FILE` has every step that is taken written there, one line each, so that a
//! story can tell that none was.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::{Context, bail};
use clap::Parser;
use pipewright_agent::config::Flags;
use pipewright_agent::daemon;
use pipewright_agent::host::real::RealHost;
use pipewright_agent::host::{Host, Refused, Within};
use pipewright_agent::step::{Step, StepError};

fn main() -> anyhow::Result<()> {
    let faults = std::env::var("PIPEWRIGHT_FAULT").unwrap_or_default();
    let faults = faults.split(',').filter(|text| !text.is_empty()).map(Fault::parse);
    let faults = faults.collect::<anyhow::Result<Vec<Fault>>>()?;
    let log = std::env::var_os("PIPEWRIGHT_STEPS").map(PathBuf::from);
    let log = log.map(|path| File::options().create(true).append(true).open(path)).transpose()?;
    let config = Flags::parse().resolve()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let wrap = |inner| Faulty { inner, faults, taken: Mutex::new(Taken { steps: 0, log }) };
    runtime.block_on(daemon::run(config, wrap))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Refuse,
    KillBefore,
    KillAfter,
    Panic,
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    what: What,
    at: usize,
}

impl Fault {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (what, at) = text.split_once(':').context("PIPEWRIGHT_FAULT is WHAT:N")?;
        let what = match what {
            "refuse" => What::Refuse,
            "kill-before" => What::KillBefore,
            "kill-after" => What::KillAfter,
            "panic" => What::Panic,
            other => bail!("{other} is no fault"),
        };
        Ok(Self { what, at: at.parse()? })
    }
}

struct Faulty {
    inner: RealHost,
    faults: Vec<Fault>,
    taken: Mutex<Taken>,
}

struct Taken {
    steps: usize,
    log: Option<File>,
}

impl Faulty {
    /// Counts steps, and tells which of them a fault is meant for first.
    fn count(&self, steps: &[Step]) -> Option<(usize, What)> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let first = taken.steps;
        taken.steps += steps.len();
        if let Some(log) = &mut taken.log {
            let text: String = steps.iter().map(|step| format!("{step}\n")).collect();
            log.write_all(text.as_bytes()).expect("the test's own file takes lines");
        }
        let within = |fault: &Fault| Some((fault.at.checked_sub(first)?, fault.what));
        let meant = self.faults.iter().filter_map(within).filter(|&(index, _)| index < steps.len());
        meant.min_by_key(|&(index, _)| index)
    }
}

impl Host for Faulty {
    async fn take<'a>(
        &'a self,
        within: impl Into<Within<'a>> + Send,
        steps: &'a [Step],
    ) -> Result<(), Refused> {
        let within = within.into();
        let Some((index, what)) = self.count(steps) else {
            return self.inner.take(within, steps).await;
        };
        let before = if what == What::KillAfter { index + 1 } else { index };
        self.inner.take(within, &steps[..before]).await?;
        match what {
            What::Refuse => {
                Err(Refused { index, error: StepError::Injected { step: steps[index].to_string() } })
            }
            What::KillBefore | What::KillAfter => die(),
            What::Panic => defect(),
        }
    }
}

#[expect(clippy::panic, reason = "a defect is what is wanted")]
fn defect() -> ! {
    panic!("a defect that a test wants")
}

/// As the out-of-memory killer would: nothing is flushed, nothing is dropped.
fn die() -> ! {
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("a process may kill itself");
    std::process::abort()
}
