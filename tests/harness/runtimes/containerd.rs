//! The containerd of Docker's lab, asked by its own command line.

use anyhow::{Context, Result};

use super::{Contained, Network};
use crate::process::{command, output};
use crate::undertaker::{MARK, Run};
use crate::{Docker, rootfs};

pub(super) fn run(name: &str, network: Network) -> Result<Contained> {
    let socket = Docker::shared()?.containerd().display().to_string();
    let run = Run::get()?.name();
    let (mark, cgroup) = (format!("{MARK}={run}"), format!("/{run}/{name}"));
    let ctr = || -> Result<std::process::Command> {
        let mut ctr = command("ctr")?;
        ctr.args(["--address", &socket]);
        Ok(ctr)
    };
    let mut start = ctr()?;
    start.args(["run", "--detach", "--env", &mark, "--cgroup", &cgroup]);
    if network == Network::Host {
        start.arg("--net-host");
    }
    start.arg("--rootfs").arg(rootfs::shared()?).args([name, "/bin/sleep", "1000000"]);
    output(&mut start)?;
    let tasks = output(ctr()?.args(["tasks", "list"]))?;
    let mut fields =
        tasks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|line| line.len() > 1);
    let pid =
        fields.find(|fields| fields[0] == name).context("containerd does not list its task")?[1].parse()?;
    let end: [&[&str]; 2] = [
        // Kills it, too.
        &["ctr", "--address", &socket, "tasks", "delete", "--force", name],
        &["ctr", "--address", &socket, "containers", "delete", name],
    ];
    Ok(Contained::new(pid, &end))
}
