//! What the agent is told: flags over a file over defaults.

use std::fmt;
use std::net::{AddrParseError, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Deserialize;

use crate::declared;
use crate::engine::drift::Policy;
use crate::guests::Places;
use crate::switches::ovs;
use crate::telemetry::Collector;

/// Plugs network links into the containers of this host.
///
/// Orchestrators and `pwctl` talk to it by gRPC. It runs without Open vSwitch and without Docker, and says what is
/// missing when it is needed.
#[derive(Debug, Parser)]
#[command(name = "pwagent", version, max_term_width = 110, after_help = EXAMPLES)]
pub struct Flags {
    /// Settings in TOML, named as these flags with '_' for '-'; flags win.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

const EXAMPLES: &str = "\
Examples:
  pwagent
  pwagent --listen unix:/run/pipewright/agent.sock --ovsdb unix:/var/run/openvswitch/db.sock
  pwagent --listen tcp:127.0.0.1:7443 --insecure

What containers may ask for themselves, in labels, stands only in the file of --config:
  [[labels.allow]]
  uplink = \"br0\"
  addresses = [\"192.0.2.0/24\"]";

#[derive(Debug, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Where to be reached: unix:PATH or tcp:ADDRESS:PORT; may be repeated
    /// [default: unix:/run/pipewright/agent.sock].
    #[arg(long, value_name = "WHERE")]
    listen: Vec<Listen>,
    /// Where attachments are remembered [default: /var/lib/pipewright].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Open vSwitch's database: unix:PATH or tcp:HOST:PORT [default: unix:/var/run/openvswitch/db.sock].
    #[arg(long, value_name = "WHERE")]
    ovsdb: Option<String>,
    /// Docker's socket: unix:PATH [default: unix:/var/run/docker.sock].
    #[arg(long, value_name = "WHERE")]
    docker: Option<String>,
    /// Podman's socket: unix:PATH [default: unix:/run/podman/podman.sock].
    #[arg(long, value_name = "WHERE")]
    podman: Option<String>,
    /// containerd's state directory [default: /run/containerd].
    #[arg(long, value_name = "DIR")]
    containerd_state: Option<PathBuf>,
    /// CRI-O's storage [default: /var/lib/containers/storage].
    #[arg(long, value_name = "DIR")]
    crio_storage: Option<PathBuf>,
    /// systemd-machined's state files [default: /run/systemd/machines].
    #[arg(long, value_name = "DIR")]
    machines: Option<PathBuf>,
    /// How long an attachment that follows a container outlives that container's deletion, for another one of its name
    /// [default: 60].
    #[arg(long, value_name = "SECONDS")]
    recreate_within: Option<u32>,
    /// Datapath of bridges that are made in Open vSwitch; auto is netdev where the kernel lacks openvswitch
    /// [default: auto].
    #[arg(long, value_name = "TYPE")]
    ovs_datapath: Option<Datapath>,
    /// What labels and variables of containers may ask for; only in the file.
    #[arg(skip)]
    labels: declared::Settings,
    /// Where Prometheus reads /metrics: ADDRESS:PORT, or PORT for 127.0.0.1 [default: nowhere].
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<MetricsAddress>,
    /// Where a collector of OpenTelemetry takes spans by gRPC: http://ADDRESS:PORT [default: nowhere].
    #[arg(long, value_name = "URL")]
    otlp: Option<Collector>,
    /// What becomes of what others change of attachments: repair tells of it and undoes it, report only tells
    /// [default: repair].
    #[arg(long, value_name = "POLICY")]
    drift: Option<DriftPolicy>,
    /// Seconds between two looks at everything, behind the events of kernel and Open vSwitch; 1 or more [default: 60].
    #[arg(long, value_name = "SECONDS")]
    sweep: Option<NonZeroU32>,
    /// Form of the log on standard output [default: text].
    #[arg(long, value_name = "FORM")]
    log_format: Option<LogFormat>,
    /// Listen on TCP without TLS. Whoever reaches the port owns this host.
    #[arg(long)]
    insecure: bool,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// What becomes of what others change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftPolicy {
    /// It is told and repaired.
    #[default]
    Repair,
    /// It is told.
    Report,
}

impl From<DriftPolicy> for Policy {
    fn from(policy: DriftPolicy) -> Self {
        match policy {
            DriftPolicy::Repair => Self::Repair,
            DriftPolicy::Report => Self::Report,
        }
    }
}

/// Who moves the packets of a bridge in Open vSwitch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Datapath {
    /// The kernel where it can, else ovs-vswitchd.
    #[default]
    Auto,
    /// The kernel's openvswitch module.
    System,
    /// ovs-vswitchd itself.
    Netdev,
}

impl From<Datapath> for ovs::Datapath {
    fn from(datapath: Datapath) -> Self {
        match datapath {
            Datapath::Auto => Self::Auto,
            Datapath::System => Self::System,
            Datapath::Netdev => Self::Netdev,
        }
    }
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// A unix socket; its file permissions say who may connect.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(("tcp", address)) => address.parse().map(Self::Tcp).map_err(|error| {
                format!("\"{text}\" is not an address to listen on: {error}; write tcp:192.0.2.1:7443 or tcp:[2001:db8::1]:7443")
            }),
            _ => Err(format!("\"{text}\" is not an address to listen on: write unix:/PATH or tcp:ADDRESS:PORT")),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// Where metrics are read. Without an address only this host is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct MetricsAddress(SocketAddr);

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
        let local = port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        local.or_else(|_| text.parse()).map(Self).map_err(|error: AddrParseError| {
            format!("\"{text}\" is not an address to listen on: {error}; write 9473, 192.0.2.1:9473 or [2001:db8::1]:9473")
        })
    }
}

