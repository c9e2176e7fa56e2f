//! What the tutorials do by hand: namespaces of `ip netns`, and a container's link made of `ip` commands, beside the one line that
//! does the same.

use anyhow::Result;
use pipewright_tests::{Guest, Host, Reach, needs, reach};
use serde_json::Value;

use super::{Stage, addresses, pid, routes};

#[test]
fn named_namespaces_are_guests_like_containers() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let (ns1, ns2) = (stage.host.guest("ns1")?, stage.host.guest("ns2")?);
    let test1 = stage.host.container("test1")?;

    // The tutorial joins two namespaces by a pair of veths and needs a bridge for the third: a container, which `ip netns` sees
    // only when its namespace was linked by hand.
    stage.pipework(&format!("br0 -i veth-a {} 192.0.2.1/24", ns1.reference()))?;
    stage.pipework(&format!("br0 -i veth-b {} 192.0.2.2/24", ns2.reference()))?;
    stage.pipework(&format!("br0 pid:{} 192.0.2.3/24", pid(&test1)?))?;
    stage.host.inside().ip("address add 192.0.2.254/24 dev br0")?;

    for (from, to, address) in [
        (ns1.inside()?, ns2.inside()?, "192.0.2.2"),
        (ns2.inside()?, test1.inside()?, "192.0.2.3"),
        (stage.host.inside().clone(), ns1.inside()?, "192.0.2.1"),
        (test1.inside()?, stage.host.inside().clone(), "192.0.2.254"),
    ] {
        assert_eq!(reach(&from, &to, address.parse()?)?, Reach::BOTH, "to {address}");
    }
    // Each side has the subnet's route, and the link is up without `ip link set dev lo up` and the rest.
    assert!(ns1.ip("route show")?.contains("192.0.2.0/24 dev veth-a"));
    stage.host.inside().ip("address del 192.0.2.254/24 dev br0")?;
    stage.end()
}

/// The tutorials' eight commands, which are also what their trace of pipework shows.
fn by_hand(host: &Host, guest: &Guest, bridge: &str) -> Result<()> {
    let pid = pid(guest)?;
    for words in [
        format!("link add name veth0pl{pid} mtu 1500 type veth peer name veth0pg{pid} mtu 1500"),
        format!("link set veth0pl{pid} master {bridge}"),
        format!("link set veth0pl{pid} up"),
        format!("link set veth0pg{pid} netns {pid}"),
    ] {
        host.inside().ip(&words)?;
    }
    for words in [
        format!("link set veth0pg{pid} name eth0"),
        "addr add 192.0.2.33/24 brd 192.0.2.255 dev eth0".to_owned(),
        "link set eth0 up".to_owned(),
        "route replace default via 192.0.2.1".to_owned(),
    ] {
        guest.ip(&words)?;
    }
    Ok(())
}

/// What `ip -j addr` shows of a link that two ways of making it must agree on.
fn shape(guest: &Guest, ifname: &str) -> Result<Value> {
    let link = super::link(guest, ifname)?;
    let address = |info: &Value| {
        ["family", "local", "prefixlen", "broadcast", "scope"].map(|key| info[key].clone()).to_vec()
    };
    let global = link["addr_info"].as_array().into_iter().flatten().filter(|info| info["scope"] == "global");
    let addresses: Vec<_> = global.map(address).collect();
    Ok(serde_json::json!([link["ifname"], link["mtu"], link["operstate"], link["qdisc"], addresses]))
}

#[test]
fn one_line_makes_what_the_tutorials_make_by_hand() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let (test, test01) = (stage.host.container("test")?, stage.host.container("test01")?);
    stage.host.inside().ip("link add br1 up type bridge")?;

    by_hand(&stage.host, &test, "br1")?;
    stage.pipework("br1 -i eth0 $test01 192.0.2.33/24@192.0.2.1")?;

    assert_eq!(shape(&test01, "eth0")?, shape(&test, "eth0")?);
    assert_eq!((routes(&test01)?, addresses(&test01, "eth0")?), (routes(&test)?, addresses(&test, "eth0")?));
    for guest in [&test, &test01] {
        let port = stage.host.inside().ip_json(&format!("link show dev veth0pl{}", pid(guest)?))?;
        assert_eq!(
            (&port[0]["master"], &port[0]["operstate"], &port[0]["mtu"]),
            (&"br1".into(), &"UP".into(), &1500.into())
        );
    }
    // The reverse that the tutorial's author writes is for what was made by hand.
    test.ip("link del eth0")?;
    stage.agent.ctl(&format!("detach {}", test01.reference()))?.ok()?;
    stage.host.inside().ip("link del br1")?;
    stage.end()
}

#[test]
fn a_bridge_with_the_hosts_nic_has_its_containers_in_the_lan() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let office = stage.lab.host("office")?;
    let con4 = stage.host.container("con4")?;
    office.inside().ip("address add 192.0.2.254/24 dev eth1")?;

    // The tutorial's bridge of containers in the local network. Its NIC has no address here that would have to be moved.
    stage.pipework("br1 $con4 192.0.2.11/24@192.0.2.254")?;
    stage.host.inside().ip("link set eth1 master br1")?;

    assert_eq!(reach(&con4.inside()?, office.inside(), "192.0.2.254".parse()?)?, Reach::BOTH);
    assert_eq!(routes(&con4)?, ["default via 192.0.2.254 dev eth1"]);
    stage.host.inside().ip("link set eth1 nomaster")?;
    office.inside().ip("address del 192.0.2.254/24 dev eth1")?;
    stage.end()
}
