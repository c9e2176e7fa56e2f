//! Guests that pipework cannot find, or not any more: of other runtimes than Docker.

use anyhow::{Context as _, Result};
use pipewright_tests::{Reach, Runtime, needs, reach};

use super::{Stage, addresses, routes};

/// By its name with the runtime's and by the bare one: plugged, reached, asked by `route`, plugged again.
fn is_a_guest(runtime: Runtime) -> Result<()> {
    let stage = Stage::with_runtimes()?;
    let (web, db) = (stage.host.contained("web", runtime)?, stage.host.guest("db")?);
    stage.pipework(&format!("br1 {} 192.0.2.1/24", db.reference()))?;
    let (_, named) = web.reference().split_once(':').context("a name with its runtime's")?;
    let bare = named.rsplit('/').next().unwrap_or(named);

    for name in [web.reference(), bare] {
        let line = format!("br1 {name} 192.0.2.2/24@192.0.2.1");
        stage.pipework(&line)?;

        assert_eq!(addresses(&web, "eth1")?, ["192.0.2.2/24"], "{name}");
        assert_eq!(routes(&web)?, ["default via 192.0.2.1 dev eth1"], "{name}");
        assert_eq!(reach(&db.inside()?, &web.inside()?, "192.0.2.2".parse()?)?, Reach::BOTH, "{name}");
        let shown = stage.run(&format!("route {name} show default"))?.ok()?.stdout;
        assert_eq!(shown.trim(), "default via 192.0.2.1 dev eth1", "{name}");
        let listed = stage.agent.list()?;
        let own = listed.iter().find(|one| one["spec"]["guest"] == name).context("it is listed")?;
        // As pipework names it, by the pid of the guest's first process.
        let host_end = format!("veth1pl{}", own["guest"]["pid"]);
        assert_eq!(own["host_ifname"], host_end, "{name}");
        let again = stage.run(&line)?;
        assert_eq!((again.code, again.stdout.trim()), (1, &*format!("Link {host_end} exists and is up")));
        stage.agent.ctl(&format!("detach {name}"))?.ok()?;
        assert!(!web.inside()?.has_link("eth1")?, "{name}");
    }
    stage.end()
}

#[test]
fn a_podman_container_is_a_guest_of_pipeworks() -> Result<()> {
    needs!(Root, Podman);
    is_a_guest(Runtime::Podman)
}

#[test]
fn an_lxc_container_is_a_guest_of_pipeworks_on_every_host() -> Result<()> {
    needs!(Root, Lxc);
    is_a_guest(Runtime::Lxc)
}

#[test]
fn a_container_of_containerd_is_a_guest_of_pipeworks() -> Result<()> {
    needs!(Root, Docker);
    is_a_guest(Runtime::Containerd)
}

#[test]
fn a_container_of_crio_is_a_guest_of_pipeworks() -> Result<()> {
    needs!(Root, Runc);
    is_a_guest(Runtime::Crio)
}

#[test]
fn a_machine_of_systemd_is_a_guest_of_pipeworks() -> Result<()> {
    needs!(Root);
    is_a_guest(Runtime::Machined)
}

#[test]
fn a_name_that_two_runtimes_know_is_refused_with_both_and_one_of_them_is_taken() -> Result<()> {
    needs!(Root, Lxc);
    let stage = Stage::with_runtimes()?;
    let (lxc, machine) =
        (stage.host.contained("web", Runtime::Lxc)?, stage.host.contained("web", Runtime::Machined)?);
    let (_, bare) = lxc.reference().split_once(':').context("a name with its runtime's")?;

    let answer = stage.run(&format!("br1 {bare} 192.0.2.2/24"))?;

    let said = &answer.stderr;
    assert!(
        answer.code == 1 && [&lxc, &machine].iter().all(|guest| said.contains(guest.reference())),
        "{said}"
    );
    assert!(!stage.host.inside().has_link("br1")?);
    stage.pipework(&format!("br1 {} 192.0.2.2/24", machine.reference()))?;
    assert!(machine.inside()?.has_link("eth1")? && !lxc.inside()?.has_link("eth1")?);
    stage.end()
}
