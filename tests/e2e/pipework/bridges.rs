//! Linux bridges.

use anyhow::Result;
use pipewright_tests::{Reach, Snapshot, needs, reach};
use serde_json::json;

use super::{Stage, addresses, id, link, pid, routes};

#[test]
fn two_containers_on_a_bridge_that_did_not_exist_reach_each_other() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let apache = stage.host.container("apache")?;
    let mysql = stage.host.container("mysql")?;
    let other = stage.host.container("other")?;

    // README, "LAMP stack"; the third is of the tutorial that has containers con1 to con3.
    stage.pipework("br1 $apache 192.0.2.1/24")?;
    stage.pipework("br1 $mysql 192.0.2.2/24")?;
    stage.pipework("br1 $other 198.51.100.2/24")?;

    for guest in [&apache, &mysql, &other] {
        let host_end = format!("veth1pl{}", pid(guest)?);
        let port = stage.host.inside().ip_json(&format!("link show dev {host_end}"))?;
        assert_eq!((&port[0]["master"], &port[0]["operstate"]), (&json!("br1"), &json!("UP")), "{host_end}");
    }
    let (from, to, apart) = (apache.inside()?, mysql.inside()?, other.inside()?);
    assert_eq!(reach(&from, &to, "192.0.2.2".parse()?)?, Reach::BOTH);
    assert_eq!(reach(&from, &apart, "198.51.100.2".parse()?)?, Reach::NEITHER);
    // README, "Peeking inside the private network".
    stage.host.inside().ip("addr add 192.0.2.254/24 dev br1")?;
    assert_eq!(reach(stage.host.inside(), &from, "192.0.2.1".parse()?)?, Reach::BOTH);

    // The bridge is the host's own link now, and stays.
    for guest in [&apache, &mysql, &other] {
        stage.agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
    }
    assert!(stage.host.inside().ip("addr show dev br1")?.contains("192.0.2.254/24"));
    stage.host.inside().ip("link del br1")?;
    stage.end()
}

#[test]
fn names_netmask_and_gateway_are_as_the_line_says() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let test = stage.host.container("test")?;
    stage.host.inside().ip("link add br1 up type bridge")?;

    // The tutorial that traces pipework, and README, "Setting host interface name" and "Using a different netmask".
    stage.pipework("br1 -i eth0 $test 192.0.2.33/24@192.0.2.1")?;
    stage.pipework("br1 -i eth2 -l hostapp1 $test 198.51.100.25/20")?;

    assert_eq!(addresses(&test, "eth0")?, ["192.0.2.33/24"]);
    assert_eq!(addresses(&test, "eth2")?, ["198.51.100.25/20"]);
    assert_eq!(routes(&test)?, ["default via 192.0.2.1 dev eth0"]);
    assert!(stage.host.inside().has_link(&format!("veth0pl{}", pid(&test)?))?);
    assert!(stage.host.inside().has_link("hostapp1")?);

    // The reverse, which the tutorial has to write itself.
    stage.agent.ctl(&format!("detach {}", test.reference()))?.ok()?;
    assert!(!test.inside()?.has_link("eth0")?);
    stage.host.inside().ip("link del br1")?;
    stage.end()
}

#[test]
fn a_default_route_is_replaced_and_comes_back() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let test01 = stage.host.container("test01")?;
    for words in [
        "link add eth0 up type veth peer name nowhere",
        "link set nowhere up",
        "addr add 198.51.100.10/24 dev eth0",
        "route add default via 198.51.100.1 dev eth0",
    ] {
        test01.ip(words)?;
    }
    let before = routes(&test01)?;

    stage.pipework("br0 $test01 192.0.2.36/24@192.0.2.1")?;
    let during = routes(&test01)?;
    stage.agent.ctl(&format!("detach {}", test01.reference()))?.ok()?;

    assert!(during.contains(&"default via 192.0.2.1 dev eth1".to_owned()), "{during:?}");
    assert_eq!(during.iter().filter(|route| route.starts_with("default")).count(), 1, "{during:?}");
    assert_eq!(routes(&test01)?, before);
    stage.end()
}

#[test]
fn a_gateway_outside_the_subnet_is_reached_by_a_host_route() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;

    stage.pipework("br0 $web 192.0.2.36/32@198.51.100.1")?;

    assert_eq!(routes(&web)?, ["default via 198.51.100.1 dev eth1", "198.51.100.1 dev eth1 scope link"]);
    stage.end()
}

#[test]
fn a_link_without_address_is_up_and_may_have_a_gateway() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;

    // README, "Add the interface without an IP address".
    stage.pipework("br1 $web 0/0")?;
    stage.pipework("br1 -i eth2 $web 0/0@192.0.2.1")?;

    for ifname in ["eth1", "eth2"] {
        assert_eq!(addresses(&web, ifname)?, Vec::<String>::new());
        assert_eq!(link(&web, ifname)?["operstate"], "UP", "{ifname}");
    }
    assert_eq!(routes(&web)?, ["default via 192.0.2.1 dev eth2", "192.0.2.1 dev eth2 scope link"]);
    stage.end()
}

#[test]
fn mac_addresses_are_literal_or_made_of_a_word() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let haproxy = stage.host.container("haproxy")?;

    // README, "Specify a custom MAC address".
    stage.pipework("br0 $haproxy 192.0.2.2/24 26:2e:71:98:60:8f")?;
    stage.pipework("br0 -i eth2 $haproxy 192.0.2.3/24 U:myhost.foo.com")?;

    assert_eq!(link(&haproxy, "eth1")?["address"], "26:2e:71:98:60:8f");
    assert_eq!(link(&haproxy, "eth2")?["address"], "02:72:6c:cd:9b:8d");
    stage.end()
}

#[test]
fn ipv6_works_with_its_option_and_without() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;

    stage.pipework("br0 -a 6 $web 2001:db8::1/64@2001:db8::fe")?;
    stage.pipework("br0 -i eth2 $web 2001:db8:1::1/64")?;

    assert_eq!(addresses(&web, "eth1")?, ["2001:db8::1/64"]);
    assert_eq!(addresses(&web, "eth2")?, ["2001:db8:1::1/64"]);
    let routes = web.ip("-6 route show default")?;
    assert!(routes.starts_with("default via 2001:db8::fe dev eth1"), "{routes}");
    stage.end()
}

#[test]
fn options_in_another_order_make_the_same_link() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;

    stage.pipework("-l hostapp1 br1 $web 192.0.2.7/24 -i eth2")?;

    assert_eq!(addresses(&web, "eth2")?, ["192.0.2.7/24"]);
    assert!(stage.host.inside().has_link("hostapp1")?);
    stage.end()
}

#[test]
fn a_name_too_long_for_pipeworks_own_gets_another_one() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;

    stage.pipework("br1 -i averyveryverylo $web 192.0.2.7/24")?;

    assert_eq!(addresses(&web, "averyveryverylo")?, ["192.0.2.7/24"]);
    stage.end()
}

#[test]
fn a_container_is_found_by_name_by_id_and_by_the_beginning_of_its_id() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;
    let (whole, name) = (id(&web)?, web.reference().trim_start_matches("docker:").to_owned());
    let before = Snapshot::take(&stage.host)?;

    for guest in [name.as_str(), &whole, &whole[..12]] {
        // README, "Docker integration".
        stage.pipework(&format!("br1 {guest} 192.0.2.23/24"))?;
        stage.agent.ctl(&format!("detach {}", web.reference()))?.ok()?;
    }

    before.wait_same(&stage.host)?;
    stage.end()
}
