//! The scene with a shell instead of a story.

use std::process::Command;

use anyhow::{Context, Result};
use pipewright_tests::Docker;
use pipewright_tests::agent::program;

use crate::interrupt::Interrupts;
use crate::scene::{PARTS, Scene};

/// Sets the scene, opens the operator's shell in it, and removes everything when the shell ends.
pub(crate) fn open(interrupts: &Interrupts) -> Result<()> {
    let scene = Scene::set(interrupts)?;
    let folder = scene.fleet.parent().context("the fleet file is in a folder")?;
    let pwctl = program("pwctl")?.canonicalize()?;
    let programs = pwctl.parent().context("pwctl is in a folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = [programs.to_owned(), folder.to_owned()];
    let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)))?;
    std::os::unix::fs::symlink(&pwctl, folder.join("pipework"))?;
    let containers: Vec<String> =
        PARTS.iter().map(|part| format!("{} on {}", part.name, part.host)).collect();
    println!(
        "
two hosts, a and b; containers {}
  pwctl fleet apply -f fleet.yaml        join them
  pwctl --host a list                    what is plugged in on a
  docker exec con1 ping -c 1 10.0.0.3    from a container to one on the other host
  pwctl --host a attach ovs0 docker:con1 --ifname eth2 --ip 192.0.2.1/24 --vlan 300
  PWCTL_HOST=a pipework br0 con1 -i eth3 198.51.100.1/24
                                         the same in the words of pipework
  pwctl fleet destroy -f fleet.yaml      take them apart
this is {}; everything is removed when you leave with `exit`
",
        containers.join(", "),
        folder.display()
    );
    // In the terminal's foreground, so not a command of the lab.
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    Command::new(&shell)
        .current_dir(folder)
        .env("PATH", path)
        .env("PWCTL_CONFIG", &scene.config)
        .env("DOCKER_HOST", Docker::shared()?.endpoint().replacen("unix:", "unix://", 1))
        .env_remove("DOCKER_CONTEXT")
        .env_remove("PWCTL_HOST")
        .env_remove("PWCTL_ENDPOINT")
        .status()
        .with_context(|| format!("cannot start {}", shell.display()))?;
    interrupts.forget();
    scene.leave();
    Ok(())
}
