//! LXC of root, with containers in a folder of its own.

use anyhow::Result;

use super::{Contained, Network};
use crate::process::{command, output};
use crate::rootfs;
use crate::undertaker::{MARK, Run};

pub(super) fn run(name: &str, network: Network) -> Result<Contained> {
    let run = Run::get()?;
    let folder = run.dir().join("lxc");
    std::fs::create_dir_all(folder.join(name))?;
    let network = match network {
        Network::Own => "empty",
        Network::Host => "none",
    };
    // No devices, terminals or mounts: a process that sleeps needs none, and what a sandbox does not allow is not asked for.
    std::fs::write(
        folder.join(name).join("config"),
        format!(
            "lxc.uts.name = {name}\nlxc.rootfs.path = dir:{}\nlxc.net.0.type = {network}\nlxc.init.cmd = /bin/sleep 1000000\n\
             lxc.environment = {MARK}={}\nlxc.apparmor.profile = unconfined\nlxc.autodev = 0\nlxc.tty.max = 0\n\
             lxc.pty.max = 0\n",
            rootfs::shared()?.display(),
            run.name()
        ),
    )?;
    let folder = folder.display().to_string();
    output(command("lxc-start")?.args(["-P", &folder, "-n", name]))?;
    let pid = output(command("lxc-info")?.args(["-P", &folder, "-n", name, "-p", "-H"]))?;
    Ok(Contained::new(pid.trim().parse()?, &[&["lxc-stop", "-k", "-P", &folder, "-n", name]]))
}
