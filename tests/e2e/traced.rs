//! Spans of attaches and detaches reach a collector of OpenTelemetry.

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use pipewright_tests::{AgentOptions, needs};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::scene::Scene;

const SENT: Duration = Duration::from_secs(20);

struct Collector(Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).map_err(|_| Status::unavailable("the story ended"))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    let found = attributes.iter().find(|one| one.key == key);
    match found.and_then(|one| one.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}

#[test]
fn a_collector_is_sent_a_span_of_each_attach_and_detach() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let web = scene.host.guest("web")?;
    let listener = scene.host.inside().act(|| Ok(std::net::TcpListener::bind("127.0.0.1:0")?))?;
    let url = format!("http://{}", listener.local_addr()?);
    listener.set_nonblocking(true)?;
    let (sender, sent) = channel();
    thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
            let collector = TraceServiceServer::new(Collector(sender));
            Ok(tonic::transport::Server::builder()
                .add_service(collector)
                .serve_with_incoming(incoming)
                .await?)
        })
    });
    scene.agent.kill9()?;
    scene.agent.set_options(AgentOptions::default().argument("--otlp").argument(&url));
    scene.agent.start()?;

    let request = Uuid::new_v4();
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24 --request-id {request}", web.reference()))?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    // What was not sent by then is sent at the end.
    scene.agent.terminate()?;

    let mut names = Vec::new();
    while names.len() < 2 {
        let sent = sent.recv_timeout(SENT).context("the collector was sent too little")?;
        for of_agent in sent.resource_spans {
            let about = of_agent.resource.context("spans tell whose they are")?.attributes;
            assert_eq!(text(&about, "service.name"), "pwagent");
            for span in of_agent.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                assert_eq!(text(&span.attributes, "guest"), web.reference(), "{span:?}");
                ensure!(span.end_time_unix_nano > span.start_time_unix_nano, "{span:?}");
                if span.name == "attach" {
                    assert_eq!(text(&span.attributes, "request"), request.to_string(), "{span:?}");
                }
                names.push(span.name);
            }
        }
    }
    assert_eq!(names, ["attach", "detach"]);
    scene.agent.start()?;
    scene.lab.finish()
}
