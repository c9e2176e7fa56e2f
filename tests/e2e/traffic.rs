//! Routes, rules and queueing disciplines that belong to a link of ours.

use anyhow::{Context as _, Result};
use pipewright_api::reason::Reason;
use pipewright_api::request::TrafficTarget;
use pipewright_api::traffic::Traffic;
use pipewright_tests::{AgentOptions, Guest, Reach, needs, reach};
use uuid::Uuid;

use crate::ask;
use crate::refused_step::unchanged;
use crate::scene::{Scene, asking, refused, until};

/// What each is, typed: one that goes with the link and one that does not, of both families.
const LINES: [&str; 6] = [
    "route add GUEST 198.51.100.0/24 --via 192.0.2.1 --metric 7 --src 192.0.2.10",
    "route add GUEST 0.0.0.0/0 --via 192.0.2.1 --table 7",
    "route add GUEST 2001:db8:7::/48 --type unreachable --table 1000",
    "rule add GUEST --from 192.0.2.10/32 --table 7 --priority 100",
    "rule add GUEST --fwmark 0x10/0xf0 --iif eth1 -6 --table 1000 --priority 100",
    "qdisc add GUEST tbf --rate 10mbit --burst 32k --latency 50ms",
];

const NETEM: &str = "qdisc add GUEST netem --delay 100ms --jitter 10ms --loss 1% --rate 1mbit";

fn attach(scene: &Scene, guest: &Guest) -> Result<()> {
    let words = format!("attach br0 {} --ip 192.0.2.10/24 --ip 2001:db8::10/64", guest.reference());
    scene.ctl(&words)?;
    // A link-local address would come in the midst of a story.
    scene.settled().map(drop)
}

fn line(words: &str, guest: &Guest) -> String {
    format!("guest {}", words.replace("GUEST", guest.reference()))
}

/// Everything that could have been left or changed in a guest.
fn all(guest: &Guest) -> Result<Vec<String>> {
    ["-4 rule show", "-6 rule show", "-4 route show table all", "-6 route show table all"]
        .iter()
        .map(|words| guest.ip(words))
        .chain([Ok(tc(guest, "qdisc show")?)])
        .collect()
}

fn tc(guest: &Guest, words: &str) -> Result<String> {
    pipewright_tests::process::output(guest.inside()?.command("tc")?.args(words.split(' ')))
}

#[test]
fn what_is_added_to_a_link_is_there_is_shown_and_goes_with_the_link() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    let (before, clean) = (scene.snapshot()?, all(&guest)?);
    attach(&scene, &guest)?;

    for words in LINES {
        let added = scene.ctl(&line(words, &guest))?;
        assert!(added.stdout.contains(": added to eth1 of"), "{words}: {}", added.stdout);
        let again = scene.ctl(&line(words, &guest))?;
        assert!(again.stdout.contains(": was there already on"), "{words}: {}", again.stdout);
    }

    let routes = guest.ip("-4 route show table all")?;
    assert!(
        routes.contains("198.51.100.0/24 via 192.0.2.1 dev eth1 proto 112 src 192.0.2.10 metric 7"),
        "{routes}"
    );
    assert!(routes.contains("default via 192.0.2.1 dev eth1 table 7 proto 112"), "{routes}");
    let routes = guest.ip("-6 route show table 1000")?;
    assert!(routes.contains("unreachable 2001:db8:7::/48"), "{routes}");
    assert!(
        guest.ip("rule show")?.contains("100:\tfrom 192.0.2.10 lookup 7 proto 112"),
        "{}",
        guest.ip("rule show")?
    );
    let rules = guest.ip("-6 rule show")?;
    assert!(rules.contains("100:\tfrom all fwmark 0x10/0xf0 iif eth1 lookup 1000"), "{rules}");
    let qdisc = tc(&guest, "qdisc show dev eth1")?;
    assert!(
        qdisc.contains("qdisc tbf 7077: root") && qdisc.contains("rate 10Mbit burst 32Kb lat 50ms"),
        "{qdisc}"
    );
    let listed = scene.ctl(&format!("guest list {}", guest.reference()))?.stdout;
    assert_eq!(listed.lines().count(), 1 + LINES.len(), "{listed}");
    assert_eq!(scene.agent.list()?[0]["traffic"].as_array().map(Vec::len), Some(LINES.len()));

    // Also after another start, and by what was recorded.
    scene.agent.crash_and_restart()?;
    let removed = scene.ctl(&line(&LINES[3].replace("add", "del"), &guest))?;
    assert!(removed.stdout.contains(": removed from eth1 of"), "{}", removed.stdout);
    let again = scene.ctl(&line(&LINES[3].replace("add", "del"), &guest))?;
    assert!(again.stdout.contains(": was never added to"), "{}", again.stdout);
    assert!(!guest.ip("rule show")?.contains("lookup 7"));

    scene.ctl(&format!("detach {}", guest.reference()))?;
    unchanged("after detach", &before, &scene.snapshot()?);
    assert_eq!(all(&guest)?, clean);
    scene.lab.finish()
}

