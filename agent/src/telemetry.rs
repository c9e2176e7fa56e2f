//! What the agent tells while it works: a log on standard output, and spans to a collector of OpenTelemetry where one is named.

use std::str::FromStr;

use anyhow::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::Deserialize;
use tonic::codegen::http::Uri;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::LogFormat;

/// Where a collector of OpenTelemetry takes spans by gRPC: `http://ADDRESS:PORT`. There is no TLS yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Collector(String);

impl FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_usable = |url: &Uri| url.scheme_str() == Some("http") && url.authority().is_some();
        match text.parse::<Uri>() {
            Ok(url) if is_usable(&url) => Ok(Self(text.to_owned())),
            Ok(_) => Err(format!("\"{text}\" is no URL of a collector; write http://192.0.2.1:4317")),
            Err(error) => {
                Err(format!("\"{text}\" is no URL of a collector: {error}; write http://192.0.2.1:4317"))
            }
        }
    }
}

impl TryFrom<String> for Collector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The exporter, if there is one.
#[derive(Debug)]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Begins to log, and to send spans to a collector (OTLP over gRPC): one of each attach and each detach, with what is
    /// logged of it. A collector that is not there is tried again with the next spans; nothing waits for it. To be called
    /// in a tokio runtime.
    ///
    /// # Errors
    /// The exporter cannot be made.
    pub fn start(format: LogFormat, otlp: Option<&Collector>) -> anyhow::Result<Self> {
        // RUST_LOG chooses more or less, as everywhere.
        let filter = EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new("info,fjall=warn,lsm_tree=warn"));
        let log = tracing_subscriber::fmt::layer().with_target(false);
        let log = match format {
            LogFormat::Text => log.with_ansi(false).boxed(),
            // Of whom a line tells is in its one `span`.
            LogFormat::Json => log.json().flatten_event(true).with_span_list(false).boxed(),
        };
        let provider = otlp.map(provider).transpose()?;
        let spans = provider.as_ref().map(|provider| {
            // Not those of the exporter's own calls.
            let own = Targets::new().with_target("pipewright_agent", LevelFilter::INFO);
            tracing_opentelemetry::layer().with_tracer(provider.tracer("pwagent")).with_filter(own)
        });
        tracing_subscriber::registry().with(spans).with(log.with_filter(filter)).init();
        Ok(Self(provider))
    }

    /// Sends what was not sent yet, for some seconds at most.
    pub async fn end(self) {
        let Some(provider) = self.0 else { return };
        match tokio::task::spawn_blocking(move || provider.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans were not sent"),
            Err(error) => tracing::warn!(%error, "the exporter of spans did not end"),
        }
    }
}

fn provider(Collector(url): &Collector) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(url).build();
    let exporter = exporter.with_context(|| format!("--otlp {url}"))?;
    let mut about = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    if let Ok(name) = rustix::system::uname().nodename().to_str() {
        about.push(KeyValue::new("host.name", name.to_owned()));
    }
    let resource = Resource::builder().with_service_name("pwagent").with_attributes(about).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
