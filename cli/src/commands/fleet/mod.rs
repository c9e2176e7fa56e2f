//! `pwctl fleet`: one file for many hosts.

mod progress;
mod report;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use pipewright_api::spec::HostSpec;
use pipewright_coordinator::check::{self, Fleet as Checked, Members};
use pipewright_coordinator::desired::{desired, nothing};
use pipewright_coordinator::fleet::{self, FleetFile};
use pipewright_coordinator::graph;
use pipewright_coordinator::name::Name;
use pipewright_coordinator::place::Problems;
use pipewright_coordinator::rollout::{self, Mode, Outcome, Pace};
use pipewright_coordinator::status;

use crate::args::Global;
use crate::explain::Failed;
use crate::output;

/// Make many hosts look like one file
///
/// The file says which hosts there are, which switches and VLAN segments they share, and which guests are on those. Each
/// host's agent gets its own part in one call. Only what the fleet made itself is ever changed or removed.
#[derive(Debug, Subcommand)]
pub(crate) enum Fleet {
    /// Check a file without asking any host; everything that is wrong is said at once
    #[command(after_help = "\
Example:
  pwctl fleet validate -f fleet.yaml")]
    Validate(File),
    /// Show what apply would change
    #[command(after_help = "\
Examples:
  pwctl fleet plan -f fleet.yaml
  Whether anything differs, for a script: 0 nothing, 2 changes, 1 error
    pwctl fleet plan -f fleet.yaml --exit-code")]
    Plan {
        #[command(flatten)]
        file: File,
        /// Exit with 2 when there is something to change
        #[arg(long)]
        exit_code: bool,
    },
    /// Make the hosts look like the file
    #[command(after_help = "\
Examples:
  pwctl fleet apply -f fleet.yaml
  pwctl fleet apply -f fleet.yaml --yes --timeout 1m

A host that cannot be reached does not stop the others; applying again finishes it.")]
    Apply(Change),
    /// Show what is there beside what the file wants
    #[command(after_help = "\
Examples:
  pwctl fleet status -f fleet.yaml
  What is not as it should be:
    pwctl fleet status -f fleet.yaml -o json |
      jq '.hosts[].links[]? | select(.standing != \"ok\")'")]
    Status(File),
    /// Remove everything that the fleet made, on every host of the file
    #[command(after_help = "\
Example:
  pwctl fleet destroy -f fleet.yaml

Needs only `fleet` and `hosts` of the file, so it also works when the rest
of it is gone or wrong.")]
    Destroy(Change),
    /// Draw hosts, switches, segments and guests
    #[command(after_help = "\
Examples:
  pwctl fleet graph -f fleet.yaml
  pwctl fleet graph -f fleet.yaml --format dot | dot -Tsvg > fleet.svg")]
    Graph {
        #[command(flatten)]
        file: File,
        /// As what
        #[arg(long, value_enum, default_value = "text")]
        format: Drawing,
    },
    /// Print the JSON Schema of the file, for editors
    #[command(after_help = "\
Example:
  pwctl fleet schema > fleet.schema.json
And as the first line of fleet.yaml, for editors that read it:
  # yaml-language-server: $schema=fleet.schema.json")]
    Schema,
}

/// Which file.
#[derive(Debug, Args)]
pub(crate) struct File {
    /// The fleet file; /dev/stdin reads it from a pipe
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    path: PathBuf,
}

/// A command that changes hosts.
#[derive(Debug, Args)]
pub(crate) struct Change {
    #[command(flatten)]
    file: File,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// How to draw.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Drawing {
    /// Indented lines
    Text,
    /// A graph for dot(1)
    Dot,
}

impl Fleet {
    pub(crate) fn run(self, global: &Global) -> Result<ExitCode, Failed> {
        no_single_host(global)?;
        match self {
            Self::Validate(file) => validate(&file.path),
            Self::Plan { file, exit_code } => plan(&checked(&file.path)?, exit_code, global),
            Self::Apply(change) => {
                change.can_ask("apply")?;
                let fleet = checked(&change.file.path)?;
                change.run(&fleet.members, &desired(&fleet), global)
            }
            Self::Status(file) => fleet_status(&checked(&file.path)?, global),
            Self::Destroy(change) => {
                change.can_ask("destroy")?;
                let path = &change.file.path;
                let members = check::members(&read(path)?).map_err(|problems| wrong(path, &problems))?;
                change.run(&members, &nothing(&members), global)
            }
            Self::Graph { file, format } => {
                let fleet = checked(&file.path)?;
                let drawn = match format {
                    Drawing::Text => graph::text(&fleet),
                    Drawing::Dot => graph::dot(&fleet),
                };
                output::print(&drawn).map(|()| ExitCode::SUCCESS)
            }
            Self::Schema => output::print(&fleet::schema()).map(|()| ExitCode::SUCCESS),
        }
    }
}

