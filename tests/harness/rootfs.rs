//! The files of every container of a test program: one static program under the names that stories use, so that no registry
//! is asked.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};

use crate::process::{command, output};
use crate::undertaker::Run;

/// The folder, made at the first call.
///
/// # Errors
/// There is no busybox; the same error at every call.
pub fn shared() -> Result<&'static Path> {
    static SHARED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    SHARED
        .get_or_init(|| make().map_err(|error| format!("{error:#}")))
        .as_deref()
        .map_err(|error| anyhow!("no files for containers: {error}"))
}

fn make() -> Result<PathBuf> {
    let root = Run::get()?.dir().join("rootfs");
    for folder in ["bin", "proc", "sys", "dev", "etc", "run", "tmp"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    let bin = root.join("bin");
    let busybox = output(command("sh")?.args(["-c", "command -v busybox"]))?;
    std::fs::copy(busybox.trim(), bin.join("busybox")).context("cannot copy busybox")?;
    for name in ["sh", "sleep", "ip", "ping", "nc", "cat", "ls"] {
        std::os::unix::fs::symlink("busybox", bin.join(name))?;
    }
    Ok(root)
}
