//! The same work by pipework itself and by the front. What pipework makes was recorded by hand, so that the front is compared
//! with it everywhere; `PIPEWORK_SCRIPT=/path/to/pipework make test` runs the script as well.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::{Docker, Guest, needs, process, skip};

use super::{Stage, id, pid};
use crate::scene::FOREIGN;

/// A line, and what an operator sees of it then: in the guest, in the host, in Open vSwitch. `BRIDGE` is one of Open vSwitch.
const RECORDED: [(&str, &[&str]); 9] = [
    (
        "br1 $web 192.0.2.1/24",
        &[
            "guest: eth1 mtu 1500 UP 192.0.2.1/24 brd 192.0.2.255 qdisc noqueue",
            "guest: route 192.0.2.0/24 dev eth1 proto kernel scope link src 192.0.2.1",
            "host: veth1plPID mtu 1500 UP in br1",
        ],
    ),
    (
        "br1 -i eth0 $web 192.0.2.33/24@192.0.2.254",
        &[
            "guest: eth0 mtu 1500 UP 192.0.2.33/24 brd 192.0.2.255 qdisc noqueue",
            "guest: route 192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.33",
            "guest: route default via 192.0.2.254 dev eth0",
            "host: veth0plPID mtu 1500 UP in br1",
        ],
    ),
    (
        "br1 -i eth2 -l hostapp1 $web 198.51.100.25/20",
        &[
            "guest: eth2 mtu 1500 UP 198.51.100.25/20 brd 198.51.111.255 qdisc noqueue",
            "guest: route 198.51.96.0/20 dev eth2 proto kernel scope link src 198.51.100.25",
            "host: hostapp1 mtu 1500 UP in br1",
        ],
    ),
    (
        "br1 $web 192.0.2.36/32@198.51.100.1",
        &[
            "guest: eth1 mtu 1500 UP 192.0.2.36/32 qdisc noqueue",
            "guest: route 198.51.100.1 dev eth1 scope link",
            "guest: route default via 198.51.100.1 dev eth1",
            "host: veth1plPID mtu 1500 UP in br1",
        ],
    ),
    ("br1 $web 0/0", &["guest: eth1 mtu 1500 UP qdisc noqueue", "host: veth1plPID mtu 1500 UP in br1"]),
    (
        "br1 $web 192.0.2.2/24 26:2e:71:98:60:8f",
        &[
            "guest: eth1 mtu 1500 UP 26:2e:71:98:60:8f 192.0.2.2/24 brd 192.0.2.255 qdisc noqueue",
            "guest: route 192.0.2.0/24 dev eth1 proto kernel scope link src 192.0.2.2",
            "host: veth1plPID mtu 1500 UP in br1",
        ],
    ),
    (
        "br1 $web 192.0.2.2/24 U:myhost.foo.com",
        &[
            "guest: eth1 mtu 1500 UP 02:72:6c:cd:9b:8d 192.0.2.2/24 brd 192.0.2.255 qdisc noqueue",
            "guest: route 192.0.2.0/24 dev eth1 proto kernel scope link src 192.0.2.2",
            "host: veth1plPID mtu 1500 UP in br1",
        ],
    ),
    (
        "BRIDGE $web 192.0.2.1/24 @100",
        &[
            "guest: eth1 mtu 1500 UP 192.0.2.1/24 brd 192.0.2.255 qdisc noqueue",
            "guest: route 192.0.2.0/24 dev eth1 proto kernel scope link src 192.0.2.1",
            "host: veth1plPID mtu 1500 UP",
            "ovs: veth1plPID of BRIDGE tag 100",
            "ovs: veth1plPID pipework.bridge=BRIDGE",
            "ovs: veth1plPID pipework.containerid=ID",
            "ovs: veth1plPID pipework.containername=/NAME",
            "ovs: veth1plPID pipework.interface=eth1",
            "ovs: veth1plPID pipework.nspid=PID",
            "ovs: veth1plPID pipework.vlan=100",
        ],
    ),
    (
        "eth1 $web 192.0.2.10/24@192.0.2.1",
        &[
            "guest: eth1 mtu 1500 UP 192.0.2.10/24 brd 192.0.2.255 qdisc noqueue",
            "guest: route 192.0.2.0/24 dev eth1 proto kernel scope link src 192.0.2.10",
            "guest: route default via 192.0.2.1 dev eth1",
        ],
    ),
];

