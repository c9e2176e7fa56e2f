//! How far a rollout is, on standard error: one line that changes on a terminal, a line a host elsewhere.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};

use pipewright_coordinator::name::Name;
use pipewright_coordinator::rollout::{Mode, Outcome, Progress};
use tokio::sync::mpsc;

use super::report;

/// Shows progress until the rollout is over.
pub(super) async fn show(mut events: mpsc::Receiver<Progress>, mode: Mode, hosts: usize) {
    let mut shown = Shown { mode, hosts, done: 0, asked: BTreeSet::new() };
    let is_terminal = io::stderr().is_terminal();
    while let Some(event) = events.recv().await {
        let line = shown.line(&event);
        let mut out = io::stderr().lock();
        // Progress that cannot be shown does not stop the rollout.
        let _ = match (is_terminal, line) {
            (true, _) => write!(out, "\r\x1b[K{}", shown.summary()).and_then(|()| out.flush()),
            (false, Some(line)) => writeln!(out, "{line}"),
            (false, None) => Ok(()),
        };
    }
    if is_terminal {
        let _ = write!(io::stderr().lock(), "\r\x1b[K");
    }
}

/// What has been seen so far.
struct Shown {
    mode: Mode,
    hosts: usize,
    done: usize,
    asked: BTreeSet<Name>,
}

impl Shown {
    /// Takes an event in; the line for it, if it is worth one.
    fn line(&mut self, event: &Progress) -> Option<String> {
        match event {
            Progress::Asked(host) => {
                self.asked.insert(host.clone());
                None
            }
            Progress::Finished(host, outcome) => {
                self.asked.remove(host);
                self.done += 1;
                // What went wrong is said with the result.
                let what = match outcome {
                    Outcome::Changes(changes) => report::changes(changes, self.mode),
                    Outcome::Unreachable(_) => "unreachable".to_owned(),
                    Outcome::Unknown { .. } => "unknown".to_owned(),
                    Outcome::Refused(_) => "refused".to_owned(),
                    Outcome::Misunderstood(_) => "not understood".to_owned(),
                };
                Some(format!("{host}: {what} ({} of {})", self.done, self.hosts))
            }
        }
    }

    fn summary(&self) -> String {
        let verb = match self.mode {
            Mode::Plan => "asking",
            Mode::Apply => "applying",
        };
        let waiting: Vec<&str> = self.asked.iter().take(4).map(Name::as_str).collect();
        let more = if self.asked.len() > waiting.len() { " …" } else { "" };
        let waiting = if waiting.is_empty() {
            String::new()
        } else {
            format!("; waiting for {}{more}", waiting.join(", "))
        };
        format!("{verb}: {} of {}{waiting}", self.done, report::count(self.hosts, "host"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_hosts_and_names_those_it_waits_for() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let mut shown = Shown { mode: Mode::Apply, hosts: 2, done: 0, asked: BTreeSet::new() };

        assert_eq!(shown.line(&Progress::Asked(name("b"))), None);
        assert_eq!(shown.line(&Progress::Asked(name("a"))), None);
        assert_eq!(shown.summary(), "applying: 0 of 2 hosts; waiting for a, b");
        let done = shown.line(&Progress::Finished(name("b"), Outcome::Changes(Vec::new())));
        assert_eq!(done.unwrap(), "b: nothing to change (1 of 2)");
        assert_eq!(shown.summary(), "applying: 1 of 2 hosts; waiting for a");
    }
}
