//! What `pwctl doctor` finds of a guest's surroundings: each harm is done on the real kernel, found, named, and gone from the
//! findings when it is undone.

use std::os::unix::net::UnixListener;

use anyhow::{Context as _, Result, ensure};
use pipewright_api::spec::{HostSpec, SwitchKind, SwitchSpec, UplinkSpec};
use pipewright_tests::netns::{Inside, Netns};
use pipewright_tests::process::{self, Process};
use pipewright_tests::{AgentOptions, Datapath, needs, skip};
use uuid::Uuid;

use crate::doctor::{assert_finds, findings};
use crate::drift::host_end;
use crate::scene::{Scene, asking, until, with_default_routes};

/// Runs a program in a namespace, of which it must say that it did well.
fn run(inside: &Inside, line: &str) -> Result<String> {
    let mut words = line.split(' ');
    process::output(inside.command(words.next().context("a program")?)?.args(words))
}

#[test]
fn a_forward_chain_that_drops_bridged_frames_is_found() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let inside = scene.host.inside();
    if run(inside, "sysctl -w net.bridge.bridge-nf-call-iptables=1").is_err() {
        skip!("kernel-lacks-br_netfilter", "frames between ports are shown to nobody");
    }
    let web = scene.host.guest("web")?;
    // Nothing of it while nothing is bridged.
    run(inside, "iptables-nft -P FORWARD DROP")?;
    assert_finds(&scene, "doctor", &[])?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", web.reference()))?;

    assert_finds(&scene, "doctor", &["FORWARD_FILTERED host"])?;
    let said = scene.ctl("doctor")?.stdout;
    ensure!(said.contains("table filter, chain FORWARD") && said.contains("physdev-is-bridged"), "{said}");
    run(inside, "sysctl -w net.bridge.bridge-nf-call-iptables=0")?;
    assert_finds(&scene, "doctor", &[])?;
    run(inside, "sysctl -w net.bridge.bridge-nf-call-iptables=1")?;
    run(inside, "iptables-nft -P FORWARD ACCEPT")?;
    assert_finds(&scene, "doctor", &[])?;

    // Tables of iptables-legacy are not seen, which is said.
    if run(inside, "iptables-legacy -t filter -S").is_ok() {
        assert_finds(&scene, "doctor", &["NOT_KNOWN host"])?;
    }
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn strict_filtering_of_a_link_that_no_default_route_leads_over_is_found() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let web = scene.host.guest("web")?;
    with_default_routes(&web)?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", web.reference()))?;
    let set = |to: u8| run(&web.inside()?, &format!("sysctl -w net.ipv4.conf.eth1.rp_filter={to}"));
    let found = format!("RP_FILTER_STRICT link eth1 in {}", web.reference());

    for (value, expected) in [(1, &[found.as_str()][..]), (2, &[]), (1, &[found.as_str()]), (0, &[])] {
        set(value)?;
        assert_finds(&scene, "doctor", expected).with_context(|| format!("rp_filter={value}"))?;
    }
    scene.ctl(&format!("detach {}", web.reference()))?;
    // With the default route over it nothing is dropped.
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24 --gateway 192.0.2.1", web.reference()))?;
    set(1)?;
    assert_finds(&scene, "doctor", &[])?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn an_address_that_somebody_else_has_too_is_found() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux_with(AgentOptions::reporting())?;
    let (web, other) = (scene.host.guest("web")?, scene.host.guest("other")?);
    scene.ctl(&format!("attach br0 {} --ip 2001:db8::10/64", web.reference()))?;
    scene.ctl(&format!("attach br0 {} --ip 2001:db8::11/64", other.reference()))?;

    web.ip("address delete 2001:db8::10/64 dev eth1")?;
    other.ip("address add 2001:db8::10/64 dev eth1 nodad")?;
    web.ip("address add 2001:db8::10/64 dev eth1")?;

    let found = format!("ADDRESS_DUPLICATE link eth1 in {}", web.reference());
    until("the duplicate is found", || Ok(findings(&scene, "doctor")?.0.contains(&found)))?;
    for guest in [&web, &other] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    scene.lab.finish()
}

