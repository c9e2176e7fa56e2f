//! The agent from start to end: open what it needs, make good what a crash left, serve, drain.

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::api;
use crate::config::{Config, Listen};
use crate::engine::drift::Keeping;
use crate::engine::records::Records;
use crate::engine::{Engine, Parts, Places};
use crate::guests::Guests;
use crate::host::Host;
use crate::host::kernel::Kernel;
use crate::host::real::RealHost;
use crate::metrics::Endpoint;
use crate::switches::ovs::Ovs;
use crate::telemetry::Telemetry;

/// Runs the agent until SIGTERM or SIGINT. `wrap` is the seam of the tests; the real agent passes the host through.
///
/// # Errors
/// When it cannot start; the text says what to do.
pub async fn run<H: Host>(config: Config, wrap: impl FnOnce(RealHost) -> H) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(config.log_format, config.otlp.as_ref())?;
    // Whatever is sent from now on is a wish to stop, also while the agent is still starting.
    let mut term = signal(SignalKind::terminate()).context("SIGTERM cannot be followed")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT cannot be followed")?;
    let stop = async move {
        tokio::select! {
            _ = term.recv() => tracing::info!("SIGTERM: finishing what was begun"),
            _ = int.recv() => tracing::info!("SIGINT: finishing what was begun"),
        }
        notify(&[NotifyState::Stopping]);
    };
    prepare_state_dir(&config.state_dir)?;
    let metrics = match config.metrics {
        Some(address) => Some(Endpoint::bind(address).await?),
        None => None,
    };
    let (records, loaded) = Records::open_or_begin_anew(&config.state_dir)?;
    let kernel =
        Kernel::start().context("netlink cannot be used; the agent needs CAP_NET_ADMIN and CAP_SYS_ADMIN")?;
    let endpoint = config.ovsdb.parse().context("--ovsdb")?;
    let ovs = Ovs::new(endpoint, config.datapath.into());
    let sockets = config.listen.iter().filter_map(|listen| match listen {
        Listen::Unix(path) => Some(path.clone()),
        Listen::Tcp(_) => None,
    });
    let places = Places { state_dir: config.state_dir.clone(), sockets: sockets.collect() };
    let guests = Guests::new(&config.guests);
    let keeping = Keeping { policy: config.drift, sweep: config.sweep };
    let host = wrap(RealHost { kernel: kernel.clone(), ovs: ovs.clone() });
    let Config { recreate_within, labels, .. } = config;
    let parts = Parts { host, kernel, ovs, guests, records, places, recreate_within, keeping, labels };
    let engine = Engine::start(parts, loaded).await?;
    let metrics_at = metrics.as_ref().map(Endpoint::address);
    if let Some(endpoint) = metrics {
        tokio::spawn(endpoint.serve(std::sync::Arc::clone(&engine)));
    }
    let reached = |listens: &[Listen]| ready(listens, metrics_at);
    api::serve(engine, config.listen, reached, stop).await?;
    tracing::info!("stopped; attachments stay as they are");
    telemetry.end().await;
    Ok(())
}

fn ready(listens: &[Listen], metrics: Option<std::net::SocketAddr>) {
    let list: Vec<String> = listens.iter().map(ToString::to_string).collect();
    let metrics = metrics.map(tracing::field::display);
    tracing::info!(listen = list.join(" "), metrics, version = env!("CARGO_PKG_VERSION"), "ready");
    notify(&[NotifyState::Ready]);
}

/// Tells systemd, where it is the one who asks.
fn notify(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("systemd cannot be told: {error}");
    }
}

fn prepare_state_dir(dir: &std::path::Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    let name = dir.display();
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("state directory {name}"))?;
    let found = std::fs::symlink_metadata(dir).with_context(|| format!("state directory {name}"))?;
    anyhow::ensure!(
        found.is_dir(),
        "state directory {name} is no directory; symbolic links are not followed"
    );
    anyhow::ensure!(
        found.uid() == rustix::process::geteuid().as_raw(),
        "state directory {name} belongs to user {}; it must be the agent's own",
        found.uid()
    );
    if found.mode() & 0o077 != 0 {
        // What it says of the host is nobody else's business, and whoever can write there owns the host.
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("state directory {name}"))?;
    }
    Ok(())
}
