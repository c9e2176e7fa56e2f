//! What an agent tells of itself: metrics for Prometheus, and a log that says whose each line is.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::{AgentOptions, needs};
use serde_json::Value;

use crate::ask;
use crate::scene::{Scene, until};

/// Asks over HTTP/1, from the host.
fn ask_for(scene: &Scene, at: SocketAddr, line: &str) -> Result<String> {
    scene.host.inside().act(|| {
        let mut stream = TcpStream::connect(at)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        // In one piece: what cannot be read is answered, and the connection closed, at the end of its first line.
        stream.write_all(format!("{line} HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}

/// Where the agent says that its metrics are.
fn address(scene: &Scene) -> Result<SocketAddr> {
    let line = scene.agent.wait_line("ready", Duration::from_secs(10))?;
    let (_, rest) = line.split_once("metrics=").with_context(|| format!("no address in {line}"))?;
    Ok(rest.split(' ').next().unwrap_or_default().parse()?)
}

fn page(scene: &Scene) -> Result<String> {
    let answer = ask_for(scene, address(scene)?, "GET /metrics")?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    ensure!(answer.contains("content-type: application/openmetrics-text"), "{answer}");
    Ok(answer)
}

fn has(page: &str, line: &str) -> bool {
    page.lines().any(|found| found.trim_end() == line)
}

#[test]
fn metrics_tell_what_was_attached_refused_detached_and_lost() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs_with(AgentOptions::default().argument("--metrics").argument("0"))?;
    let (web, gone) = (scene.host.guest("web")?, scene.host.guest("gone")?);
    until("Open vSwitch is connected", || Ok(has(&page(&scene)?, "pipewright_ovsdb_connected 1")))?;

    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", web.reference()))?;
    scene.ctl(&format!("attach ovs0 {} --ip 192.0.2.11/24 --vlan 100", gone.reference()))?;
    let taken = scene.agent.ctl(&format!("attach br0 {} --ip 192.0.2.12/24", web.reference()))?;
    ask::refused(taken, "SPEC_DIFFERS", &[]);
    let there = page(&scene)?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    gone.kill()?;
    until("the dead guest's attachment is gone", || Ok(scene.agent.list()?.is_empty()))?;
    let after = page(&scene)?;

    for line in [
        "pipewright_attach_duration_seconds_count{kind=\"linux-bridge\",result=\"created\"} 1",
        "pipewright_attach_duration_seconds_count{kind=\"ovs\",result=\"created\"} 1",
        "pipewright_attach_duration_seconds_count{kind=\"unknown\",result=\"refused\"} 1",
        "pipewright_refusals_total{call=\"attach\",reason=\"SPEC_DIFFERS\"} 1",
        "pipewright_step_duration_seconds_count{step=\"create_veth\"} 2",
        "pipewright_step_duration_seconds_count{step=\"await_port\"} 1",
        "pipewright_attachments{state=\"attached\"} 2",
        "pipewright_runtime_up{runtime=\"docker\"} 0",
        "pipewright_ovsdb_reconnects_total 0",
    ] {
        assert!(has(&there, line), "{line} is not in\n{there}");
    }
    for line in [
        "pipewright_detach_duration_seconds_count{result=\"removed\"} 2",
        "pipewright_attachments_lost_total 1",
        "pipewright_attachments{state=\"attached\"} 0",
    ] {
        assert!(has(&after, line), "{line} is not in\n{after}");
    }
    scene.lab.finish()
}

#[test]
fn only_metrics_are_read_there_and_nothing_is_open_unless_asked_for() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux_with(AgentOptions::default().argument("--metrics").argument("127.0.0.1:0"))?;
    let at = address(&scene)?;

    assert!(ask_for(&scene, at, "GET /")?.starts_with("HTTP/1.1 404 "));
    assert!(ask_for(&scene, at, "POST /metrics")?.starts_with("HTTP/1.1 405 "));
    assert!(ask_for(&scene, at, "nonsense")?.starts_with("HTTP/1.1 400 "));
    assert!(at.ip().is_loopback() && page(&scene)?.contains("pipewright_build_info{version="));

    scene.restart()?;
    let listening = pipewright_tests::process::output(scene.host.inside().command("ss")?.args(["-Htln"]))?;
    assert_eq!(listening, "");
    scene.lab.finish()
}

#[test]
fn every_line_of_an_attach_and_its_detach_says_whose_it_is() -> Result<()> {
    needs!(Root);
    let options = AgentOptions::default().argument("--log-format").argument("json");
    let scene = Scene::linux_with(options.variable("RUST_LOG", "debug"))?;
    let web = scene.host.guest("web")?;

    let line = format!("-o json attach br0 {} --ip 192.0.2.10/24", web.reference());
    let id = scene.agent.ctl(&line)?.json()?["attachment"]["id"].as_str().context("an id")?.to_owned();
    scene.ctl(&format!("detach {id}"))?;
    let refused = scene.agent.ctl(&format!("attach nowhere {} --no-ip --kind macvlan", web.reference()))?;
    ask::refused(refused, "NO_UPLINK", &[]);

    let lines: Vec<Value> =
        scene.agent.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told = |message: &str| {
        let is_it = |line: &&Value| line["message"].as_str().is_some_and(|text| text.starts_with(message));
        lines.iter().find(is_it).with_context(|| format!("no line {message:?} in\n{lines:#?}"))
    };
    for message in ["attached", "detached"] {
        let span = &told(message)?["span"];
        assert_eq!(span["attachment"], id.as_str(), "{span}");
        assert_eq!(span["guest"], web.reference(), "{span}");
        assert!(span["request"].as_str().is_some_and(|request| request.len() == 36), "{span}");
    }
    let refused = told("attach refused")?;
    assert_eq!((&refused["level"], &refused["reason"]), (&Value::from("DEBUG"), &Value::from("NO_UPLINK")));
    assert_eq!(refused["span"]["guest"], web.reference());
    scene.lab.finish()
}
