//! What cannot be is refused before anything has an effect: no step, no transaction, no question to Docker.

#[path = "../../proto/tests/refused/mod.rs"]
mod table;

use anyhow::{Context as _, Result, ensure};
use pipewright_api::reason::{Failure, Reason};
use pipewright_api::wire;
use pipewright_api::wire::agent_client::AgentClient;
use pipewright_api::wire::attachment_spec::{Addressing, Vlan};
use pipewright_api::wire::guest_client::GuestClient;
use pipewright_api::wire::host_client::HostClient;
use pipewright_tests::{AgentOptions, Guest, needs};
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::scene::{FOREIGN, Scene, asking};

/// An agent that notes its steps, and the file. Its Docker answers nobody, so asking it would be another refusal.
fn noting(scene: &Scene) -> Result<std::path::PathBuf> {
    let steps = scene.lab.dir().join("steps");
    scene.agent.kill9()?;
    scene.agent.set_options(
        AgentOptions::default()
            .binary("pwagent-faulty")
            .variable("PIPEWRIGHT_STEPS", &steps.display().to_string()),
    );
    scene.agent.start()?;
    Ok(steps)
}

async fn channel(scene: &Scene) -> Result<Channel> {
    Ok(tonic::transport::Endpoint::from_shared(scene.agent.endpoint())?.connect().await?)
}

/// How often somebody asked Open vSwitch for anything.
fn next_cfg(scene: &Scene) -> Result<String> {
    scene.host.ovs()?.vsctl("get Open_vSwitch . next_cfg")
}

fn named_field(status: &Status) -> Result<String> {
    let failure = Failure::from_status(status).with_context(|| format!("no refusal of ours: {status}"))?;
    ensure!(
        failure.reason() == Reason::InvalidField && status.code() == Code::InvalidArgument,
        "{failure:?}"
    );
    failure.fact("field").map(str::to_owned).context("the refusal names no field")
}

#[test]
fn every_request_that_cannot_be_is_refused_without_any_effect() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let steps = noting(&scene)?;
    let (before, asked_before) = (scene.snapshot()?, next_cfg(&scene)?);

    let (count, wrong) = asking(async {
        let channel = channel(&scene).await?;
        let (mut agent, mut host) = (AgentClient::new(channel.clone()), HostClient::new(channel.clone()));
        let mut guests = GuestClient::new(channel);
        let (mut count, mut wrong) = (0, Vec::new());
        let mut judge = |name: &str, field: &str, status: Option<Status>| {
            count += 1;
            match status.as_ref().map(named_field) {
                Some(Ok(named)) if named == field => {}
                Some(Ok(named)) => wrong.push(format!("{name}: names {named} instead of {field}")),
                Some(Err(error)) => wrong.push(format!("{name}: {error:#}")),
                None => wrong.push(format!("{name}: was taken")),
            }
        };
        for row in table::attach_rows() {
            let mut request = table::valid_attach();
            (row.spoil)(&mut request);
            judge(&row.name, &row.field, agent.attach(request).await.err());
        }
        for row in table::host_rows() {
            let mut request = table::valid_host();
            (row.spoil)(&mut request);
            judge(&row.name, &row.field, host.apply(request).await.err());
        }
        for row in table::traffic_rows() {
            let mut request = table::valid_traffic();
            (row.spoil)(&mut request);
            judge(&row.name, &row.field, guests.add_traffic(request.clone()).await.err());
            judge(&row.name, &row.field, guests.remove_traffic(table::removed(request)).await.err());
        }
        for (name, field, request) in detaches() {
            judge(name, field, agent.detach(request).await.err());
        }
        for (name, field, request) in waits() {
            judge(name, field, agent.wait(request).await.err());
        }
        Ok((count, wrong))
    })?;

    assert!(wrong.is_empty(), "{} of {count} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 600, "only {count} rows were sent");
    assert_eq!(std::fs::read_to_string(&steps)?, "", "steps were taken");
    assert_eq!(next_cfg(&scene)?, asked_before);
    before.assert_same(&scene.snapshot()?);
    assert_eq!(scene.agent.list()?.len(), 0);
    scene.lab.finish()
}

