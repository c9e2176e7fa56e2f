//! Podman of root, with an API on a socket of its own.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::{Contained, Network};
use crate::process::{Process, command, output};
use crate::rootfs;
use crate::undertaker::{MARK, Run};

const READY: Duration = Duration::from_secs(60);

/// Its folders, and the program that serves its API.
#[derive(Debug)]
pub struct Podman {
    dir: PathBuf,
    _service: Process,
}

impl Podman {
    /// The one of this program, started at the first call.
    ///
    /// # Errors
    /// It cannot run on this machine; the same error at every call.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Podman, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("Podman cannot run here: {error}"))
    }

    fn start() -> Result<Self> {
        let dir = Run::get()?.dir().join("podman");
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let at = |name: &str| dir.join(name).display().to_string();
        let (root, run) = (at("root"), at("run"));
        std::fs::write(
            dir.join("storage.conf"),
            format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{root}\"\nrunroot = \"{run}\"\n"),
        )?;
        // Limits that a process without CAP_SYS_RESOURCE has in any case.
        std::fs::write(
            dir.join("containers.conf"),
            format!(
                "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                 [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
                 tmp_dir = \"{}\"\nstatic_dir = \"{}\"\nvolume_path = \"{}\"\n\
                 [network]\nnetwork_backend = \"cni\"\nnetwork_config_dir = \"{}\"\n",
                at("tmp"),
                at("static"),
                at("volumes"),
                at("net")
            ),
        )?;
        let mut serve = client(&dir)?;
        serve.args(["--log-level", "info", "system", "service", "--time", "0"]);
        serve.arg(format!("unix://{}", at("podman.sock")));
        let service = Process::spawn("podman", &mut serve)?;
        service.wait_line(|line| line.contains("API service listening"), READY)?;
        Ok(Self { dir, _service: service })
    }

    pub(super) fn run(&self, name: &str, network: Network) -> Result<Contained> {
        let network = match network {
            Network::Own => "none",
            Network::Host => "host",
        };
        self.run_with(name, &["--network", network])
    }

    /// Starts a container that sleeps, with these options of `podman run`.
    pub(crate) fn run_with(&self, name: &str, options: &[&str]) -> Result<Contained> {
        let run = Run::get()?.name();
        let mut start = client(&self.dir)?;
        start.args(["run", "--detach", "--name", name]).args(options);
        start.args(["--env", &format!("{MARK}={run}"), "--cgroup-parent", &format!("/{run}")]);
        start.arg("--rootfs").arg(rootfs::shared()?).args(["/bin/sleep", "1000000"]);
        output(&mut start)?;
        let mut asked = client(&self.dir)?;
        let pid = output(asked.args(["inspect", "--format", "{{.State.Pid}}", name]))?;
        let mut contained =
            Contained::new(pid.trim().parse()?, &[&["podman", "rm", "--force", "--time", "0", name]]);
        contained.environment = environment(&self.dir);
        Ok(contained)
    }
}

fn client(dir: &std::path::Path) -> Result<Command> {
    let mut podman = command("podman")?;
    podman.envs(environment(dir)).env_remove("CONTAINER_HOST");
    Ok(podman)
}

fn environment(dir: &std::path::Path) -> Vec<(&'static str, String)> {
    let at = |name: &str| dir.join(name).display().to_string();
    vec![("CONTAINERS_CONF", at("containers.conf")), ("CONTAINERS_STORAGE_CONF", at("storage.conf"))]
}
