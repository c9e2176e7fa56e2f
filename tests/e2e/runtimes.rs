//! Guests of other runtimes than Docker: found by their names, plugged, and missed when they die.

use anyhow::Result;
use pipewright_tests::{AgentOptions, Guest, Network, Reach, Runtime, Snapshot, needs, reach, residue};

use crate::ask;
use crate::scene::{Scene, until};

/// A host with every runtime, and a bridge that gets no address by itself in the midst of a story.
fn stage() -> Result<Scene> {
    let scene = Scene::linux_with(AgentOptions::with_runtimes()?)?;
    for words in ["link add br0 type bridge", "link set br0 addrgenmode none", "link set br0 up"] {
        scene.host.inside().ip(words)?;
    }
    Ok(scene)
}

/// The word after the runtime's.
fn bare(guest: &Guest) -> &str {
    let name = guest.reference().split_once(':').map_or("", |(_, name)| name);
    name.rsplit('/').next().unwrap_or(name)
}

/// A life: by each of its names and the bare one, plugged, reached, unplugged as it was; refused where it is the host's.
fn lives(runtime: Runtime, more_names: impl Fn(&Guest) -> Vec<String>) -> Result<()> {
    let stage = stage()?;
    let (web, db) = (stage.host.contained("web", runtime)?, stage.host.guest("db")?);
    stage.ctl(&format!("attach br0 {} --ip 192.0.2.1/24", db.reference()))?;
    // The kernel tells that the bridge has carrier a moment after its port has.
    until("the bridge is up", || Ok(stage.host.inside().ip_json("link show br0")?[0]["operstate"] == "UP"))?;
    let before = stage.settled()?;

    let names = [web.reference().to_owned(), bare(&web).to_owned()].into_iter().chain(more_names(&web));
    for name in names {
        stage.ctl(&format!("attach br0 {name} --ip 192.0.2.2/24"))?;
        let link = web.inside()?.ip_json("-4 addr show dev eth1")?;
        assert_eq!(
            (&link[0]["operstate"], &link[0]["addr_info"][0]["local"]),
            (&"UP".into(), &"192.0.2.2".into())
        );
        assert_eq!(reach(&db.inside()?, &web.inside()?, "192.0.2.2".parse()?)?, Reach::BOTH, "{name}");
        let again = stage.ctl(&format!("attach br0 {} --ip 192.0.2.2/24", web.reference()))?;
        assert!(again.stdout.contains("it was there already"), "{name}: {again:?}");
        stage.agent.crash_and_restart()?;
        stage.ctl(&format!("detach {name}"))?;
        before.assert_same(&Snapshot::take(&stage.host)?);
    }

    let hostly = stage.host.contained_in("hostly", runtime, Network::Host)?;
    let answer = stage.agent.ctl(&format!("attach br0 {} --no-ip", hostly.reference()))?;
    ask::refused(answer, "GUEST_IS_HOST", &[bare(&hostly)]);
    hostly.kill()?;
    stage.ctl(&format!("detach {}", db.reference()))?;
    stage.lab.finish()
}

/// A death: noticed, cleared away, and the name is free for the next.
fn dies(runtime: Runtime) -> Result<()> {
    let stage = stage()?;
    let web = stage.host.contained("web", runtime)?;
    // One with an end in the host, and one without.
    stage.ctl(&format!("attach br0 {} --ip 192.0.2.2/24 --once", web.reference()))?;
    stage.ctl(&format!("attach eth1 {} --ifname eth2 --no-ip --once", web.reference()))?;

    web.kill()?;

    until("the dead guest's attachments are gone", || Ok(stage.agent.list()?.is_empty()))?;
    residue::none(&stage.host)?;
    let answer = stage.agent.ctl(&format!("attach br0 {} --no-ip", web.reference()))?;
    let is_gone =
        ["[GUEST_NOT_FOUND]", "[GUEST_NOT_RUNNING]"].iter().any(|word| answer.stderr.contains(word));
    assert!(is_gone && answer.stderr.contains(bare(&web)), "{answer:?}");
    stage.ctl(&format!("detach {}", web.reference()))?;
    stage.lab.finish()
}

fn no_more(_: &Guest) -> Vec<String> {
    Vec::new()
}

#[test]
fn a_podman_container_is_a_guest() -> Result<()> {
    needs!(Root, Podman);
    lives(Runtime::Podman, no_more)
}