/// Everything that a line made, with what differs from container to container left out.
fn seen(stage: &Stage, web: &Guest, line: &str) -> Result<BTreeSet<String>> {
    let (pid, id) = (pid(web)?, id(web)?);
    let name = web.reference().trim_start_matches("docker:");
    let mut lines = BTreeSet::new();
    for link in web.inside()?.ip_json("addr show")? {
        let text = |key: &str| link[key].as_str().unwrap_or_default().to_owned();
        if text("ifname") == "lo" {
            continue;
        }
        // A macvlan has no state of its own where its parent is elsewhere.
        let state = text("operstate").replace("UNKNOWN", "UP");
        let mut line = format!("guest: {} mtu {} {state}", text("ifname"), link["mtu"]);
        if ["26:2e:71:98:60:8f", "02:72:6c:cd:9b:8d"].contains(&text("address").as_str()) {
            line += &format!(" {}", text("address"));
        }
        for address in link["addr_info"].as_array().into_iter().flatten() {
            if address["scope"] == "global" {
                let value = |key: &str| address[key].as_str().unwrap_or("none").to_owned();
                line += &format!(" {}/{}", value("local"), address["prefixlen"]);
                // A subnet of one address has nobody to broadcast to; pipework gives it its own.
                if address["prefixlen"] != 32 {
                    line += &format!(" brd {}", value("broadcast"));
                }
            }
        }
        lines.insert(format!("{line} qdisc {}", text("qdisc")));
    }
    lines.extend(web.ip("-4 route show")?.lines().map(|route| format!("guest: route {}", route.trim())));
    let rules = web.ip("rule show")?;
    ensure!(rules.lines().count() == 3, "rules that nobody asked for: {rules}");
    for link in stage.host.inside().ip_json("link show")? {
        let name = link["ifname"].as_str().unwrap_or_default();
        if name.ends_with(&pid) || name == "hostapp1" {
            let bridge = link["master"].as_str().filter(|master| *master != "ovs-system");
            let bridge = bridge.map(|bridge| format!(" in {bridge}")).unwrap_or_default();
            let state = link["operstate"].as_str().unwrap_or_default();
            lines.insert(format!("host: {name} mtu {} {state}{bridge}", link["mtu"]));
        }
    }
    if line.contains("BRIDGE") {
        let port = format!("veth1pl{pid}");
        let ovs = stage.host.ovs()?;
        let tag = ovs.vsctl(&format!("get Port {port} tag"))?;
        let bridge = ovs.vsctl(&format!("port-to-br {port}"))?;
        lines.insert(format!("ovs: {port} of {} tag {}", bridge.trim(), tag.trim()));
        let marks = ovs.vsctl(&format!("get Interface {port} external_ids"))?;
        let marks = marks.trim().trim_matches(['{', '}']).replace('"', "");
        let marks = marks.split(", ").filter(|mark| mark.starts_with("pipework."));
        lines.extend(marks.map(|mark| format!("ovs: {port} {mark}")));
    }
    let plain = |line: String| {
        line.replace(&id, "ID").replace(name, "NAME").replace(&pid, "PID").replace(FOREIGN, "BRIDGE")
    };
    Ok(lines.into_iter().map(plain).collect())
}

/// Each line on a container of its own, made by this; and what was seen of it.
fn each(stage: &Stage, make: impl Fn(&str, &Arc<Guest>) -> Result<()>) -> Result<Vec<BTreeSet<String>>> {
    let mut all = Vec::new();
    for (number, (line, _)) in RECORDED.iter().enumerate() {
        let web = stage.host.container(&format!("web{number}"))?;
        let asked = line.replace("BRIDGE", FOREIGN).replace("$web", &id(&web)?);
        make(&asked, &web).with_context(|| format!("pipework {line}"))?;
        all.push(seen(stage, &web, line).with_context(|| format!("pipework {line}"))?);
        let port = format!("veth1pl{}", pid(&web)?);
        web.kill()?;
        // The script's own port stays otherwise.
        stage.host.ovs()?.vsctl(&format!("--if-exists del-port {port}"))?;
    }
    Ok(all)
}

fn compare(found: &[BTreeSet<String>]) {
    for ((line, expected), found) in RECORDED.iter().zip(found) {
        let expected: BTreeSet<String> = expected.iter().map(|&line| line.to_owned()).collect();
        assert_eq!(*found, expected, "pipework {line}");
    }
}

#[test]
fn the_front_makes_what_pipework_was_seen_to_make() -> Result<()> {
    needs!(Root, Ovs, Docker, Macvlan);
    let stage = Stage::with_ovs()?;
    stage.host.inside().ip("link add br1 up type bridge")?;

    let found = each(&stage, |line, _| stage.pipework(line))?;

    compare(&found);
    stage.host.inside().ip("link del br1")?;
    stage.end()
}

#[test]
fn pipework_itself_makes_what_it_was_seen_to_make() -> Result<()> {
    needs!(Root, Ovs, Docker, Macvlan);
    let Some(script) = std::env::var_os("PIPEWORK_SCRIPT").map(PathBuf::from) else {
        skip!("no-pipework-script", "PIPEWORK_SCRIPT names no copy of pipework");
    };
    let stage = Stage::with_ovs()?;
    stage.host.inside().ip("link add br1 up type bridge")?;

    let found = each(&stage, |line, _| {
        // It looks at the host in /sys, which `ip netns exec` mounts for the namespace.
        let mut command = process::command("ip")?;
        command.args(["netns", "exec", stage.host.netns().name(), "sh"]).arg(&script);
        command.args(line.split(' ')).env("OVS_RUNDIR", stage.host.ovs()?.dir());
        command.env("DOCKER_HOST", Docker::shared()?.endpoint().replace("unix:", "unix://"));
        process::output(&mut command).map(drop)
    })?;

    compare(&found);
    stage.host.inside().ip("link del br1")?;
    stage.end()
}