#[test]
fn checksums_left_to_a_userspace_datapath_and_a_port_that_it_cannot_use_are_found() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs_with(AgentOptions::reporting())?;
    let web = scene.host.guest("web")?;
    scene.ctl(&format!("attach ovs0 {} --ip 192.0.2.10/24 --vlan 100", web.reference()))?;
    let port = host_end(&scene, &web)?;

    if Datapath::of_labs() == Datapath::Userspace {
        run(&web.inside()?, "ethtool -K eth1 tx on")?;
        assert_finds(&scene, "doctor", &[&format!("TX_OFFLOAD_ON link eth1 in {}", web.reference())])?;
        run(&web.inside()?, "ethtool -K eth1 tx off")?;
    }
    let ovs = scene.host.ovs()?;
    ovs.vsctl(&format!("--no-wait set interface {port} type=bogus"))?;
    let found = format!("PORT_ERROR port {port}");
    until("the error is found", || Ok(findings(&scene, "doctor")?.0.contains(&found)))?;
    ovs.vsctl(&format!("set interface {port} type=\"\""))?;
    until("it is gone", || Ok(findings(&scene, "doctor")?.0.is_empty()))?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_link_under_another_mac_address_or_name_is_found() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux_with(AgentOptions::reporting())?;
    let web = scene.host.guest("web")?;
    scene.ctl(&format!("attach br0 {} --no-ip", web.reference()))?;
    let mac = scene.agent.list()?[0]["mac"].as_str().context("a MAC address")?.to_owned();
    let found = |code: &str| format!("{code} link eth1 in {}", web.reference());

    web.ip("link set eth1 address 02:00:5e:10:00:99")?;
    assert_finds(&scene, "doctor", &[&found("LINK_DIFFERS")])?;
    web.ip(&format!("link set eth1 address {mac}"))?;
    assert_finds(&scene, "doctor", &[])?;

    web.ip("link set eth1 down")?;
    web.ip("link set eth1 name elsewhere")?;
    assert_finds(&scene, "doctor", &[&found("LINK_MISSING")])?;
    web.ip("link set elsewhere name eth1")?;
    web.ip("link set eth1 up")?;
    assert_finds(&scene, "doctor", &[])?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_link_of_somebody_else_under_the_name_of_ours_is_found() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux_with(AgentOptions::reporting())?;
    let web = scene.host.guest("web")?;
    scene.ctl(&format!("attach host {} --no-ip", web.reference()))?;

    web.ip("link set eth1 down")?;
    web.ip("link set eth1 name elsewhere")?;
    web.ip("link add eth1 type veth peer name theirs")?;
    assert_finds(&scene, "doctor", &[&format!("LINK_FOREIGN link eth1 in {}", web.reference())])?;
    web.ip("link del eth1")?;
    web.ip("link set elsewhere name eth1")?;
    web.ip("link set eth1 up")?;
    assert_finds(&scene, "doctor", &[])?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_guest_that_lives_on_without_its_name_is_found() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let nameless = Netns::add(format!("{}-nameless", scene.lab.name()))?;
    let mut holder = Process::spawn("sleep", nameless.inside().command("sleep")?.arg("1000"))?;
    let guest = format!("netns:{}", nameless.name());
    scene.ctl(&format!("attach br0 {guest} --ip 192.0.2.10/24"))?;
    until("sleep is in the namespace", || {
        let inside = std::fs::read_link(format!("/proc/{}/ns/net", holder.pid()))?;
        Ok(inside != std::fs::read_link("/proc/self/ns/net")?)
    })?;

    drop(nameless);
    let found = format!("GUEST_UNREACHABLE {guest}");
    assert_finds(&scene, "doctor", &[&found])?;
    assert_finds(&scene, "doctor --residue", &[&found])?;

    holder.kill9()?;
    until("its link is gone with it", || Ok(scene.agent.list()?.is_empty()))?;
    assert_finds(&scene, "doctor", &[])?;
    scene.lab.finish()
}

