//! Programs of iproute2 in a guest's network namespace, with the host's files.
//!
//! A child is born in the namespace of the thread that starts it, so a thread that may go there enters, starts it and comes home.
//! Nothing of the guest is run, and none of its files are seen.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use pipewright_api::tool::{Ran, ToolLine};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

use crate::host::kernel::Kernel;
use crate::host::netns::{self, Netns};

/// Where distributions put them.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A full table of the Internet's routes is printed in two seconds.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Why there is no answer of the program's.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is the host's own namespace.
    #[error("it is the host's own network namespace")]
    IsHost,
    /// The host does not have it.
    #[error("{0} is not installed on this host")]
    Missing(&'static str),
    /// It would be too much to send, or to keep.
    #[error("it prints more than {0} bytes")]
    TooMuch(u64),
    /// It was killed.
    #[error("it did not end within {TIMEOUT:?} and was killed")]
    TooLong,
    /// The kernel refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Kernel {
    /// Which namespace a guest's is, and whether it is the host's own, or the machine's first: no guest.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN.
    pub async fn identify(&self, guest: &Netns) -> io::Result<(u64, bool)> {
        let inner = self.inner.clone();
        let look = move || {
            let cookie = netns::own_cookie()?;
            Ok((cookie, inner.is_host_here(cookie)?))
        };
        self.inner.threads.run_in(guest, look).await
    }

    /// `ip netns exec GUEST ip route …`, without the guest's view of /sys. Prints at most `most` bytes on either output.
    ///
    /// # Errors
    /// [`ToolError`]; a program that fails is no error.
    pub async fn run_tool(&self, guest: &Netns, line: &ToolLine, most: u64) -> Result<Ran, ToolError> {
        let program = line.tool().program();
        let mut command = Command::new(program);
        command.args(line.arguments()).env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let (inner, runtime) = (self.inner.clone(), Handle::current());
        let start = move || {
            if inner.is_host_here(netns::own_cookie()?)? {
                return Ok(Err(ToolError::IsHost));
            }
            // Its end is waited for over there.
            let _entered = runtime.enter();
            Ok(command.spawn().map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => ToolError::Missing(program),
                _ => ToolError::Io(error),
            }))
        };
        let child = self.inner.threads.run_in(guest, start).await??;
        match tokio::time::timeout(TIMEOUT, finish(child, most)).await {
            Ok(ran) => ran,
            Err(_) => Err(ToolError::TooLong),
        }
    }
}

/// What it prints, and how it ends. Killed when this is dropped.
async fn finish(mut child: Child, most: u64) -> Result<Ran, ToolError> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = tokio::try_join!(read(stdout, most), read(stderr, most))?;
    let exit_code = code(child.wait().await?);
    Ok(Ran { exit_code, stdout, stderr })
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> Result<Vec<u8>, ToolError> {
    let mut text = Vec::new();
    let Some(pipe) = pipe else { return Ok(text) };
    pipe.take(most + 1).read_to_end(&mut text).await?;
    match text.len() as u64 > most {
        true => Err(ToolError::TooMuch(most)),
        false => Ok(text),
    }
}

/// As a shell's `$?`.
fn code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
