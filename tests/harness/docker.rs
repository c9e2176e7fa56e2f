//! One private Docker for all labs of a test program: own containerd, own sockets and folders, own namespace, no bridge,
//! no firewall rules, no registry. The undertaker ends it.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::netns::Netns;
use crate::process::{Process, command, output};
use crate::rootfs;
use crate::undertaker::{MARK, Run};

const IMAGE: &str = "pipewright-lab";
const READY: Duration = Duration::from_secs(60);

/// The daemon, its containerd and their namespace.
#[derive(Debug)]
pub struct Docker {
    dir: PathBuf,
    _containerd: Process,
    dockerd: Mutex<Process>,
    netns: Netns,
}

impl Docker {
    /// The one of this program, started at the first call.
    ///
    /// # Errors
    /// It cannot run on this machine; the same error at every call.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Docker, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("Docker cannot run here: {error}"))
    }

    /// `unix:PATH` of its API.
    pub fn endpoint(&self) -> String {
        format!("unix:{}", self.dir.join("docker.sock").display())
    }

    /// The socket of its containerd.
    pub(crate) fn containerd(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    fn start() -> Result<Self> {
        let run = Run::get()?;
        let dir = run.dir().join("docker");
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let netns = Netns::add(format!("{}-docker", run.name()))?;
        let at = |name: &str| dir.join(name).display().to_string();

        std::fs::write(
            dir.join("containerd.toml"),
            format!(
                "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
                 [grpc]\naddress = \"{}\"\n",
                at("containerd-root"),
                at("containerd-state"),
                at("containerd.sock")
            ),
        )?;
        let notify = Notify::new(&dir.join("containerd.notify"))?;
        let containerd = Process::spawn(
            "containerd",
            notify.told_to(
                netns.inside().command("containerd")?.arg("--config").arg(dir.join("containerd.toml")),
            ),
        )?;
        notify.wait_ready(&containerd)?;

        // The file keeps /etc/docker/daemon.json out.
        std::fs::write(dir.join("daemon.json"), "{}")?;
        let dockerd = Mutex::new(start_dockerd(&dir, &netns)?);
        let docker = Self { dir, _containerd: containerd, dockerd, netns };
        docker.import_image()?;
        Ok(docker)
    }

    /// SIGKILL of the daemon, whose containers run on, and starts it again.
    ///
    /// # Errors
    /// It does not end, or does not start.
    pub fn crash_and_restart(&self) -> Result<()> {
        let mut dockerd = self.dockerd.lock().unwrap_or_else(PoisonError::into_inner);
        dockerd.kill9()?;
        *dockerd = start_dockerd(&self.dir, &self.netns)?;
        Ok(())
    }

    /// An image of one static program, so that no registry is asked.
    fn import_image(&self) -> Result<()> {
        let tar = self.dir.join("image.tar");
        output(command("tar")?.arg("-C").arg(rootfs::shared()?).arg("-cf").arg(&tar).arg("."))?;
        output(self.client()?.arg("import").arg(&tar).arg(IMAGE)).map(drop)
    }

    /// The `docker` command line, which finds nothing of the machine's own.
    fn client(&self) -> Result<Command> {
        let mut client = command("docker")?;
        client.env("DOCKER_CONFIG", &self.dir).env_remove("DOCKER_CONTEXT").env_remove("DOCKER_HOST");
        client.arg(format!("--host=unix://{}", self.dir.join("docker.sock").display()));
        Ok(client)
    }

    /// `docker WORDS`; gives what it prints.
    ///
    /// # Errors
    /// What `docker` says.
    pub fn docker(&self, words: &[&str]) -> Result<String> {
        output(self.client()?.args(words))
    }

    /// Starts a container that sleeps, with no network.
    ///
    /// # Errors
    /// What `docker` says; a name can be used once.
    pub fn run(&'static self, name: &str) -> Result<Container> {
        self.run_on(name, "none")
    }

    /// Starts a container that sleeps, in that network: `none`, `host`, `container:NAME`.
    ///
    /// # Errors
    /// What `docker` says; a name can be used once.
    pub fn run_on(&'static self, name: &str, network: &str) -> Result<Container> {
        self.run_with(name, &[&format!("--network={network}")])
    }

    /// Starts a container that sleeps, with these options of `docker run`.
    ///
    /// # Errors
    /// What `docker` says; a name can be used once.
    pub fn run_with(&'static self, name: &str, options: &[&str]) -> Result<Container> {
        let mark = format!("{MARK}={}", Run::get()?.name());
        let words = ["run", "--detach", "--name", name, "--env", &mark];
        self.docker(&[&words, options, &[IMAGE, "sleep", "1000000"]].concat())?;
        let mut container = Container { docker: self, name: name.to_owned(), pid: 0, is_removed: false };
        container.read_pid()?;
        Ok(container)
    }
}

