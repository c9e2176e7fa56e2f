//! What somebody else changes of an attachment is seen, told and made again; or only told, where that is wanted.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::{AgentOptions, Guest, needs};
use tokio_stream::StreamExt as _;

use crate::scene::{Scene, asking, until, with_default_routes};

/// How long a change may take to be told.
const TOLD: Duration = Duration::from_secs(30);

/// What watchers were told since a revision, until one line begins so.
pub(crate) fn told(scene: &Scene, since: u64, until: &str) -> Result<Vec<String>> {
    asking(async {
        let client = scene.agent.client()?;
        let mut events = client.watch(Some(since), None).await?;
        let mut told = Vec::new();
        loop {
            let event = tokio::time::timeout(TOLD, events.next());
            let event = event.await.with_context(|| format!("{until} is not told, only {told:#?}"))?;
            told.extend(event.context("the stream ended")??.cause);
            if told.last().is_some_and(|cause| cause.starts_with(until)) {
                return Ok(told);
            }
        }
    })
}

pub(crate) fn revision(scene: &Scene) -> Result<u64> {
    let answer = scene.ctl("-o json list")?.json()?;
    Ok(answer["revision"].as_str().context("a revision")?.parse()?)
}

/// What the one attachment of a guest differs in: `WHAT OBJECT`, and why that is not repaired.
pub(crate) fn drifts(scene: &Scene, guest: &Guest) -> Result<Vec<(String, String)>> {
    let answer = scene.ctl(&format!("-o json list --guest {}", guest.reference()))?.json()?;
    let drifts = answer["attachments"][0]["drift"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(drifts
        .iter()
        .map(|one| (format!("{} {}", text(&one["what"]), text(&one["object"])), text(&one["unrepaired"])))
        .collect())
}

pub(crate) fn host_end(scene: &Scene, guest: &Guest) -> Result<String> {
    let answer = scene.ctl(&format!("-o json list --guest {}", guest.reference()))?.json()?;
    Ok(answer["attachments"][0]["host_ifname"].as_str().context("a host end")?.to_owned())
}

/// What an operator reads of a guest's link: what must be again as it was.
fn looks(scene: &Scene, guest: &Guest, host_end: &str) -> Result<String> {
    let mut all = String::new();
    for words in
        ["-o link show eth1", "-o address show dev eth1 scope global", "route", "-6 route show default"]
    {
        all += &guest.ip(words)?;
    }
    let host = scene.host.inside();
    all += &host.ip(&format!("-o link show {host_end}"))?;
    // The kernel lists routes in the order in which they were made.
    let mut lines: Vec<&str> = all.lines().map(str::trim_end).collect();
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

#[test]
fn whatever_is_changed_in_a_guest_or_at_its_bridge_is_told_and_made_again() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let web = scene.host.guest("web")?;
    with_default_routes(&web)?;
    let before = scene.settled()?;
    let line = "--ip 192.0.2.10/24 --ip 2001:db8::10/64 --gateway 192.0.2.1 --route 198.51.100.0/24";
    scene.ctl(&format!("attach br0 {} {line}", web.reference()))?;
    scene.ctl(&format!("guest route add {} 203.0.114.0/24 --via 192.0.2.7", web.reference()))?;
    let port = host_end(&scene, &web)?;
    let host = scene.host.inside();
    host.ip("link add other type bridge")?;
    let made = looks(&scene, &web, &port)?;
    let in_host = |words: String| -> Box<dyn Fn() -> Result<String>> { Box::new(move || host.ip(&words)) };
    let guest = &web;
    let in_guest =
        |words: &'static str| -> Box<dyn Fn() -> Result<String>> { Box::new(move || guest.ip(words)) };
    let harms = [
        ("address of eth1", in_guest("address del 192.0.2.10/24 dev eth1")),
        ("address of eth1", in_guest("address flush dev eth1 scope global")),
        ("default-route of eth1", in_guest("route del default")),
        ("default-route of eth1", in_guest("route replace default via 203.0.113.7 dev eth0")),
        ("route of eth1", in_guest("route del 198.51.100.0/24")),
        ("traffic of the guest", in_guest("route del 203.0.114.0/24")),
        ("state of eth1", in_guest("link set eth1 down")),
        ("mtu of eth1", in_guest("link set eth1 mtu 1400")),
        ("mac of eth1", in_guest("link set eth1 address 02:00:5e:10:00:77")),
        (&format!("state of {port}"), in_host(format!("link set {port} down"))),
        (&format!("mtu of {port}"), in_host(format!("link set {port} mtu 1400"))),
        (&format!("bridge of {port}"), in_host(format!("link set {port} nomaster"))),
        (&format!("bridge of {port}"), in_host(format!("link set {port} master other"))),
        (&format!("bridge of {port}"), in_host("link del br0".to_owned())),
    ];

    // One after the other, as far apart as accidents are.
    for (what, harm) in &harms {
        scene.restart()?;
        let since = revision(&scene)?;
        let begun = Instant::now();
        harm()?;
        let causes =
            told(&scene, since, "repaired: ").with_context(|| format!("{what}: {}", scene.agent.log()))?;
        println!("{what}: repaired after {:?}", begun.elapsed());

        ensure!(
            causes.iter().any(|cause| cause.starts_with("drift: ") && cause.contains(what)),
            "{causes:#?}"
        );
        ensure!(causes.last().is_some_and(|cause| cause.contains(what)), "{causes:#?}");
        until("everything is as it was made", || Ok(looks(&scene, &web, &port)? == made)).with_context(
            || format!("{what}\n{made}\nagainst\n{}", looks(&scene, &web, &port).unwrap_or_default()),
        )?;
        assert_eq!(drifts(&scene, &web)?, [], "{what}");
    }

    host.ip("link del other")?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    // What somebody chose as default route last, comes back; here it was set anew.
    ensure!(web.ip("route show default")?.contains("via 203.0.113.7"));
    web.ip("route del default")?;
    web.ip("route add default via 203.0.113.1 dev eth0 proto static src 203.0.113.10")?;
    before.assert_same(&scene.settled()?);
    scene.lab.finish()
}

#[test]
fn what_others_add_to_a_guest_stays() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let web = scene.host.guest("web")?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24 --gateway 192.0.2.1", web.reference()))?;
    web.ip("address add 203.0.113.5/32 dev eth1")?;
    web.ip("route add 198.51.100.0/24 via 192.0.2.9")?;
    web.ip("link add own type veth peer name own2")?;
    let since = revision(&scene)?;

    web.ip("address del 192.0.2.10/24 dev eth1")?;
    told(&scene, since, "repaired: ")?;

    let (addresses, routes) = (web.ip("address show dev eth1")?, web.ip("route")?);
    assert!(addresses.contains("203.0.113.5/32") && addresses.contains("192.0.2.10/24"), "{addresses}");
    assert!(routes.contains("default via 192.0.2.1"), "{routes}");
    assert!(web.inside()?.has_link("own")?);
    scene.ctl(&format!("detach {}", web.reference()))?;
    web.ip("link del own")?;
    scene.lab.finish()
}

