//! The table of `docs/pipework.md`: each line of pipework's asks for what its twin asks for.

use clap::Parser as _;
use pipewright_api::attachment::{GuestIdentity, Runtime};
use pipewright_api::host::{Bridge, Capability, HostFacts, HostLink};
use pipewright_api::labels::Labels;
use pipewright_api::spec::{Addressing, AttachmentSpec, SwitchKind};
use pipewright_lines::pipework::{Form, parse, spec};

use crate::args::{Cli, Command};

/// The host and the guest of the table.
fn facts() -> (HostFacts, GuestIdentity) {
    let bridge =
        |name: &str, kind| Bridge { name: name.to_owned(), kind, mtu: 1500, ports: Vec::new(), ours: false };
    let link = |name: &str, hardware: &str| HostLink {
        name: name.to_owned(),
        mac: String::new(),
        hardware: hardware.to_owned(),
        mtu: 1500,
        operstate: "up".to_owned(),
        addresses: Vec::new(),
        holder: String::new(),
    };
    let ovs = Capability { name: "ovs".to_owned(), present: true, detail: String::new() };
    let host = HostFacts {
        bridges: vec![bridge("br1", SwitchKind::LinuxBridge), bridge("ovs0", SwitchKind::Ovs)],
        links: vec![link("eth1", "ether"), link("ib0", "infiniband")],
        capabilities: vec![ovs],
        ..HostFacts::default()
    };
    let guest = GuestIdentity {
        runtime: Runtime::Docker,
        id: "0123456789ab".to_owned(),
        name: "web".to_owned(),
        pid: Some(7),
        netns_cookie: 1,
        started_at: String::new(),
    };
    (host, guest)
}

/// Words as a shell makes them, with double quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (number, part) in line.split('"').enumerate() {
        let mut pieces = if number % 2 == 1 { vec![part] } else { part.split(' ').collect() }.into_iter();
        if let (Some(last), Some(piece)) = (words.last_mut(), pieces.next()) {
            last.push_str(piece);
        }
        words.extend(pieces.map(str::to_owned));
    }
    words
}

/// The first text between backquotes.
fn quoted(cell: &str) -> Option<&str> {
    cell.split('`').nth(1)
}

/// What pipework names and marks and a twin leaves to the agent is left out, and so is what a twin leaves open.
fn alike(mut line: AttachmentSpec, twin: &AttachmentSpec) -> AttachmentSpec {
    line.labels = Labels::default();
    if twin.host_ifname.is_none() {
        line.host_ifname = None;
    }
    if twin.kind.is_none() {
        line.kind = None;
    }
    if let (Addressing::Dhcp(asked), Addressing::Dhcp(open)) = (&mut line.addressing, &twin.addressing)
        && open.hostname.is_none()
    {
        asked.hostname = None;
    }
    line
}

#[test]
fn each_line_beside_its_twin_asks_for_the_same() {
    let (host, guest) = facts();
    let table = include_str!("../../../docs/pipework.md");
    let rows = table.lines().filter_map(|row| {
        let mut cells = row.strip_prefix("| `pipework ")?.split(" | ");
        let line = cells.next()?.split('`').next()?;
        Some((line, quoted(cells.next()?)?)).filter(|(_, twin)| twin.starts_with("pwctl attach "))
    });
    let mut compared = 0;
    for (line, twin) in rows {
        let parsed = parse(&words(line), false);
        let Ok(Form::Attach(form)) = parsed else { panic!("pipework {line}: {parsed:?}") };
        let asked = spec(&form, &host, &guest).unwrap_or_else(|why| panic!("pipework {line}: {why:?}"));
        let Command::Attach(attach) =
            Cli::try_parse_from(words(twin)).unwrap_or_else(|why| panic!("{why}")).command
        else {
            panic!("{twin}")
        };
        let twin = attach.spec().unwrap_or_else(|why| panic!("{line}: {why}"));

        assert_eq!(alike(asked, &twin), twin, "pipework {line}");
        compared += 1;
    }
    assert!(compared > 15, "only {compared} rows were found");
}