#[test]
fn what_somebody_else_made_is_neither_changed_nor_taken_for_ours() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    attach(&scene, &guest)?;
    for words in [
        "route add 198.51.100.0/24 via 192.0.2.9 metric 7",
        "route add blackhole 203.0.113.0/24 table 7",
        "rule add from 192.0.2.10 table 7 priority 100",
    ] {
        guest.ip(words)?;
    }
    tc(&guest, "qdisc add dev eth1 root handle 1: pfifo limit 7")?;
    let theirs = all(&guest)?;

    for words in [
        LINES[0],
        "route add GUEST 203.0.113.0/24 --type blackhole --table 7",
        "qdisc add GUEST fq-codel --limit 100",
    ] {
        let answer = scene.agent.ctl(&line(words, &guest))?;
        ask::refused(answer, "STEP_FAILED", &["somebody else"]);
        let removed = scene.ctl(&line(&words.replacen("add", "del", 1), &guest))?;
        assert!(removed.stdout.contains(": was never added to"), "{words}: {}", removed.stdout);
    }
    assert_eq!(all(&guest)?, theirs);
    // Of two equal rules one is theirs.
    let answer = scene.agent.ctl(&line(LINES[3], &guest))?;
    if answer.code == 0 {
        scene.ctl(&line(&LINES[3].replace("add", "del"), &guest))?;
    }
    assert_eq!(all(&guest)?, theirs);
    scene.ctl(&format!("detach {}", guest.reference()))?;
    guest.ip("rule del priority 100")?;
    scene.lab.finish()
}

#[test]
fn one_place_has_one_owner_and_one_request_one_answer() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux_with(AgentOptions::reporting())?;
    let guest = scene.host.guest("web")?;
    attach(&scene, &guest)?;
    let (id, other) = (Uuid::new_v4(), Uuid::new_v4());
    let target = TrafficTarget { guest: guest.reference().parse()?, ifname: "eth1".parse()? };
    let (one, two) = (
        Traffic::Route("198.51.100.0/24@192.0.2.1".parse()?),
        Traffic::Route("198.51.100.0/24@192.0.2.9".parse()?),
    );

    asking(async {
        let client = scene.agent.client()?;
        let first = client.add_traffic(id, &target, &one).await?;
        let again = client.add_traffic(id, &target, &one).await?;
        assert!(first.is_changed && first == again);
        refused(client.add_traffic(id, &target, &two).await, Reason::SpecDiffers);
        refused(client.add_traffic(other, &target, &two).await, Reason::SpecDiffers);
        let nobodys = TrafficTarget { ifname: "eth7".parse()?, ..target.clone() };
        refused(client.add_traffic(Uuid::new_v4(), &nobodys, &one).await, Reason::AttachmentNotFound);
        Ok(())
    })?;
    // Taken away by hand, it is put back.
    guest.ip("route del 198.51.100.0/24")?;
    let back = scene.ctl(&line("route add GUEST 198.51.100.0/24 --via 192.0.2.1", &guest))?;
    assert!(back.stdout.contains(": added to"), "{}", back.stdout);
    assert_eq!(scene.agent.list()?[0]["traffic"].as_array().map(Vec::len), Some(1));
    guest.kill()?;
    until("the list is empty", || Ok(scene.agent.list()?.is_empty()))?;
    scene.lab.finish()
}

#[test]
fn whichever_step_of_a_change_is_refused_or_kills_the_agent_nothing_is_left_half_done() -> Result<()> {
    needs!(Root);
    nothing_is_left_half_done(&LINES)
}

#[test]
fn whichever_step_towards_a_bad_network_is_refused_or_kills_the_agent_nothing_is_left_half_done() -> Result<()>
{
    needs!(Root, Netem);
    nothing_is_left_half_done(&[NETEM])
}

