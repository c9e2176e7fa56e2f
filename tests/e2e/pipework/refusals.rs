//! What pipework refuses, mostly half way: here before anything is changed, and with what to do.

use anyhow::Result;
use pipewright_tests::{Snapshot, needs};

use super::{Stage, pid};

#[test]
fn bad_input_changes_nothing_and_ends_with_one() -> Result<()> {
    needs!(Root, Ovs, Docker);
    let stage = Stage::with_ovs()?;
    let web = stage.host.container("web")?;
    let (host, guest) = (Snapshot::take(&stage.host)?, Snapshot::take_guest(&web)?);

    for (words, said) in [
        // What the first operand is.
        ("nosuch $web 192.0.2.1/24", "I do not know how to setup interface nosuch."),
        ("et/h0 $web 192.0.2.1/24", "I do not know how to setup interface et/h0."),
        ("mac:02:00:5e:00:53:01 $web 192.0.2.1/24", "02:00:5e:00:53:01"),
        ("mac:00:1b:21 $web 192.0.2.1/24", "write six pairs of hex digits"),
        // Who the guest is. pipework hands docker's words on, or asks for a process with the number 0.
        ("br1 nobody 192.0.2.1/24", "guest \"nobody\" not found"),
        ("br1 pid:1 192.0.2.1/24", "1 is the host itself"),
        ("route nobody show", "guest \"nobody\" not found"),
        // Addresses, which pipework finds out when the link is up.
        ("br1 $web 192.0.2.1", "Maybe you meant 192.0.2.1/24 ?"),
        ("br1 $web 192.0.2.1@192.0.2.254", "Maybe you meant 192.0.2.1/24@192.0.2.254 ?"),
        ("br1 $web 192.0.2.300/24", "is not an interface address"),
        ("br1 $web 192.0.2.1/33", "is not an interface address"),
        ("br1 $web 192.0.2.0/24", "the subnet's own number"),
        ("br1 $web 192.0.2.1/24@192.0.2.1", "is the link's own address"),
        ("br1 $web 192.0.2.1/24@gw", "gateway \"gw\" is not an address"),
        ("br1 $web 192.0.2.1/24@2001:db8::1", "they must be of the same"),
        ("br1 -a 6 $web 192.0.2.1/24", "-a 6: 192.0.2.1 is IPv4"),
        ("br1 -a inet7 $web 192.0.2.1/24", "-a inet7: use 4 or 6"),
        ("br1 $web dhcpcd-f", "dhcpcd-f: pipework has no such form; write dhcpcd"),
        ("br1 $web dhcp:-s/bin/sh", "-s/bin/sh"),
        // MAC addresses and VLANs, after which pipework leaves a port behind.
        ("br1 $web 192.0.2.1/24 zz", "\"zz\" is not a MAC address"),
        ("br1 $web 192.0.2.1/24 01:00:5e:00:00:01", "the first byte must be even"),
        ("ovs0 $web 192.0.2.1/24 @5000", "\"5000\" is not a VLAN: use 1 to 4094"),
        ("ovs0 $web 192.0.2.1/24 @abc", "\"abc\" is not a VLAN"),
        ("ovs0 $web 192.0.2.1/24 @0", "\"0\" is not a VLAN"),
        ("ovs0 $web 192.0.2.1/24 @4095", "\"4095\" is not a VLAN"),
        // Names and options.
        ("br1 -i lo $web 0/0", "the kernel uses this name itself"),
        ("br1 -i a-name-that-is-too-long $web 0/0", "use 1 to 15 bytes"),
        ("br1 -l a/b $web 0/0", "-l: \"a/b\" is not a link name"),
        ("br1 -x $web 0/0", "pipework has no such option"),
        ("br1 -i eth1 -i eth2 $web 0/0", "-i: it is there twice, as eth1 and as eth2"),
        ("br1 $web 0/0 -l", "-l: its value is missing"),
        ("--wait eth0", "write `pipework --wait -i eth0`"),
    ] {
        let answer = stage.run(words)?;

        assert_eq!((answer.code, answer.stdout.as_str()), (1, ""), "{words}: {}", answer.stderr);
        assert!(answer.stderr.contains(said), "{words}: {}", answer.stderr);
    }
    for words in ["", "br1", "br1 $web", "route $web", "-i eth2 br1 $web"] {
        let usage = stage.run(words)?;
        assert_eq!((usage.code, usage.stdout.lines().count(), usage.stderr.as_str()), (1, 9, ""), "{words}");
    }
    host.assert_same(&Snapshot::take(&stage.host)?);
    guest.assert_same(&Snapshot::take_guest(&web)?);
    stage.end()
}

#[test]
fn guests_that_cannot_have_a_link_are_named_and_nothing_is_made() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;
    let name = web.reference().trim_start_matches("docker:").to_owned();
    let before = Snapshot::take(&stage.host)?;

    // pipework looks three times, a second apart, and says `Docker inspect returned invalid PID 0`.
    web.docker("kill")?;
    let stopped = stage.run(&format!("br1 {name} 192.0.2.1/24"))?;
    // Without Open vSwitch: `Need OVS installed on the system to create an ovs bridge`.
    let no_switch = stage.run(&format!("ovs0 {name} 192.0.2.1/24"))?;
    web.docker("start")?;
    let still_none = stage.run("ovs0 $web 192.0.2.1/24")?;

    assert_eq!((stopped.code, no_switch.code, still_none.code), (1, 1, 1));
    assert!(
        stopped.stderr.contains("[GUEST_NOT_RUNNING]") && stopped.stderr.contains(&name),
        "{}",
        stopped.stderr
    );
    assert!(still_none.stderr.contains("Need OVS installed on the system"), "{}", still_none.stderr);
    before.wait_same(&stage.host)?;
    stage.end()
}

#[test]
fn a_second_call_says_that_the_link_is_there() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;
    stage.pipework("br1 $web 192.0.2.1/24")?;
    let expected = format!("Link veth1pl{} exists and is up\n", pid(&web)?);

    let same = stage.run("br1 $web 192.0.2.1/24")?;
    let other = stage.run("br1 $web 192.0.2.2/24")?;

    assert_eq!((same.code, same.stdout.as_str(), same.stderr.as_str()), (1, expected.as_str(), ""));
    assert_eq!((other.code, other.stdout), (1, expected));
    assert!(other.stderr.contains("attached already in another way"), "{}", other.stderr);
    stage.end()
}

#[test]
fn a_name_that_is_taken_is_left_alone() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;
    // Down, which pipework takes for its own and deletes.
    stage.host.inside().ip("link add hostapp1 type bridge")?;
    web.ip("link add eth2 type bridge")?;
    let (host, guest) = (Snapshot::take(&stage.host)?, Snapshot::take_guest(&web)?);

    let host_end = stage.run("br1 -l hostapp1 $web 192.0.2.1/24")?;
    let guest_end = stage.run("br1 -i eth2 $web 192.0.2.1/24")?;

    assert_eq!((host_end.code, guest_end.code), (1, 1));
    assert!(host_end.stderr.contains("a link hostapp1 already"), "{}", host_end.stderr);
    assert!(guest_end.stderr.contains("a link eth2 that is not ours"), "{}", guest_end.stderr);
    host.assert_same(&Snapshot::take(&stage.host)?);
    guest.assert_same(&Snapshot::take_guest(&web)?);
    // A failed call can be repeated.
    web.ip("link del eth2")?;
    stage.pipework("br1 -i eth2 $web 192.0.2.1/24")?;
    stage.host.inside().ip("link del hostapp1")?;
    stage.end()
}