/// The file names the hosts. An endpoint besides would be ignored, and somebody meant something by it.
fn no_single_host(global: &Global) -> Result<(), Failed> {
    match global.host.is_some() || global.endpoint.is_some() {
        true => {
            Err(Failed::Usage("the fleet file names the hosts: leave out --host and --endpoint".to_owned()))
        }
        false => Ok(()),
    }
}

fn read(path: &Path) -> Result<FleetFile, Failed> {
    fleet::read(path).map_err(|why| Failed::Because(why.to_string()))
}

fn checked(path: &Path) -> Result<Checked, Failed> {
    check::check(&read(path)?).map_err(|problems| wrong(path, &problems))
}

fn wrong(path: &Path, problems: &Problems) -> Failed {
    Failed::Because(problems.in_file(&path.display().to_string()))
}

fn validate(path: &Path) -> Result<ExitCode, Failed> {
    let fleet = checked(path)?;
    output::print(&format!(
        "{} is right: fleet {}, {}, {}, {}, {}",
        path.display(),
        fleet.members.fleet,
        report::count(fleet.members.hosts.len(), "host"),
        report::count(fleet.switches.len(), "switch"),
        report::count(fleet.segments.len(), "segment"),
        report::count(fleet.attachments.len(), "attachment"),
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn plan(fleet: &Checked, exit_code: bool, global: &Global) -> Result<ExitCode, Failed> {
    let outcomes = roll_out(&fleet.members, desired(fleet), Mode::Plan, global)?;
    report::print(&outcomes, Mode::Plan, global.output)?;
    let has_changes = outcomes.values().any(|outcome| !outcome.changes().is_empty());
    Ok(match outcomes.values().all(Outcome::is_done) {
        false => ExitCode::FAILURE,
        true if exit_code && has_changes => ExitCode::from(2),
        true => ExitCode::SUCCESS,
    })
}

impl Change {
    /// Refuses before anything is read or asked when nobody could say yes.
    fn can_ask(&self, command: &str) -> Result<(), Failed> {
        if self.yes || (io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Ok(());
        }
        Err(Failed::Usage(format!(
            "fleet {command} changes hosts: add --yes, or run it on a terminal to be asked"
        )))
    }

    fn run(
        &self,
        members: &Members,
        documents: &BTreeMap<Name, HostSpec>,
        global: &Global,
    ) -> Result<ExitCode, Failed> {
        if !self.yes {
            let planned = roll_out(members, documents.clone(), Mode::Plan, global)?;
            output::note(&report::text(&planned, Mode::Plan));
            let is_known = planned.values().all(Outcome::is_done);
            if is_known && planned.values().all(|outcome| outcome.changes().is_empty()) {
                return Ok(ExitCode::SUCCESS);
            }
            if !confirmed("make these changes?")? {
                output::note("nothing was changed");
                return Ok(ExitCode::FAILURE);
            }
        }
        let outcomes = roll_out(members, documents.clone(), Mode::Apply, global)?;
        report::print(&outcomes, Mode::Apply, global.output)?;
        Ok(match outcomes.values().all(Outcome::is_done) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }
}

/// Asks on the terminal; anything but yes is no.
fn confirmed(question: &str) -> Result<bool, Failed> {
    let cannot = |why: io::Error| Failed::Because(format!("cannot ask: {why}; add --yes"));
    let mut terminal = io::stderr().lock();
    write!(terminal, "{question} [y/N] ").map_err(cannot)?;
    terminal.flush().map_err(cannot)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(cannot)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn pace(global: &Global) -> Pace {
    Pace { per_host: global.timeout, retry_for: global.retry_for, ..Pace::default() }
}

fn roll_out(
    members: &Members,
    documents: BTreeMap<Name, HostSpec>,
    mode: Mode,
    global: &Global,
) -> Result<BTreeMap<Name, Outcome>, Failed> {
    let targets = rollout::targets(&members.hosts, documents);
    super::block_on(async {
        let (sender, receiver) = tokio::sync::mpsc::channel(64);
        let shown = progress::show(receiver, mode, targets.len());
        let (outcomes, ()) = tokio::join!(rollout::roll_out(targets, mode, pace(global), sender), shown);
        Ok(outcomes)
    })
}

fn fleet_status(fleet: &Checked, global: &Global) -> Result<ExitCode, Failed> {
    let hosts = super::block_on(async { Ok::<_, Failed>(status::status(fleet, pace(global)).await) })?;
    report::print_status(&hosts, global.output)?;
    Ok(match hosts.values().all(Result::is_ok) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
