//! Links of somebody else under the names of ports of ours: Open vSwitch takes a link by its name, whoever made it.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::{AgentOptions, Guest, needs};

use crate::ask;
use crate::drift::host_end;
use crate::scene::{FOREIGN, Scene, until};

/// Has somebody's link take the place of ours, in one go. Gives its number.
fn supplant(scene: &Scene, name: &str) -> Result<u64> {
    let mut ip = scene.host.inside().command("ip")?;
    let mut ip = ip.args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    let lines = format!("link del {name}\nlink add {name} type veth peer name theirs\nlink set {name} up\n");
    ip.stdin.take().context("its input")?.write_all(lines.as_bytes())?;
    ensure!(ip.wait()?.success(), "ip -batch refused");
    number(scene, name)
}

fn number(scene: &Scene, name: &str) -> Result<u64> {
    let links = scene.host.inside().ip_json(&format!("link show dev {name}"))?;
    links[0]["ifindex"].as_u64().context("a link has a number")
}

/// Its row went with the link of ours, and the link of somebody else is as it was.
fn is_left_alone(scene: &Scene, name: &str, index: u64) -> Result<()> {
    until("the row is gone", || {
        Ok(scene.host.ovs()?.vsctl(&format!("list-ports {FOREIGN}"))?.trim().is_empty())
    })
    .with_context(|| scene.agent.log())?;
    until("the attachment is gone", || Ok(scene.agent.list()?.is_empty()))?;
    assert_eq!(number(scene, name)?, index);
    until("the switch let go of it", || {
        Ok(!scene.host.inside().ip(&format!("-d link show dev {name}"))?.contains("openvswitch"))
    })?;
    scene.host.inside().ip(&format!("link del {name}")).map(drop)
}

fn attach(scene: &Scene, guest: &Guest) -> Result<String> {
    scene.ctl(&format!("attach {FOREIGN} {} --ip 192.0.2.10/24 --vlan 100", guest.reference()))?;
    host_end(scene, guest)
}

#[test]
fn a_link_that_takes_the_place_of_ours_does_not_get_into_its_vlan() -> Result<()> {
    needs!(Root, Ovs);
    let scene = Scene::ovs()?;
    let web = scene.host.guest("web")?;

    let name = attach(&scene, &web)?;
    let index = supplant(&scene, &name)?;
    is_left_alone(&scene, &name, index)?;

    // Nor when nobody looks.
    let name = attach(&scene, &web)?;
    scene.agent.kill9()?;
    let index = supplant(&scene, &name)?;
    scene.agent.start()?;
    is_left_alone(&scene, &name, index)?;
    scene.lab.finish()
}

#[test]
fn a_link_under_the_name_of_one_that_waits_is_left_alone_until_it_goes() -> Result<()> {
    needs!(Root, Docker, Ovs);
    let scene = Scene::ovs_with(AgentOptions::with_docker()?)?;
    let web = scene.host.container("web")?;
    let name = attach(&scene, &web)?;
    let waiting = || -> Result<String> {
        let listed = scene.agent.list()?;
        Ok(listed[0]["waiting"].as_str().unwrap_or_default().to_owned())
    };
    web.docker("kill")?;
    web.docker("wait")?;
    until("it waits", || Ok(waiting()?.contains("stopped")))?;
    scene.host.inside().ip(&format!("link add {name} type veth peer name theirs"))?;
    let index = number(&scene, &name)?;

    web.docker("start")?;
    until("it is said what is in the way", || Ok(waiting()?.contains(&name)))?;
    let line = format!("attach {FOREIGN} {} --ip 192.0.2.10/24 --vlan 100", web.reference());
    ask::refused(scene.agent.ctl(&line)?, "IFNAME_TAKEN", &[&name]);
    assert_eq!(scene.host.ovs()?.vsctl(&format!("list-ports {FOREIGN}"))?.trim(), "");
    assert_eq!(number(&scene, &name)?, index);

    scene.host.inside().ip(&format!("link del {name}"))?;
    let again = scene.ctl(&line)?;
    assert!(again.stdout.contains(&name) || host_end(&scene, &web)? == name, "{again:?}");
    assert_eq!(scene.host.ovs()?.vsctl(&format!("list-ports {FOREIGN}"))?.trim(), name);
    scene.ctl(&format!("detach {}", web.reference()))?;
    scene.lab.finish()
}
