//! What systemd-machined would leave on the disk about a process in the cgroup of a unit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Contained, Network};
use crate::process::{Process, command};
use crate::undertaker::Run;

/// Its state files in the run's folder.
pub(super) const FOLDER: &str = "machines";

pub(super) fn run(name: &str, network: Network) -> Result<Contained> {
    let run = Run::get()?;
    let folder = run.dir().join(FOLDER);
    std::fs::create_dir_all(&folder)?;
    let script = "ip link set lo up; echo here && exec sleep 1000000";
    let words: &[&str] = match network {
        Network::Own => &["--net", "--pid", "--fork", "--kill-child", "sh", "-c", script],
        Network::Host => &["--pid", "--fork", "--kill-child", "sh", "-c", "echo here && exec sleep 1000000"],
    };
    let nspawn = Process::spawn(name, command("unshare")?.args(words))?;
    nspawn.wait_line(|line| line == "here", Duration::from_secs(10))?;
    // The leader is the container's first process, and not the one that waits for it.
    let waiting = nspawn.pid();
    let children = std::fs::read_to_string(format!("/proc/{waiting}/task/{waiting}/children"))?;
    let leader: u32 = children.trim().parse().with_context(|| format!("children of {name}: {children}"))?;

    let scope = format!("machine-{name}.scope").replace('-', "\\x2d").replacen("\\x2d", "-", 1);
    let cgroup = hierarchy()?.join(run.name()).join(&scope);
    std::fs::create_dir_all(&cgroup)?;
    std::fs::write(cgroup.join("cgroup.procs"), leader.to_string())?;
    // As machine_save() of systemd's src/machine/machine.c writes it.
    std::fs::write(
        folder.join(name),
        format!(
            "# This is private data. Do not parse.\nNAME={name}\nSCOPE=\"{}\"\nSERVICE=nspawn\nLEADER={leader}\n\
             CLASS=container\nREALTIME=1700000000000000\nMONOTONIC=1000000\n",
            scope.replace('\\', "\\\\")
        ),
    )?;
    let (file, waiting) = (folder.join(name).display().to_string(), waiting.to_string());
    let end: [&[&str]; 2] = [&["kill", "-9", &waiting], &["rm", &file]];
    let mut contained = Contained::new(leader, &end);
    contained.process = Some(nspawn);
    Ok(contained)
}

/// Where systemd keeps its units: in the one hierarchy of v2, or beside the controllers of v1.
fn hierarchy() -> Result<PathBuf> {
    ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .map(Path::new)
        .into_iter()
        .find(|path| path.join("cgroup.procs").exists())
        .map(Path::to_owned)
        .context("no hierarchy of cgroups is mounted")
}
