//! Open vSwitch.

use anyhow::Result;
use pipewright_tests::{Lab, Reach, needs, reach};

use super::{Stage, id, pid};
use crate::scene::FOREIGN;

#[test]
fn vlans_of_one_switch_keep_containers_apart() -> Result<()> {
    needs!(Root, Ovs, Docker);
    let stage = Stage::with_ovs()?;
    let names = ["test1", "test2", "test3", "test4"];
    let guests: Vec<_> = names.iter().map(|name| stage.host.container(name)).collect::<Result<_>>()?;

    // The tutorial's "Docker VLANs on one host".
    stage.pipework("ovs0 $test1 192.0.2.1/24 @100")?;
    stage.pipework("ovs0 $test2 192.0.2.2/24 @100")?;
    stage.pipework("ovs0 $test3 192.0.2.3/24 @200")?;
    stage.pipework("ovs0 $test4 192.0.2.4/24 @200")?;

    for (from, to, address, expected) in [
        (0, 1, "192.0.2.2", Reach::BOTH),
        (2, 3, "192.0.2.4", Reach::BOTH),
        (0, 2, "192.0.2.3", Reach::NEITHER),
        (3, 1, "192.0.2.2", Reach::NEITHER),
    ] {
        let reached = reach(&guests[from].inside()?, &guests[to].inside()?, address.parse()?)?;
        assert_eq!(reached, expected, "{} to {}", names[from], names[to]);
    }
    stage.end()
}

#[test]
fn ports_have_pipeworks_names_tags_and_marks() -> Result<()> {
    needs!(Root, Ovs, Docker);
    let stage = Stage::with_ovs()?;
    let web = stage.host.container("web")?;
    let ovs = stage.host.ovs()?;

    // README, "Virtual LAN"; and "Support Open vSwitch", on a bridge that is there and called otherwise.
    stage.pipework("ovsbr0 $web 192.0.2.1/24 26:2e:71:98:60:8f@10")?;
    stage.pipework(&format!("{FOREIGN} -i eth2 $web 198.51.100.2/24"))?;

    let (pid, id) = (pid(&web)?, id(&web)?);
    let name = web.reference().trim_start_matches("docker:").to_owned();
    let get = |table: &str, port: &str, column: &str| -> Result<String> {
        Ok(ovs.vsctl(&format!("get {table} {port} {column}"))?.trim().trim_matches('"').to_owned())
    };
    let first = format!("veth1pl{pid}");
    assert_eq!(get("Port", &first, "tag")?, "10");
    for (key, value) in [
        ("interface", "eth1"),
        ("bridge", "ovsbr0"),
        ("containerid", id.as_str()),
        ("containername", &format!("/{name}")),
        ("nspid", &pid),
        ("vlan", "10"),
    ] {
        assert_eq!(get("Interface", &first, &format!("external_ids:pipework.{key}"))?, value, "{key}");
    }
    let second = format!("veth2pl{pid}");
    assert_eq!(
        (get("Port", &second, "tag")?.as_str(), get("Port", &second, "trunks")?.as_str()),
        ("[]", "[]")
    );
    assert_eq!(get("Interface", &second, "external_ids:pipework.bridge")?, FOREIGN);
    assert!(get("Interface", &second, "external_ids:pipework.vlan").is_err());

    // pipework leaves the port behind when the container ends.
    stage.agent.ctl(&format!("detach {}", web.reference()))?.ok()?;
    let ports = ovs.vsctl(&format!("list-ports {FOREIGN}"))?;
    assert!(!ports.contains(&second), "{ports}");
    stage.end()
}

#[test]
fn a_bridge_with_an_address_of_the_hosts_stays_when_its_last_port_goes() -> Result<()> {
    needs!(Root, Ovs, Docker);
    let stage = Stage::with_ovs()?;
    let web = stage.host.container("web")?;
    let bridges = || -> Result<Vec<String>> {
        Ok(stage.host.ovs()?.vsctl("list-br")?.lines().map(str::to_owned).collect())
    };

    for (address, after) in [(None, vec![FOREIGN]), (Some("192.0.2.254/24"), vec![FOREIGN, "ovs0"])] {
        stage.pipework("ovs0 $web 192.0.2.1/24 @100")?;
        if let Some(address) = address {
            stage.host.inside().ip(&format!("addr add {address} dev ovs0"))?;
        }
        stage.agent.ctl(&format!("detach {}", web.reference()))?.ok()?;

        assert_eq!(bridges()?, after);
    }
    stage.host.ovs()?.vsctl("del-br ovs0")?;
    stage.end()
}

#[test]
fn vlans_reach_from_host_to_host_over_a_trunk() -> Result<()> {
    needs!(Root, Ovs, Docker);
    let lab = Lab::new()?;
    let hosts = [lab.host("a")?, lab.host("b")?];
    for host in &hosts {
        host.ovs()?.add_bridge(FOREIGN)?;
    }
    let [one, other] = hosts;
    let agent = other.agent(pipewright_tests::AgentOptions::with_docker()?)?;
    let there = super::pipework(&other)?;
    let stage = Stage::on(lab, one)?;
    let con1 = stage.host.container("con1")?;
    let con2 = stage.host.container("con2")?;
    let con3 = other.container("con3")?;
    let con4 = other.container("con4")?;

    // The tutorial's "Docker VLANs on several hosts", on a bridge called ovs.
    stage.pipework("ovs $con1 192.0.2.1/24 @100")?;
    stage.pipework("ovs $con2 192.0.2.2/24 @200")?;
    for (guest, words) in [(&con3, "192.0.2.3/24 @100"), (&con4, "192.0.2.4/24 @200")] {
        let mut command = pipewright_tests::process::command(&there)?;
        command.args(["ovs", &id(guest)?]).args(words.split(' '));
        super::ask(&mut command, &agent, words)?.ok()?;
    }
    for host in [&stage.host, &other] {
        host.ovs()?.vsctl("add-port ovs eth1")?;
    }

    for (from, to, address, expected) in [
        (&con1, &con3, "192.0.2.3", Reach::BOTH),
        (&con2, &con4, "192.0.2.4", Reach::BOTH),
        (&con1, &con4, "192.0.2.4", Reach::NEITHER),
        (&con1, &con2, "192.0.2.2", Reach::NEITHER),
    ] {
        let reached = reach(&from.inside()?, &to.inside()?, address.parse()?)?;
        assert_eq!(reached, expected, "{} to {}", from.name(), to.name());
    }

    for host in [&stage.host, &other] {
        host.ovs()?.vsctl("del-port ovs eth1")?;
    }
    for guest in [&con3, &con4] {
        agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
    }
    stage.end()
}
