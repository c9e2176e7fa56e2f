//! What CRI-O would leave on the disk about a container that runc runs.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Contained, Network};
use crate::process::{command, output, stat_field};
use crate::rootfs;
use crate::undertaker::{MARK, Run};

/// Its storage in the run's folder.
pub(super) const STORAGE: &str = "crio/storage";

/// The container, and its id: 64 hexadecimal digits.
pub(super) fn run(name: &str, network: Network) -> Result<(Contained, String)> {
    let run = Run::get()?;
    let id: String = (0..2).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect();
    let userdata = run.dir().join(STORAGE).join("overlay-containers").join(&id).join("userdata");
    std::fs::create_dir_all(&userdata)?;
    let root = run.dir().join("crio/runc").display().to_string();
    bundle(&userdata, name, network, &id)?;

    let pidfile = userdata.join("pidfile");
    let mut start = command("runc")?;
    start.args(["--root", &root, "run", "--detach", "--pid-file"]).arg(&pidfile);
    start.arg("--bundle").arg(&userdata).arg(&id);
    // What it starts would keep a pipe open for ever.
    let ended = start.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status()?;
    anyhow::ensure!(ended.success(), "runc: {ended}");
    let pid: u32 = std::fs::read_to_string(&pidfile)?.trim().parse()?;

    // `ContainerState` of CRI-O's internal/oci/container.go.
    let mut state: Value =
        serde_json::from_str(&output(command("runc")?.args(["--root", &root, "state", &id]))?)?;
    state["initPid"] = pid.into();
    // As text.
    state["initStartTime"] = stat_field(pid, 22)?.into();
    std::fs::write(userdata.join("state.json"), state.to_string())?;
    let userdata = userdata.display().to_string();
    let end: [&[&str]; 2] = [&["runc", "--root", &root, "delete", "--force", &id], &["rm", "-rf", &userdata]];
    Ok((Contained::new(pid, &end), id))
}

/// A bundle as the OCI specification says, by runc's own example.
fn bundle(folder: &Path, name: &str, network: Network, id: &str) -> Result<()> {
    let run = Run::get()?.name();
    output(command("runc")?.arg("spec").arg("--bundle").arg(folder))?;
    let file = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    config["hostname"] = name.into();
    config["root"] = json!({ "path": rootfs::shared()?, "readonly": false });
    config["annotations"] = json!({ "io.container.manager": "cri-o", "io.kubernetes.cri-o.ContainerID": id });
    config["linux"]["cgroupsPath"] = format!("/{run}/crio-{id}").into();
    let process = config["process"].as_object_mut().context("runc's example has a process")?;
    process.insert("terminal".to_owned(), false.into());
    process.insert("args".to_owned(), json!(["/bin/sleep", "1000000"]));
    process.insert("env".to_owned(), json!(["PATH=/bin", format!("{MARK}={run}")]));
    process.remove("rlimits");
    if network == Network::Host {
        let namespaces = config["linux"]["namespaces"].as_array_mut().context("it has namespaces")?;
        namespaces.retain(|namespace| namespace["type"] != "network");
        // sysfs can be mounted only by the owner of the network.
        let mounts = config["mounts"].as_array_mut().context("it has mounts")?;
        mounts.retain(|mount| mount["type"] != "sysfs");
    }
    Ok(std::fs::write(&file, config.to_string())?)
}
