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
        ("nosuch $web 192.0.2.1/24", "I do not know how to setup interface nosuch."),
        ("br1 nobody 192.0.2.1/24", "guest \"nobody\" not found"),
        ("br1 $web 192.0.2.1", "Maybe you meant 192.0.2.1/24 ?"),
        ("br1 $web 192.0.2.300/24", "is not an interface address"),
        ("br1 $web 192.0.2.1/24 zz", "\"zz\" is not a MAC address"),
        ("br1 $web 192.0.2.1/24@192.0.2.1", "is the link's own address"),
        ("ovs0 $web 192.0.2.1/24 @5000", "\"5000\" is not a VLAN: use 1 to 4094"),
        ("ovs0 $web 192.0.2.1/24 @abc", "\"abc\" is not a VLAN"),
        ("br1 -i lo $web 0/0", "the kernel uses this name itself"),
        ("br1 -x $web 0/0", "pipework has no such option"),
    ] {
        let answer = stage.run(words)?;

        assert_eq!((answer.code, answer.stdout.as_str()), (1, ""), "{words}: {}", answer.stderr);
        assert!(answer.stderr.contains(said), "{words}: {}", answer.stderr);
    }
    let usage = stage.run("br1 $web")?;

    assert_eq!((usage.code, usage.stdout.lines().count(), usage.stderr.as_str()), (1, 9, ""));
    host.assert_same(&Snapshot::take(&stage.host)?);
    guest.assert_same(&Snapshot::take_guest(&web)?);
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