#[test]
fn with_report_drift_is_listed_and_nothing_is_changed() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux_with(AgentOptions::reporting())?;
    let web = scene.host.guest("web")?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24 --route 198.51.100.0/24", web.reference()))?;
    let since = revision(&scene)?;

    web.ip("route del 198.51.100.0/24")?;

    let causes = told(&scene, since, "drift: ")?;
    assert!(causes[0].contains("route of eth1 is nothing, not 198.51.100.0/24 dev eth1"), "{causes:?}");
    let found = drifts(&scene, &web)?;
    assert_eq!(found.len(), 1);
    assert!(found[0].0 == "route eth1" && found[0].1.contains("--drift report"), "{found:?}");
    let table = scene.ctl("list")?.stdout;
    assert!(table.contains("attached; drifted: route of eth1"), "{table}");
    let checked = scene.agent.ctl("check")?;
    assert!(checked.code == 1 && checked.stdout.contains("ROUTE_MISSING"), "{checked:?}");
    assert!(!web.ip("route")?.contains("198.51.100.0/24"));

    // Somebody puts it back.
    web.ip("route add 198.51.100.0/24 dev eth1")?;
    told(&scene, since, "all is as it was made again")?;
    assert_eq!(drifts(&scene, &web)?, []);
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn what_was_changed_while_no_agent_ran_is_made_again_at_its_start() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let web = scene.host.guest("web")?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24 --gateway 192.0.2.1", web.reference()))?;
    let port = host_end(&scene, &web)?;
    scene.agent.kill9()?;
    scene.host.inside().ip(&format!("link set {port} nomaster"))?;
    web.ip("address flush dev eth1")?;

    scene.agent.start()?;

    until("address, route and bridge are back", || {
        let port = scene.host.inside().ip(&format!("link show {port}"))?;
        let routes = web.ip("route")?;
        Ok(port.contains("master br0") && routes.contains("default via 192.0.2.1"))
    })?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn who_undoes_every_repair_is_answered_less_and_less_often_and_told_of() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let web = scene.host.guest("web")?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", web.reference()))?;
    let since = revision(&scene)?;
    let begun = Instant::now();

    // The adversary takes the address away whenever it is there.
    let mut undone = 0;
    while !drifts(&scene, &web)?.iter().any(|(_, why)| why.contains("flapping")) {
        ensure!(
            begun.elapsed() < Duration::from_secs(60),
            "it is not said to be flapping: {}",
            scene.agent.log()
        );
        if web.ip("-o address show dev eth1")?.contains("192.0.2.10/24") {
            web.ip("address del 192.0.2.10/24 dev eth1")?;
            undone += 1;
        }
    }

    println!("{undone} repairs were undone in {:?}", begun.elapsed());
    let repairs = told(&scene, since, "drift: address of eth1 is nothing, not 192.0.2.10/24 (flapping")?;
    let repairs = repairs.iter().filter(|cause| cause.starts_with("repaired: ")).count();
    assert!((3..=6).contains(&repairs), "{repairs} repairs");
    // An end of it is an end.
    until("the address is back", || Ok(web.ip("address show dev eth1")?.contains("192.0.2.10/24")))?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}

