//! What removes a test program's leavings when it is gone.
//! A destructor does not run when a program is killed, and a static's never does. So a shell waits, in a session of its
//! own, for the end of a pipe that only this program holds: the kernel closes it at any end, SIGKILL included.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result};

/// The variable that every process of a lab carries in its environment; how the undertaker knows them.
pub const MARK: &str = "PIPEWRIGHT_LAB";

/// `$1` is the run's name, `$2` its folder.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
cat >/dev/null
socket=$2/docker/docker.sock
if [ -S "$socket" ]; then
    # By Docker's own means first: a shim that is killed leaves its socket in /run/containerd.
    export DOCKER_CONFIG="$2/docker"
    timeout 20 docker -H "unix://$socket" ps -aq | xargs -r timeout 20 docker -H "unix://$socket" rm -f
fi
if [ -d "$2/podman" ]; then
    # What runc notes of them is in /run/runc.
    export CONTAINERS_CONF="$2/podman/containers.conf" CONTAINERS_STORAGE_CONF="$2/podman/storage.conf"
    timeout 20 podman rm --all --force --time 0
fi
tries=0
while [ "$tries" -lt 100 ]; do
    pids=$(grep -slzxF "PIPEWRIGHT_LAB=$1" /proc/[0-9]*/environ | cut -d/ -f3)
    [ -n "$pids" ] || break
    kill -9 $pids
    tries=$((tries + 1))
    sleep 0.05
done
awk -v dir="$2/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r at; do
    umount -l "$at"
done
for netns in /run/netns/"$1"-*; do
    [ -e "$netns" ] && ip netns del "${netns##*/}"
done
find /sys/fs/cgroup -depth -type d \( -path "*/$1*" -o -name "lxc.*.$1*" \) -exec rmdir {} \;
rm -rf --one-file-system "$2" "/run/lxc/lock/$2"
"#;

/// This program's name and folder.
#[derive(Debug)]
pub struct Run {
    name: String,
    dir: PathBuf,
    // Held open until this program ends.
    pipe: Mutex<Option<(ChildStdin, Child)>>,
}

impl Run {
    /// The run of this program; made, and its undertaker started, at the first call.
    ///
    /// # Errors
    /// The folder cannot be made, or the shell not started.
    pub fn get() -> Result<&'static Self> {
        static RUN: OnceLock<Result<Run, String>> = OnceLock::new();
        RUN.get_or_init(|| Self::start().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn start() -> Result<Self> {
        let name = format!("pwl{}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut shell = Command::new("setsid")
            .args(["sh", "-c", SCRIPT, "undertaker", &name])
            .arg(&dir)
            .env_remove(MARK)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start setsid, of util-linux")?;
        let stdin = shell.stdin.take().context("the undertaker has no stdin")?;
        Ok(Self { name, dir, pipe: Mutex::new(Some((stdin, shell))) })
    }

    /// Unique among the programs that run now; the first part of every name that a lab makes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where everything of this program lives.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes everything now and answers when it is gone; for the end of a program that is not a test.
    pub fn bury(&self) {
        let taken = self.pipe.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stdin, mut shell)) = taken {
            drop(stdin);
            if let Err(error) = shell.wait() {
                eprintln!("cannot wait for the undertaker: {error}");
            }
        }
    }
}
