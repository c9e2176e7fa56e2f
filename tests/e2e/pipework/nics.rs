//! NICs of the host, and links that lead nowhere.

use anyhow::Result;
use pipewright_tests::{Reach, Snapshot, needs, reach};

use super::{Stage, addresses, link, routes};

#[test]
fn containers_on_a_nic_reach_each_other_and_not_their_host() -> Result<()> {
    needs!(Root, Docker, Macvlan);
    let stage = Stage::plain()?;
    let test1 = stage.host.container("test1")?;
    let test2 = stage.host.container("test2")?;
    stage.host.inside().ip("address add 192.0.2.145/24 dev eth1")?;
    let mac = stage.host.inside().ip_json("link show dev eth1")?[0]["address"]
        .as_str()
        .unwrap_or_default()
        .to_uppercase();
    let before = Snapshot::take(&stage.host)?;

    // README, "Connect a container to a local physical interface", and the tutorial's first method; then by the NIC's
    // MAC address, in upper case, which never matches in pipework.
    stage.pipework("eth1 $test1 192.0.2.10/24@192.0.2.1")?;
    stage.pipework(&format!("mac:{mac} $test2 192.0.2.11/24 26:2e:71:98:60:8f"))?;

    let (one, two) = (test1.inside()?, test2.inside()?);
    assert_eq!(addresses(&test1, "eth1")?, ["192.0.2.10/24"]);
    assert_eq!(routes(&test1)?, ["default via 192.0.2.1 dev eth1"]);
    assert_eq!(link(&test2, "eth1")?["address"], "26:2e:71:98:60:8f");
    assert_eq!(reach(&one, &two, "192.0.2.11".parse()?)?, Reach::BOTH);
    assert_eq!(reach(&one, stage.host.inside(), "192.0.2.145".parse()?)?, Reach::NEITHER);

    for guest in [&test1, &test2] {
        stage.agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
    }
    before.wait_same(&stage.host)?;
    stage.host.inside().ip("address del 192.0.2.145/24 dev eth1")?;
    stage.end()
}

#[test]
fn a_host_with_a_macvlan_of_its_own_reaches_its_containers() -> Result<()> {
    needs!(Root, Docker, Macvlan);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;
    let host = stage.host.inside();
    host.ip("address add 192.0.2.123/24 dev eth1")?;

    // README, "Let the Docker host communicate over macvlan interfaces": the host's address moves to a macvlan of the host's.
    for words in [
        "address del 192.0.2.123/24 dev eth1",
        "link add link eth1 name eth1m type macvlan mode bridge",
        "link set eth1m up",
        "address add 192.0.2.123/24 dev eth1m",
    ] {
        host.ip(words)?;
    }
    stage.pipework("eth1 $web 192.0.2.234/24@192.0.2.254")?;

    assert_eq!(reach(host, &web.inside()?, "192.0.2.234".parse()?)?, Reach::BOTH);
    assert_eq!(reach(&web.inside()?, host, "192.0.2.123".parse()?)?, Reach::BOTH);
    stage.agent.ctl(&format!("detach {}", web.reference()))?.ok()?;
    // Which is the host's own, and stays.
    assert!(host.ip("address show dev eth1m")?.contains("192.0.2.123/24"));
    host.ip("link del eth1m")?;
    stage.end()
}

#[test]
fn a_vlan_of_a_nic_is_made_for_its_containers_and_goes_with_the_last() -> Result<()> {
    needs!(Root, Macvlan, Vlan);
    let stage = Stage::plain_without_docker()?;
    let web = stage.host.guest("web")?;
    let before = Snapshot::take(&stage.host)?;

    // README, "Virtual LAN", for a physical interface; then the VLAN itself for the guest.
    for direct in ["", "--direct-phys "] {
        stage.pipework(&format!("{direct}eth1 {} 192.0.2.10/24 @100", web.reference()))?;
        assert_eq!(addresses(&web, "eth1")?, ["192.0.2.10/24"]);
        assert_eq!(stage.host.inside().has_link("eth1.100")?, direct.is_empty());
        stage.agent.ctl(&format!("detach {}", web.reference()))?.ok()?;
    }

    before.wait_same(&stage.host)?;
    stage.end()
}

#[test]
fn a_dummy_leads_nowhere() -> Result<()> {
    needs!(Root, Dummy);
    let stage = Stage::plain_without_docker()?;
    let web = stage.host.guest("web")?;

    // README, "Add a dummy interface".
    stage.pipework(&format!("dummy {} 192.0.2.101/24@192.0.2.1", web.reference()))?;

    assert_eq!(addresses(&web, "eth1")?, ["192.0.2.101/24"]);
    assert_eq!(routes(&web)?, ["default via 192.0.2.1 dev eth1"]);
    stage.end()
}

#[test]
fn a_nic_itself_is_given_to_a_container_once_and_comes_back() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;
    let host = stage.host.inside();
    host.ip("address add 192.0.2.145/24 dev eth1")?;
    let mac = host.ip_json("link show dev eth1")?[0]["address"].as_str().unwrap_or_default().to_owned();
    let before = Snapshot::take(&stage.host)?;

    // README, "Using physical interfaces directly"; the second time by the NIC's MAC address, as the README advises.
    for nic in ["eth1", &format!("mac:{mac}")] {
        let line = format!("--direct-phys {nic} $web 192.0.2.10/24@192.0.2.1");
        stage.pipework(&line)?;
        assert!(!host.has_link("eth1")?);
        assert_eq!(link(&web, "eth1")?["address"], mac.as_str());
        assert_eq!(addresses(&web, "eth1")?, ["192.0.2.10/24"]);
        assert_eq!(routes(&web)?, ["default via 192.0.2.1 dev eth1"]);
        let again = stage.run(&line)?;
        assert_eq!(
            (again.code, again.stdout.as_str()),
            (1, "Link eth1 exists and is up\n"),
            "{}",
            again.stderr
        );

        stage.agent.ctl(&format!("detach {}", web.reference()))?.ok()?;
        before.wait_same(&stage.host)?;
    }
    let unknown = stage.run("--direct-phys nosuch0 $web 0/0")?;
    assert_eq!(unknown.code, 1, "{}", unknown.stdout);
    assert!(unknown.stderr.contains("I do not know how to setup interface nosuch0."), "{}", unknown.stderr);

    host.ip("address del 192.0.2.145/24 dev eth1")?;
    stage.end()
}

#[test]
fn direct_phys_says_nothing_of_a_bridge() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;
    let before = Snapshot::take(&stage.host)?;

    stage.pipework("--direct-phys br1 $web 192.0.2.10/24")?;
    assert_eq!(addresses(&web, "eth1")?, ["192.0.2.10/24"]);
    assert!(stage.host.inside().has_link("br1")?);
    stage.agent.ctl(&format!("detach {}", web.reference()))?.ok()?;

    before.wait_same(&stage.host)?;
    stage.end()
}
