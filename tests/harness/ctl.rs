//! `pwctl`, as an operator types it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pipewright_api::client::{Client, Endpoint};
use serde_json::Value;

use crate::agent::{Agent, program};
use crate::process::{command, run};

/// What `pwctl` answered.
#[derive(Debug)]
pub struct Answer {
    /// What was typed.
    pub line: String,
    /// Exit code; -1 when it was killed.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Itself, if it says success.
    ///
    /// # Errors
    /// The exit code is not 0; with all that was said.
    pub fn ok(self) -> Result<Self> {
        ensure!(self.code == 0, "`{}` ended with {}:\n{}{}", self.line, self.code, self.stdout, self.stderr);
        Ok(self)
    }

    /// Its standard output as JSON, if it says success.
    ///
    /// # Errors
    /// The exit code is not 0, or the output is no JSON.
    pub fn json(self) -> Result<Value> {
        let answer = self.ok()?;
        serde_json::from_str(&answer.stdout)
            .with_context(|| format!("`{}` printed no JSON: {}", answer.line, answer.stdout))
    }
}

/// `pwctl WORDS`, separated by blanks; exactly the given arguments, and no configuration of the machine's.
///
/// # Errors
/// It is not built, or does not end.
pub fn pwctl(words: &str) -> Result<Answer> {
    let mut pwctl = command(program("pwctl")?)?;
    pwctl.args(words.split_whitespace());
    pwctl.env_remove("PWCTL_HOST").env_remove("PWCTL_ENDPOINT").env("PWCTL_CONFIG", "/dev/null");
    let ended = run(&mut pwctl)?;
    Ok(Answer {
        line: format!("pwctl {words}"),
        code: ended.status.code().unwrap_or(-1),
        stdout: ended.stdout,
        stderr: ended.stderr,
    })
}

impl Agent {
    /// `pwctl --endpoint OURS WORDS`.
    ///
    /// # Errors
    /// As [`pwctl`].
    pub fn ctl(&self, words: &str) -> Result<Answer> {
        pwctl(&format!("--endpoint {} {words}", self.endpoint()))
    }

    /// As [`Agent::ctl`], for a line that an agent may die over: it is not asked again when its connection ends.
    ///
    /// # Errors
    /// As [`pwctl`].
    pub fn ctl_once(&self, words: &str) -> Result<Answer> {
        self.ctl(&format!("--retry-for 0s {words}"))
    }

    /// A gRPC client of it, whose calls may take 30 s each. Needs a tokio runtime.
    ///
    /// # Errors
    /// The endpoint is no authority of HTTP.
    pub fn client(&self) -> Result<Client> {
        let endpoint: Endpoint = self.endpoint().parse()?;
        Ok(Client::connect(&endpoint, Duration::from_secs(30))?)
    }

    /// The attachments that `pwctl list` shows.
    ///
    /// # Errors
    /// It fails, or prints something else.
    pub fn list(&self) -> Result<Vec<Value>> {
        let listed = self.ctl("-o json list")?.json()?;
        // A list that is empty may be left out of proto's JSON.
        Ok(listed["attachments"].as_array().cloned().unwrap_or_default())
    }
}
