//! Waiting ends with the event that was waited for, and says how far things had come when it does not.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use pipewright_api::client::{Client, ClientError};
use pipewright_api::condition::{Condition, GuestLinkState};
use pipewright_api::reason::Reason;
use pipewright_api::spec::GuestRef;
use pipewright_tests::{Guest, needs};
use tokio::task::JoinHandle;

use crate::scene::{FOREIGN, Scene, asking, refused, until};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);

type Waiting = JoinHandle<Result<GuestLinkState, ClientError>>;

/// Begins to wait for `eth1`, and comes back when the agent had time to look.
async fn begin(client: &Client, guest: &Guest, condition: Condition) -> Result<Waiting> {
    let (client, reference) = (client.clone(), guest.reference().parse::<GuestRef>()?);
    let asks = client.clone();
    let ifname = "eth1".parse()?;
    let waiting = tokio::spawn(async move { asks.wait(&reference, &ifname, condition, LONG).await });
    still_waits(&client, &waiting).await?;
    Ok(waiting)
}

async fn still_waits(client: &Client, waiting: &Waiting) -> Result<()> {
    for _ in 0..20 {
        client.show().await?;
        ensure!(!waiting.is_finished(), "it ended before what was waited for came");
    }
    Ok(())
}

/// The state that a wait ended with, which must be soon.
async fn ended(waiting: Waiting) -> Result<GuestLinkState> {
    Ok(tokio::time::timeout(Duration::from_secs(10), waiting).await.context("it goes on waiting")???)
}

#[test]
fn each_condition_is_waited_for_until_it_comes_also_on_a_link_that_is_not_ours() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let (web, router) = (scene.host.guest("web")?, scene.host.guest("router")?);
    let routers = router.reference().trim_start_matches("netns:").to_owned();

    asking(async {
        let client = scene.agent.client()?;
        let waiting = begin(&client, &web, Condition::Up).await?;
        web.ip(&format!("link add eth1 type veth peer name own netns {routers}"))?;
        still_waits(&client, &waiting).await?;
        web.ip("link set eth1 up")?;
        let state = ended(waiting).await?;
        assert!(state.exists && state.up && !state.carrier, "{state:?}");

        let waiting = begin(&client, &web, Condition::Carrier).await?;
        router.ip("link set own up")?;
        assert!(ended(waiting).await?.carrier);

        // An IPv6 address is checked for duplicates first (RFC 4862), for a second or two.
        let waiting = begin(&client, &web, Condition::Address).await?;
        web.ip("address add 2001:db8::10/64 dev eth1")?;
        let state = ended(waiting).await?;
        assert!(state.addresses.contains(&"2001:db8::10/64".parse()?), "{state:?}");

        let waiting = begin(&client, &web, Condition::Gateway).await?;
        web.ip("address add 192.0.2.10/24 dev eth1")?;
        web.ip("route add default via 192.0.2.1")?;
        still_waits(&client, &waiting).await?;
        router.ip("address add 192.0.2.1/24 dev own")?;
        let state = ended(waiting).await?;
        assert_eq!((state.gateway, state.gateway_state.as_str()), (Some("192.0.2.1".parse()?), "reachable"));
        Ok(())
    })?;
    scene.lab.finish()
}

#[test]
fn who_waits_for_a_gateway_before_the_attach_hears_of_it_after_the_attach() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let (web, router) = (scene.host.guest("web")?, scene.host.guest("router")?);

    for (uplink, gateway) in [("br0", "192.0.2.1"), (FOREIGN, "2001:db8::1")] {
        let vlan = if uplink == FOREIGN { "--vlan 100" } else { "" };
        asking(async {
            let client = scene.agent.client()?;
            let waiting = begin(&client, &web, Condition::Gateway).await?;
            scene.ctl(&format!(
                "attach {uplink} {} {vlan} --ip 192.0.2.10/24 --ip 2001:db8::10/64 --gateway {gateway}",
                web.reference()
            ))?;
            still_waits(&client, &waiting).await?;
            scene.ctl(&format!(
                "attach {uplink} {} {vlan} --ip 192.0.2.1/24 --ip 2001:db8::1/64",
                router.reference()
            ))?;
            assert_eq!(ended(waiting).await?.gateway, Some(gateway.parse()?));
            Ok(())
        })?;
        for guest in [&web, &router] {
            scene.ctl(&format!("detach {}", guest.reference()))?;
        }
    }
    scene.lab.finish()
}

#[test]
fn a_wait_that_runs_out_names_the_last_state() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;
    let guest = scene.host.guest("web")?;

    asking(async {
        let client = scene.agent.client()?;
        let (reference, ifname) = (guest.reference().parse()?, "eth1".parse()?);
        // What is done to the guest, what is waited for, and what is said.
        let stages = [
            ("link set lo up", Condition::Up, "there is no such link", ("exists", "false")),
            ("link add eth1 type veth peer name own", Condition::Up, "it is down", ("up", "false")),
            ("link set eth1 up", Condition::Carrier, "without carrier", ("carrier", "false")),
            ("link set own up", Condition::Address, "no address", ("addresses", "")),
            ("address add 192.0.2.10/24 dev eth1", Condition::Gateway, "no gateway", ("gateway_state", "")),
            (
                "route add default via 192.0.2.1",
                Condition::Gateway,
                "its gateway 192.0.2.1 is",
                ("carrier", "true"),
            ),
        ];
        for (words, condition, said, (key, fact)) in stages {
            guest.ip(words)?;
            if words.contains("own up") {
                until("it has carrier", || Ok(guest.ip("link show eth1")?.contains("state UP")))?;
            }
            let begun = Instant::now();
            let answer = client.wait(&reference, &ifname, condition, SHORT).await;
            let failure = refused(answer, Reason::NotReady);
            assert!(begun.elapsed() >= SHORT && begun.elapsed() < LONG, "{:?}", begun.elapsed());
            assert!(failure.message().contains(said), "after {words}: {failure}");
            let found = failure.fact(key).unwrap_or_default();
            assert!(found == fact || fact.is_empty(), "after {words}: {key} is {found}");
        }
        Ok(())
    })?;
    scene.lab.finish()
}

#[test]
fn a_guest_that_dies_ends_the_wait_for_it() -> Result<()> {
    needs!(Root);
    let scene = Scene::linux()?;

    asking(async {
        let client = scene.agent.client()?;
        for with_link in [true, false] {
            let guest = scene.host.process_guest("job")?;
            if with_link {
                guest.ip("link add eth1 type veth peer name own")?;
            }
            let waiting = begin(&client, &guest, Condition::Up).await?;
            guest.kill()?;
            let answer = tokio::time::timeout(Duration::from_secs(10), waiting)
                .await
                .with_context(|| format!("nobody hears of its death (link {with_link})"))??;
            let failure = refused(answer, Reason::GuestChanged);
            assert!(failure.message().contains(guest.reference()), "{failure}");
        }
        Ok(())
    })?;
    scene.lab.finish()
}