impl TryFrom<String> for MetricsAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// At least one.
    pub listen: Vec<Listen>,
    /// Of the record store.
    pub state_dir: PathBuf,
    /// As given; parsed by the OVSDB client.
    pub ovsdb: String,
    /// Where guests are looked up.
    pub guests: Places,
    /// How long an attachment waits for a container that was deleted.
    pub recreate_within: Duration,
    /// What labels and variables of containers may ask for.
    pub labels: declared::Policy,
    /// For bridges that are made.
    pub datapath: Datapath,
    /// What becomes of what others change.
    pub drift: Policy,
    /// Between two looks at everything.
    pub sweep: Duration,
    /// Of the log.
    pub log_format: LogFormat,
    /// Where metrics are read; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where spans are sent; `None`: nowhere.
    pub otlp: Option<Collector>,
}

/// Settings that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("settings {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not parse.
    #[error("settings {path}: {source}")]
    Wrong {
        /// The file.
        path: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// TCP without TLS.
    #[error(
        "{0} has no TLS: whoever reaches it owns this host; use a unix socket, or say --insecure if the network is yours alone"
    )]
    Insecure(Listen),
    /// Not a unix socket.
    #[error("--{0} {1}: write unix:/PATH")]
    Socket(&'static str, String),
}

impl Flags {
    /// Joins flags, file and defaults.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let file = match &self.config {
            Some(path) => read(path)?,
            None => Settings::default(),
        };
        let flags = self.settings;
        let mut listen = if flags.listen.is_empty() { file.listen } else { flags.listen };
        if listen.is_empty() {
            listen.push(Listen::Unix("/run/pipewright/agent.sock".into()));
        }
        let is_insecure = flags.insecure || file.insecure;
        if let Some(tcp) = listen.iter().find(|listen| matches!(listen, Listen::Tcp(_)) && !is_insecure) {
            return Err(ConfigError::Insecure(tcp.clone()));
        }
        let docker = flags.docker.or(file.docker).unwrap_or_else(|| "unix:/var/run/docker.sock".into());
        let podman = flags.podman.or(file.podman).unwrap_or_else(|| "unix:/run/podman/podman.sock".into());
        let either = |flag: Option<PathBuf>, file: Option<PathBuf>, default: &str| {
            flag.or(file).unwrap_or_else(|| default.into())
        };
        let guests = Places {
            docker: socket("docker", docker)?,
            podman: socket("podman", podman)?,
            containerd: either(flags.containerd_state, file.containerd_state, "/run/containerd"),
            crio: either(flags.crio_storage, file.crio_storage, "/var/lib/containers/storage"),
            machines: either(flags.machines, file.machines, "/run/systemd/machines"),
        };
        Ok(Config {
            listen,
            state_dir: flags.state_dir.or(file.state_dir).unwrap_or_else(|| "/var/lib/pipewright".into()),
            ovsdb: flags.ovsdb.or(file.ovsdb).unwrap_or_else(|| "unix:/var/run/openvswitch/db.sock".into()),
            guests,
            recreate_within: Duration::from_secs(
                flags.recreate_within.or(file.recreate_within).unwrap_or(60).into(),
            ),
            labels: file.labels.into(),
            datapath: flags.ovs_datapath.or(file.ovs_datapath).unwrap_or_default(),
            drift: flags.drift.or(file.drift).unwrap_or_default().into(),
            sweep: Duration::from_secs(flags.sweep.or(file.sweep).map_or(60, NonZeroU32::get).into()),
            log_format: flags.log_format.or(file.log_format).unwrap_or_default(),
            metrics: flags.metrics.or(file.metrics).map(|MetricsAddress(address)| address),
            otlp: flags.otlp.or(file.otlp),
        })
    }
}

fn socket(flag: &'static str, text: String) -> Result<PathBuf, ConfigError> {
    match text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
        Some(path) => Ok(PathBuf::from(path)),
        None => Err(ConfigError::Socket(flag, text)),
    }
}

fn read(path: &Path) -> Result<Settings, ConfigError> {
    let name = || path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: name(), source })?;
    toml::from_str(&text).map_err(|source| ConfigError::Wrong { path: name(), source: Box::new(source) })
}

#[cfg(test)]
mod tests;