fn detaches() -> Vec<(&'static str, &'static str, wire::DetachRequest)> {
    use wire::detach_request::Target;
    let id = || Uuid::new_v4().to_string();
    let request = |request_id, target| wire::DetachRequest { request_id, target, dry_run: false };
    let link = |guest: &str, ifname: &str| {
        Some(Target::Link(wire::GuestLink { guest: guest.to_owned(), ifname: ifname.to_owned() }))
    };
    vec![
        ("detach without request id", "request_id", request(String::new(), link("web", ""))),
        ("detach of nothing", "target", request(id(), None)),
        ("detach of a strange id", "id", request(id(), Some(Target::Id("eth1".to_owned())))),
        ("detach of the host", "link.guest", request(id(), link("pid:1", ""))),
        ("detach of a path", "link.guest", request(id(), link("netns:/etc/passwd", ""))),
        ("detach of a strange name", "link.ifname", request(id(), link("web", "eth/1"))),
    ]
}

fn waits() -> Vec<(&'static str, &'static str, wire::WaitRequest)> {
    let wait = |guest: &str, ifname: &str, condition| wire::WaitRequest {
        guest: guest.to_owned(),
        ifname: ifname.to_owned(),
        condition,
        timeout: None,
    };
    vec![
        ("wait for nobody", "guest", wait("", "eth1", 1)),
        ("wait for the host", "guest", wait("pid:1", "eth1", 1)),
        ("wait for a strange name", "ifname", wait("web", "eth 1", 1)),
        ("wait for a strange condition", "condition", wait("web", "eth1", 17)),
    ]
}

/// What only the host knows to be wrong.
#[test]
fn what_does_not_fit_the_bridge_is_refused_without_any_effect() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let guest = scene.host.guest("web")?;
    // Without a link-local address, which would come a moment later by itself.
    scene.host.inside().ip("link add br7 mtu 1400 type bridge")?;
    scene.host.inside().ip("link set br7 addrgenmode none up")?;
    let steps = noting(&scene)?;
    let (before, asked_before) = (scene.snapshot()?, next_cfg(&scene)?);
    let vlan = Some(Vlan::AccessVlan(100));
    let cases = [
        ("spec.vlan", fitting(&guest, "br7", |spec| spec.vlan = vlan.clone())),
        ("spec.vlan", fitting(&guest, FOREIGN, |_| ())),
        ("spec.mtu", fitting(&guest, "br7", |spec| spec.mtu = 1401)),
        ("spec.kind", fitting(&guest, FOREIGN, |spec| spec.kind = wire::Kind::LinuxBridge.into())),
        (
            "spec.kind",
            fitting(&guest, "br7", |spec| {
                spec.kind = wire::Kind::Ovs.into();
                spec.vlan = vlan.clone();
            }),
        ),
    ];

    asking(async {
        let mut agent = AgentClient::new(channel(&scene).await?);
        for (field, request) in cases {
            let status = agent.attach(request.clone()).await.err().with_context(|| format!("{request:?}"))?;
            assert_eq!(named_field(&status)?, field, "{status}");
        }
        for (uplink, kind, reason) in [
            ("eth1", wire::Kind::LinuxBridge, Reason::NotSupportedHere),
            ("eth1", wire::Kind::Ipoib, Reason::NotSupportedHere),
            ("nosuch0", wire::Kind::LinuxBridge, Reason::NoUplink),
            ("nosuch0", wire::Kind::Ipoib, Reason::NoUplink),
        ] {
            let unfit = fitting(&guest, uplink, |spec| spec.kind = kind.into());
            let status = agent.attach(unfit).await.err().context(uplink)?;
            let failure = Failure::from_status(&status).context("a refusal")?;
            assert_eq!(failure.reason(), reason, "{failure}");
            assert!(failure.message().contains(uplink), "{failure}");
        }
        Ok(())
    })?;

    assert_eq!(std::fs::read_to_string(&steps)?, "", "steps were taken");
    assert_eq!(next_cfg(&scene)?, asked_before);
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

fn fitting(guest: &Guest, uplink: &str, change: impl Fn(&mut wire::AttachmentSpec)) -> wire::AttachRequest {
    let mut spec = wire::AttachmentSpec {
        guest: guest.reference().to_owned(),
        uplink: uplink.to_owned(),
        addressing: Some(Addressing::NoAddress(wire::NoAddress {})),
        ..wire::AttachmentSpec::default()
    };
    change(&mut spec);
    wire::AttachRequest { request_id: Uuid::new_v4().to_string(), spec: Some(spec), dry_run: false }
}
