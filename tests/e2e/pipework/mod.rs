//! Lines of pipework's documentation and of tutorials, typed as they are there through a link named `pipework`, with
//! documentation addresses. `$NAME` is a container, by its id as `$(docker run …)` gives it.

mod bridges;
mod by_hand;
mod crowd;
mod endings;
mod guests;
mod leases;
mod nics;
mod original;
mod refusals;
mod switches;
mod tools;
mod waiting;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use pipewright_tests::agent::program;
use pipewright_tests::ctl::Answer;
use pipewright_tests::{Agent, AgentOptions, Docker, Guest, Host, Lab, process};
use serde_json::Value;

use crate::scene::FOREIGN;

/// A host with Docker and an agent, and a link named `pipework` to pwctl.
struct Stage {
    lab: Lab,
    host: Arc<Host>,
    agent: Arc<Agent>,
    pipework: PathBuf,
}

impl Stage {
    /// Without Open vSwitch.
    fn plain() -> Result<Self> {
        let lab = Lab::new()?;
        let host = lab.host("a")?;
        Self::on(lab, host)
    }

    /// Without Docker, too.
    fn plain_without_docker() -> Result<Self> {
        let lab = Lab::new()?;
        let host = lab.host("a")?;
        let agent = host.agent(AgentOptions::default())?;
        let pipework = pipework(&host)?;
        Ok(Self { lab, host, agent, pipework })
    }

    /// With every runtime that there is here.
    fn with_runtimes() -> Result<Self> {
        let lab = Lab::new()?;
        let host = lab.host("a")?;
        let agent = host.agent(AgentOptions::with_runtimes()?)?;
        let pipework = pipework(&host)?;
        Ok(Self { lab, host, agent, pipework })
    }

    fn with_ovs() -> Result<Self> {
        let lab = Lab::new()?;
        let host = lab.host("a")?;
        host.ovs()?.add_bridge(FOREIGN)?;
        Self::on(lab, host)
    }

    fn on(lab: Lab, host: Arc<Host>) -> Result<Self> {
        let agent = host.agent(AgentOptions::with_docker()?)?;
        let pipework = pipework(&host)?;
        Ok(Self { lab, host, agent, pipework })
    }

    /// `pipework WORDS`; `$NAME` is the id of that container.
    fn run(&self, words: &str) -> Result<Answer> {
        self.run_words(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// As [`Stage::run`], with words that may have blanks in them.
    fn run_words(&self, words: &[&str]) -> Result<Answer> {
        let mut command = process::command(&self.pipework)?;
        for word in words {
            command.arg(self.word(word)?);
        }
        ask(&mut command, &self.agent, &words.join(" "))
    }

    /// `pipework WORDS`, which must say nothing and succeed, as pipework does.
    fn pipework(&self, words: &str) -> Result<()> {
        self.pipework_words(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// As [`Stage::pipework`], with words that may have blanks in them.
    fn pipework_words(&self, words: &[&str]) -> Result<()> {
        let answer = self.run_words(words)?.ok()?;
        anyhow::ensure!(answer.stdout.is_empty() && answer.stderr.is_empty(), "it said {answer:?}");
        Ok(())
    }

    fn word(&self, word: &str) -> Result<String> {
        let Some(name) = word.strip_prefix('$') else { return Ok(word.to_owned()) };
        let guest = self.host.guests().into_iter().find(|guest| guest.name() == name);
        id(&*guest.with_context(|| format!("no container {name}"))?)
    }

    fn end(self) -> Result<()> {
        for guest in self.host.guests().iter().filter(|guest| guest.is_alive()) {
            self.agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
        }
        self.lab.finish()
    }
}

/// The link named `pipework`, as an operator puts it into /usr/local/bin.
fn pipework(host: &Host) -> Result<PathBuf> {
    let link = host.dir().join("pipework");
    std::os::unix::fs::symlink(program("pwctl")?.canonicalize()?, &link)?;
    Ok(link)
}

/// Runs it against this agent.
fn ask(command: &mut Command, agent: &Agent, words: &str) -> Result<Answer> {
    command.env_remove("PWCTL_HOST").env("PWCTL_CONFIG", "/dev/null").env("PWCTL_ENDPOINT", agent.endpoint());
    let ended = process::run(command)?;
    Ok(Answer {
        line: format!("pipework {words}"),
        code: ended.status.code().unwrap_or(-1),
        stdout: ended.stdout,
        stderr: ended.stderr,
    })
}

/// `docker inspect --format WHAT`.
fn inspect(guest: &Guest, what: &str) -> Result<String> {
    let name = guest.reference().trim_start_matches("docker:");
    Ok(Docker::shared()?.docker(&["inspect", "--format", what, name])?.trim().to_owned())
}

fn id(guest: &Guest) -> Result<String> {
    inspect(guest, "{{.Id}}")
}

fn pid(guest: &Guest) -> Result<String> {
    inspect(guest, "{{.State.Pid}}")
}

/// A link of a guest as `ip -j addr` shows it.
fn link(guest: &Guest, ifname: &str) -> Result<Value> {
    let shown = guest.inside()?.ip_json(&format!("addr show dev {ifname}"))?;
    shown.into_iter().next().with_context(|| format!("no link {ifname}"))
}

/// Its addresses with prefix lengths, without link-local ones.
fn addresses(guest: &Guest, ifname: &str) -> Result<Vec<String>> {
    let link = link(guest, ifname)?;
    let all = link["addr_info"].as_array().cloned().unwrap_or_default();
    let chosen = all.iter().filter(|address| address["scope"] == "global");
    Ok(chosen
        .map(|address| format!("{}/{}", address["local"].as_str().unwrap_or_default(), address["prefixlen"]))
        .collect())
}

/// `ip route show`, one line a route, without what the kernel made.
fn routes(guest: &Guest) -> Result<Vec<String>> {
    let text = guest.ip("route show")?;
    let chosen = text.lines().filter(|line| !line.contains("proto kernel"));
    Ok(chosen.map(|line| line.trim().to_owned()).collect())
}