fn nothing_is_left_half_done(lines: &[&str]) -> Result<()> {
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    attach(&scene, &guest)?;
    let attached = all(&guest)?;
    let traffic = || -> Result<usize> {
        let listed = scene.agent.list()?;
        let attachment = listed.first().context("it is attached")?;
        assert_eq!(attachment["state"], "ATTACHMENT_STATE_ATTACHED");
        Ok(attachment["traffic"].as_array().map_or(0, Vec::len))
    };

    for words in lines {
        for fault in ["refuse:0", "refuse:1", "kill-before:0", "kill-after:0", "kill-after:1"] {
            scene.restart_with_fault(fault)?;
            let answer = scene.agent.ctl_once(&line(words, &guest))?;
            assert_eq!(answer.code, 1, "{words} {fault}: {answer:?}");
            scene.restart()?;
            assert_eq!((traffic()?, all(&guest)?), (0, attached.clone()), "{words} {fault}");
        }
        let remove = line(&words.replacen("add", "del", 1), &guest);
        for fault in ["kill-before:0", "kill-after:0", "refuse:0"] {
            scene.ctl(&line(words, &guest))?;
            scene.restart_with_fault(fault)?;
            assert_eq!(scene.agent.ctl_once(&remove)?.code, 1, "{words} {fault}");
            scene.restart()?;
            scene.ctl(&remove)?;
            assert_eq!((traffic()?, all(&guest)?), (0, attached.clone()), "{words} {fault}");
        }
    }
    scene.ctl(&format!("detach {}", guest.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_bad_network_is_made_where_the_kernel_can() -> Result<()> {
    needs!(Root, Netem);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    attach(&scene, &guest)?;

    let added = scene.ctl(&line(NETEM, &guest))?;
    assert!(added.stdout.contains(": added to eth1 of"), "{}", added.stdout);
    let again = scene.ctl(&line(NETEM, &guest))?;
    assert!(again.stdout.contains(": was there already on"), "{}", again.stdout);

    let shown = tc(&guest, "qdisc show dev eth1")?;
    for part in ["netem 7077: root", "delay 100ms", "10ms", "loss 1%", "rate 1Mbit"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let worse = scene.agent.ctl(&line("qdisc add GUEST netem --delay 200ms", &guest))?;
    ask::refused(worse, "SPEC_DIFFERS", &["delay 100000us"]);
    scene.agent.crash_and_restart()?;
    scene.ctl(&line(&NETEM.replace("add", "del"), &guest))?;
    assert!(!tc(&guest, "qdisc show dev eth1")?.contains("netem"));
    scene.ctl(&format!("detach {}", guest.reference()))?;
    scene.lab.finish()
}

#[test]
fn packets_are_lost_and_held_back_by_a_link_of_ours_as_it_is_told() -> Result<()> {
    needs!(Root, Netem);
    let scene = Scene::linux()?;
    let (web, other) = (scene.host.guest("web")?, scene.host.guest("other")?);
    let before = scene.snapshot()?;
    attach(&scene, &web)?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.11/24 --ip 2001:db8::11/64", other.reference()))?;
    let reaches = || -> Result<[Reach; 2]> {
        let ask = |ip: &str| reach(&web.inside()?, &other.inside()?, ip.parse()?);
        Ok([ask("192.0.2.11")?, ask("2001:db8::11")?])
    };
    assert_eq!(reaches()?, [Reach::BOTH; 2]);

    for (words, expected) in [
        ("netem --loss 100%", Reach::NEITHER),
        ("netem --delay 20ms --jitter 5ms", Reach::BOTH),
        ("netem --rate 100mbit", Reach::BOTH),
    ] {
        scene.ctl(&line(&format!("qdisc add GUEST {words}"), &web))?;
        assert_eq!(reaches()?, [expected; 2], "{words}");
        // `Sent 0 bytes 0 pkt (dropped 7, …)`
        let counted = tc(&web, "-s qdisc show dev eth1")?;
        let is_lossy = !counted.contains("(dropped 0,");
        assert_eq!(is_lossy, expected == Reach::NEITHER, "{words}: {counted}");
        scene.ctl(&line(&format!("qdisc del GUEST {words}"), &web))?;
        assert_eq!(reaches()?, [Reach::BOTH; 2], "after {words}");
    }

    // With the link it goes, too.
    scene.ctl(&line("qdisc add GUEST netem --loss 100%", &web))?;
    for guest in [&web, &other] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    before.assert_same(&scene.snapshot()?);
    scene.lab.finish()
}

#[test]
fn a_qdisc_that_the_kernel_lacks_is_not_supported_here() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;
    attach(&scene, &guest)?;

    let answer = scene.agent.ctl(&line("qdisc add GUEST netem --delay 100ms", &guest))?;

    if pipewright_tests::Need::Netem.unmet().is_none() {
        answer.ok()?;
    } else {
        ask::refused(answer, "NOT_SUPPORTED_HERE", &["netem", "modprobe sch_netem"]);
        assert_eq!(scene.agent.list()?[0]["traffic"].as_array().map(Vec::len), Some(0));
    }
    scene.ctl(&format!("detach {}", guest.reference()))?;
    scene.lab.finish()
}