#[test]
fn an_lxc_container_is_a_guest() -> Result<()> {
    needs!(Root, Lxc);
    lives(Runtime::Lxc, no_more)
}

#[test]
fn a_container_of_containerd_is_a_guest() -> Result<()> {
    needs!(Root, Docker);
    lives(Runtime::Containerd, |web| vec![format!("containerd:{}", bare(web))])
}

#[test]
fn a_container_of_crio_is_a_guest() -> Result<()> {
    needs!(Root, Runc);
    lives(Runtime::Crio, |web| vec![format!("crio:{}", &bare(web)[..12]), bare(web)[..8].to_owned()])
}

#[test]
fn a_machine_of_systemd_is_a_guest() -> Result<()> {
    needs!(Root);
    lives(Runtime::Machined, no_more)
}

#[test]
fn a_podman_container_that_dies_leaves_nothing() -> Result<()> {
    needs!(Root, Podman, Macvlan);
    dies(Runtime::Podman)
}

#[test]
fn an_lxc_container_that_dies_leaves_nothing() -> Result<()> {
    needs!(Root, Lxc, Macvlan);
    dies(Runtime::Lxc)
}

#[test]
fn a_container_of_containerd_that_dies_leaves_nothing() -> Result<()> {
    needs!(Root, Docker, Macvlan);
    dies(Runtime::Containerd)
}

#[test]
fn a_container_of_crio_that_dies_leaves_nothing() -> Result<()> {
    needs!(Root, Runc, Macvlan);
    dies(Runtime::Crio)
}

#[test]
fn a_machine_of_systemd_that_dies_leaves_nothing() -> Result<()> {
    needs!(Root, Macvlan);
    dies(Runtime::Machined)
}

#[test]
fn a_name_that_two_runtimes_know_is_refused_with_both_named() -> Result<()> {
    needs!(Root, Lxc);
    let stage = stage()?;
    let (lxc, machine) =
        (stage.host.contained("web", Runtime::Lxc)?, stage.host.contained("web", Runtime::Machined)?);
    let before = stage.settled()?;

    let answer = stage.agent.ctl(&format!("attach br0 {} --no-ip", bare(&lxc)))?;

    ask::refused(answer, "GUEST_AMBIGUOUS", &[lxc.reference(), machine.reference()]);
    before.assert_same(&Snapshot::take(&stage.host)?);
    stage.ctl(&format!("attach br0 {} --no-ip", machine.reference()))?;
    assert!(machine.inside()?.has_link("eth1")? && !lxc.inside()?.has_link("eth1")?);
    stage.ctl(&format!("detach {}", bare(&machine)))?;
    stage.lab.finish()
}

#[test]
fn dockers_containers_are_one_guest_though_containerd_knows_them_too() -> Result<()> {
    needs!(Root, Docker);
    let stage = stage()?;
    let web = stage.host.container("web")?;
    let name = web.reference().trim_start_matches("docker:");
    let id = pipewright_tests::Docker::shared()?.docker(&["inspect", "--format", "{{.Id}}", name])?;
    let id = &id.trim()[..12];

    stage.ctl(&format!("attach br0 {id} --no-ip"))?;
    let again = stage.ctl(&format!("attach br0 containerd:moby/{id} --no-ip"))?;

    assert!(again.stdout.contains("it was there already"), "{again:?}");
    assert_eq!(stage.agent.list()?[0]["guest"]["runtime"], "docker");
    stage.ctl(&format!("detach {id}"))?;
    stage.lab.finish()
}

#[test]
fn a_podman_that_is_away_is_missed_only_by_its_name() -> Result<()> {
    needs!(Root);
    let stage = stage()?;
    stage.agent.kill9()?;
    stage.agent.set_options(AgentOptions::default());
    stage.agent.start()?;
    let (web, machine) = (stage.host.guest("web")?, "machined:nobody");
    let name = web.reference().trim_start_matches("netns:");

    ask::refused(stage.agent.ctl("attach br0 podman:web --no-ip")?, "PODMAN_DOWN", &["Podman", "pid:N"]);
    ask::refused(
        stage.agent.ctl(&format!("attach br0 {machine} --no-ip"))?,
        "GUEST_NOT_FOUND",
        &["machinectl"],
    );
    stage.ctl(&format!("attach br0 {name} --no-ip"))?;
    stage.ctl(&format!("detach {name}"))?;
    stage.lab.finish()
}