#[test]
fn a_capability_that_the_agent_lacks_is_found() -> Result<()> {
    needs!(Root);
    let setpriv = ["setpriv", "--bounding-set", "-net_broadcast,-sys_ptrace"];
    let scene = Scene::linux_with(AgentOptions::default().under(&setpriv))?;

    assert_finds(&scene, "doctor", &["CAPABILITY_MISSING host"])?;

    let said = scene.agent.ctl("doctor")?.stdout;
    ensure!(said.contains("CAP_NET_BROADCAST") && said.contains("CAP_SYS_PTRACE"), "{said}");
    scene.restart()?;
    assert_finds(&scene, "doctor", &[])?;
    scene.lab.finish()
}

#[test]
fn a_runtime_whose_socket_nobody_serves_is_found() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let socket = scene.host.dir().join("dead.sock");
    drop(UnixListener::bind(&socket)?);
    scene.agent.kill9()?;
    scene.agent.set_options(AgentOptions::default().docker(&format!("unix:{}", socket.display())));
    scene.agent.start()?;

    assert_finds(&scene, "doctor", &["RUNTIME_DOWN host"])?;
    // What was never there is not missed.
    std::fs::remove_file(&socket)?;
    assert_finds(&scene, "doctor", &[])?;
    scene.lab.finish()
}

#[test]
fn an_uplink_that_somebody_took_is_found_with_who_holds_it() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux_with(AgentOptions::reporting())?;
    let uplink = UplinkSpec { link: "eth1".parse()?, trunk: Default::default() };
    let switch = SwitchSpec { name: "br0".parse()?, kind: SwitchKind::LinuxBridge, uplink: Some(uplink) };
    let wanted = |switches: Vec<SwitchSpec>| -> Result<HostSpec> {
        Ok(HostSpec { fleet: "lab".parse()?, switches, attachments: Vec::new() })
    };
    let apply = |spec: HostSpec| {
        asking(async { Ok(scene.agent.client()?.apply(Uuid::new_v4(), &spec, false).await?) })
    };
    apply(wanted(vec![switch.clone()])?)?;
    assert_finds(&scene, "doctor", &[])?;

    let inside = scene.host.inside();
    inside.ip("link add theirs type bridge")?;
    inside.ip("link set eth1 master theirs")?;
    assert_finds(&scene, "doctor", &["UPLINK_UNPLUGGED link eth1"])?;
    let said = scene.agent.ctl("doctor")?.stdout;
    ensure!(said.contains("is held by theirs, not by br0 of fleet lab"), "{said}");
    inside.ip("link set eth1 nomaster")?;
    assert_finds(&scene, "doctor", &["UPLINK_UNPLUGGED link eth1"])?;

    apply(wanted(vec![switch])?)?;
    assert_finds(&scene, "doctor", &[])?;
    apply(wanted(Vec::new())?)?;
    inside.ip("link del theirs")?;
    scene.lab.finish()
}

#[test]
fn a_state_directory_that_is_nearly_full_or_read_only_is_found() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let state = scene.agent.state_dir().display().to_string();
    scene.agent.kill9()?;
    // In a mount namespace of the agent's own.
    let small = format!("mount -t tmpfs -o size=48m,mode=700 none {state} && exec \"$0\" \"$@\"");
    let under = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", &small];
    scene.agent.set_options(AgentOptions::default().under(&under));
    scene.agent.start()?;

    assert_finds(&scene, "doctor", &[&format!("STATE_DIR_FULL directory {state}")])?;

    let pid = scene.agent.pid().context("the agent runs")?.to_string();
    let mut cover = process::command("nsenter")?;
    cover.args(["--mount", "--target", &pid, "mount", "-t", "tmpfs", "-o", "ro", "none", &state]);
    process::output(&mut cover)?;
    assert_finds(&scene, "doctor", &[&format!("STATE_DIR_READ_ONLY directory {state}")])?;
    scene.restart()?;
    assert_finds(&scene, "doctor", &[])?;
    scene.lab.finish()
}
