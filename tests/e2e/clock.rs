//! The time of day is set ten years on and back, in a machine whose clock is nobody else's: only what is shown follows.

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::process::{command, output};
use pipewright_tests::{AgentOptions, DhcpServer, needs};

use crate::drift::{revision, told};
use crate::scene::Scene;

/// Ten years.
const JUMP: i64 = 10 * 365 * 24 * 3600;

/// `date --set`, so many seconds on.
fn jump(seconds: i64) -> Result<()> {
    let now: i64 = output(command("date")?.arg("+%s"))?.trim().parse()?;
    output(command("date")?.arg("--set").arg(format!("@{}", now + seconds))).map(drop)
}

#[test]
fn a_clock_that_jumps_ends_no_lease_and_stops_no_renewal_and_moves_no_default_route() -> Result<()> {
    needs!(Root, Dhcp, OwnClock);
    let scene = Scene::linux_with(AgentOptions::default().argument("--sweep").argument("1"))?;
    let (router, web) = (scene.host.guest("router")?, scene.host.guest("web")?);
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.1/24", router.reference()))?;
    let server = DhcpServer::udhcpd(
        &router.inside()?,
        &scene.host.dir().join("udhcpd"),
        "start 192.0.2.50\nend 192.0.2.50\noption subnet 255.255.255.0\noption lease 20",
    )?;
    scene.ctl(&format!("attach br0 {} --dhcp", web.reference()))?;

    for seconds in [JUMP, -2 * JUMP, JUMP] {
        let since = revision(&scene)?;
        jump(seconds)?;
        let causes = told(&scene, since, "its lease was renewed")
            .with_context(|| format!("{seconds} s: {}", scene.agent.log()))?;
        assert_eq!(causes, ["its lease was renewed"], "{seconds} s");
        let address = web.ip("-4 -o address show dev eth1")?;
        ensure!(address.contains("192.0.2.50/24"), "{seconds} s: {address}");
    }

    // The later one of two default routes is the one that came later, whatever the clock said.
    scene.ctl(&format!(
        "attach br1 {} --ip 198.51.100.10/24 --gateway 198.51.100.1 --ifname eth2",
        web.reference()
    ))?;
    jump(-JUMP)?;
    scene.ctl(&format!(
        "attach br2 {} --ip 203.0.113.10/24 --gateway 203.0.113.1 --ifname eth3",
        web.reference()
    ))?;
    jump(JUMP)?;
    let since = revision(&scene)?;
    web.ip("link set eth2 mtu 1400")?;
    let causes = told(&scene, since, "repaired: ")?;
    ensure!(!causes.iter().any(|cause| cause.contains("default-route")), "{causes:#?}");
    let route = web.ip("-4 route show default")?;
    ensure!(route.contains("dev eth3"), "{route}{}", scene.agent.log());

    for guest in [&web, &router] {
        scene.ctl(&format!("detach {}", guest.reference()))?;
    }
    drop(server);
    scene.lab.finish()
}

#[test]
fn a_nic_that_was_lent_over_a_jump_of_the_clock_has_its_addresses_for_as_long_as_before() -> Result<()> {
    needs!(Root, OwnClock);
    let scene = Scene::with_furnished_nic()?;
    let web = scene.host.guest("web")?;
    let before = scene.settled()?;

    for seconds in [JUMP, -JUMP] {
        scene.ctl(&format!("attach eth1 {} --kind direct --no-ip", web.reference()))?;
        jump(seconds)?;
        scene.ctl(&format!("detach {}", web.reference()))?;

        before.assert_same(&scene.settled()?);
        let shown = scene.host.inside().ip("-4 address show dev eth1")?;
        let lifetimes =
            shown.split("valid_lft ").skip(1).filter_map(|rest| rest.split("sec").next()?.parse().ok());
        let lifetimes: Vec<u64> = lifetimes.collect();
        ensure!(lifetimes.iter().any(|left| (90_000..=100_000).contains(left)), "{shown}");
    }
    scene.lab.finish()
}