/// Ready when this returns.
fn start_dockerd(dir: &Path, netns: &Netns) -> Result<Process> {
    let at = |name: &str| dir.join(name).display().to_string();
    let notify_at = dir.join("dockerd.notify");
    if notify_at.exists() {
        std::fs::remove_file(&notify_at)?;
    }
    let notify = Notify::new(&notify_at)?;
    let mut dockerd = netns.inside().command("dockerd")?;
    dockerd
        .arg(format!("--config-file={}", at("daemon.json")))
        .arg(format!("--host=unix://{}", at("docker.sock")))
        .arg(format!("--containerd={}", at("containerd.sock")))
        .arg(format!("--data-root={}", at("data")))
        .arg(format!("--exec-root={}", at("exec")))
        .arg(format!("--pidfile={}", at("dockerd.pid")))
        .arg(format!("--cgroup-parent=/{}", Run::get()?.name()))
        .args(["--exec-opt=native.cgroupdriver=cgroupfs", "--storage-driver=vfs", "--bridge=none"])
        // Without it a daemon that died ends its containers when it starts again.
        .arg("--live-restore")
        .args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
    let dockerd = Process::spawn("dockerd", notify.told_to(&mut dockerd))?;
    notify.wait_ready(&dockerd)?;
    Ok(dockerd)
}

/// A container. Removed when dropped.
#[derive(Debug)]
pub struct Container {
    docker: &'static Docker,
    name: String,
    pid: u32,
    is_removed: bool,
}

impl Container {
    /// The name that Docker knows.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first process, as the machine sees it; 0 when it does not run.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// `docker VERB NAME`.
    ///
    /// # Errors
    /// What `docker` says.
    pub fn verb(&mut self, verb: &str) -> Result<()> {
        self.docker.docker(&[verb, &self.name])?;
        self.read_pid()
    }

    /// `docker restart`, without the ten seconds of grace.
    ///
    /// # Errors
    /// What `docker` says.
    pub fn restart(&mut self) -> Result<()> {
        let old = self.pid;
        self.docker.docker(&["restart", "--time", "0", &self.name])?;
        self.read_pid()?;
        ensure!(self.pid != old, "container {} has the pid it had before its restart", self.name);
        Ok(())
    }

    /// `docker rm -f`.
    ///
    /// # Errors
    /// What `docker` says.
    pub fn remove(mut self) -> Result<()> {
        self.is_removed = true;
        self.docker.docker(&["rm", "--force", &self.name]).map(drop)
    }

    fn read_pid(&mut self) -> Result<()> {
        let pid = self.docker.docker(&["inspect", "--format", "{{.State.Pid}}", &self.name])?;
        self.pid = pid.trim().parse().with_context(|| format!("docker inspect printed {pid}"))?;
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.is_removed {
            return;
        }
        if let Err(error) = self.docker.docker(&["rm", "--force", &self.name]) {
            eprintln!("{error:#}");
        }
    }
}

/// How a daemon says that it is ready (`sd_notify(3)`).
struct Notify {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Notify {
    fn new(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), socket: UnixDatagram::bind(path)? })
    }

    fn told_to<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("NOTIFY_SOCKET", &self.path)
    }

    fn wait_ready(&self, process: &Process) -> Result<()> {
        let end = Instant::now() + READY;
        let mut message = [0; 4096];
        loop {
            ensure!(Instant::now() < end, "not ready within {READY:?}:\n{}", process.log());
            // Short, so that a daemon that ended is noticed before the long deadline.
            self.socket.set_read_timeout(Some(Duration::from_millis(250)))?;
            match self.socket.recv(&mut message) {
                Ok(length)
                    if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") =>
                {
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if !process.is_running()? {
                        bail!("ended:\n{}", process.log());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
