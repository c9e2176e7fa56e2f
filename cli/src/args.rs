//! The command line: commands and what all of them take.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pipewright_api::client::{Endpoint, PATIENCE};
use pipewright_coordinator::name::Name;

use crate::commands::{
    attach, completions, detach, doctor, fleet, guest, host, list, man, operation, pipework, tool, wait,
    watch,
};
use crate::values;

/// Plugs network links into running containers, here or on another host, and takes them out again.
#[derive(Debug, Parser)]
#[command(name = "pwctl", version, max_term_width = 110, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  pwctl attach br0 docker:web --ip 192.0.2.10/24 --gateway 192.0.2.1
  pwctl list
  pwctl --host a wait docker:web --for address
  pwctl detach docker:web
  pwctl fleet apply -f fleet.yaml

Which agent is asked: --endpoint or --host, then PWCTL_ENDPOINT or PWCTL_HOST
in the environment, then the agent of this host. --host NAME is looked up in
$PWCTL_CONFIG, ~/.config/pipewright/pwctl.yaml or /etc/pipewright/pwctl.yaml,
whose `hosts:` has the same shape as in a fleet file:

  hosts:
    a: { endpoint: \"http://192.0.2.1:7443\" }

Exit codes: 0 done, 1 failed, 2 wrong usage.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Ask the agent of this host of the configuration [env: PWCTL_HOST]
    #[arg(long, global = true, value_name = "NAME", value_parser = values::checked::<Name>, help_heading = "Everywhere")]
    pub(crate) host: Option<Name>,
    /// Ask the agent that listens there: unix:PATH or http://HOST:PORT [env: PWCTL_ENDPOINT]
    #[arg(
        long,
        global = true,
        value_name = "ENDPOINT",
        conflicts_with = "host",
        value_parser = values::checked::<Endpoint>,
        help_heading = "Everywhere"
    )]
    pub(crate) endpoint: Option<Endpoint>,
    /// How to print what is found
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Everywhere"
    )]
    pub(crate) output: Format,
    /// How long it may take; with `wait`, how long to wait; with `fleet`, how long each host may take
    #[arg(
        long,
        global = true,
        default_value = "30s",
        value_name = "DURATION",
        value_parser = values::duration,
        help_heading = "Everywhere"
    )]
    pub(crate) timeout: Duration,
    /// How long to ask again when the connection ends before the answer, as when the agent is restarted: the same request,
    /// which is carried out once at most; 0 for not at all
    #[arg(
        long,
        global = true,
        default_value = "5s",
        value_name = "DURATION",
        value_parser = values::duration_or_none,
        help_heading = "Everywhere"
    )]
    pub(crate) retry_for: Duration,
}

impl Default for Global {
    /// As a line without options of pwctl's: the environment says which agent is asked.
    fn default() -> Self {
        Self { host: None, endpoint: None, output: Format::Table, timeout: TIMEOUT, retry_for: PATIENCE }
    }
}

/// How long a call may take, unless --timeout says it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// The answer as it came, for programs
    Json,
    /// The same as YAML
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Attach(Box<attach::Attach>),
    Detach(detach::Detach),
    List(list::List),
    Wait(wait::Wait),
    Watch(watch::Watch),
    Operation(operation::Operation),
    Doctor(doctor::Doctor),
    Check(doctor::Check),
    #[command(subcommand)]
    Guest(guest::Guest),
    #[command(subcommand)]
    Host(host::Host),
    #[command(subcommand)]
    Fleet(fleet::Fleet),
    /// Run `ip route ARGS` in a guest
    ///
    /// With the host's iproute2, in the guest's network namespace, and with its exit code. Options for a family and for
    /// printing come before the verb, as in `pwctl route web -6 show`; what reads files is refused. Routes of this kind
    /// are the guest's own: detach leaves them. `pwctl guest route` adds those that go with a link.
    Route(tool::Line),
    /// Run `ip rule ARGS` in a guest
    ///
    /// With the host's iproute2, in the guest's network namespace, and with its exit code.
    Rule(tool::Line),
    /// Run `tc ARGS` in a guest
    ///
    /// With the host's iproute2, in the guest's network namespace, and with its exit code, as in
    /// `pwctl tc web qdisc add dev eth1 root tbf rate 1mbit burst 10k latency 50ms`.
    Tc(tool::Line),
    Pipework(pipework::Pipework),
    Completions(completions::Completions),
    Man(man::Man),
}