#[test]
fn a_link_that_a_guest_renamed_is_told_and_left_and_can_be_detached() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let web = scene.host.guest("web")?;
    let before = scene.settled()?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", web.reference()))?;
    let since = revision(&scene)?;

    for words in ["link set eth1 down", "link set eth1 name mine"] {
        web.ip(words)?;
    }

    told(&scene, since, "drift: link of eth1")?;
    until("it is said that nothing can be done", || {
        Ok(drifts(&scene, &web)?
            .iter()
            .any(|(what, why)| what == "link eth1" && why.contains("nothing can be done")))
    })?;
    assert!(web.inside()?.has_link("mine")?);
    scene.ctl(&format!("detach {}", web.reference()))?;
    before.assert_same(&scene.settled()?);
    scene.lab.finish()
}

#[test]
fn a_link_of_a_guests_own_under_the_name_of_ours_is_left_as_it_is() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let web = scene.host.guest("web")?;
    let before = scene.settled()?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24 --gateway 192.0.2.1", web.reference()))?;
    let since = revision(&scene)?;

    for words in [
        "link set eth1 down",
        "link set eth1 name mine",
        "link add eth1 address 02:00:00:00:00:99 mtu 1400 type veth peer name other",
        "link set eth1 up",
    ] {
        web.ip(words)?;
    }
    let looks = || -> Result<String> {
        Ok(web.ip("-o link show eth1")? + &web.ip("-o -4 address show dev eth1")? + &web.ip("-4 route")?)
    };
    let own = looks()?;
    let port = host_end(&scene, &web)?;
    scene.host.inside().ip(&format!("link set {port} nomaster"))?;

    // The host's end is ours all the same.
    until("the host's end is in its bridge again", || {
        Ok(scene.host.inside().ip(&format!("link show {port}"))?.contains("master br0"))
    })?;
    until("it is said that nothing can be done", || {
        Ok(drifts(&scene, &web)?
            .iter()
            .any(|(what, why)| what == "link eth1" && why.contains("nothing can be done")))
    })?;
    let told = told(&scene, since, "drift: link of eth1")?;
    assert!(!told.iter().any(|cause| cause.contains("address")), "{told:#?}");
    assert_eq!(looks()?, own);
    web.ip("link del eth1")?;
    scene.ctl(&format!("detach {}", web.reference()))?;
    before.assert_same(&scene.settled()?);
    scene.lab.finish()
}

#[test]
fn drift_among_more_events_than_the_kernel_keeps_is_found_all_the_same() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (web, noisy) = (scene.host.guest("web")?, scene.host.guest("noisy")?);
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.10/24", web.reference()))?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.11/24", noisy.reference()))?;
    let port = host_end(&scene, &web)?;
    let since = revision(&scene)?;

    // The agent is held while one guest makes thousands of events, and the other's port is unplugged after them.
    scene.agent.signal(rustix::process::Signal::STOP)?;
    let batch = scene.lab.dir().join("batch");
    let lines: String =
        (0..12_000).map(|n| format!("route add 10.{}.{}.0/24 dev eth1\n", n / 250, n % 250)).collect();
    std::fs::write(&batch, lines)?;
    noisy.ip(&format!("-batch {}", batch.display()))?;
    scene.host.inside().ip(&format!("link set {port} nomaster"))?;
    scene.agent.signal(rustix::process::Signal::CONT)?;

    told(&scene, since, &format!("repaired: bridge of {port}"))?;
    until("it is said that events were lost", || {
        Ok(scene.agent.log().contains("events of the kernel were lost"))
    })?;
    for guest in [&web, &noisy] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    scene.lab.finish()
}
