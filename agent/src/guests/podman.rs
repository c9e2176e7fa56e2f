//! Podman containers of root, over the API that Podman serves in Docker's place.

use std::path::Path;

use pipewright_api::attachment::Runtime;
use pipewright_api::reason::Reason;

use super::docker::{Docker, Server};

const PODMAN: Server =
    Server { runtime: Runtime::Podman, name: "Podman", command: "podman", down: Reason::PodmanDown };

/// Podman at that unix socket (`podman system service`, podman.socket).
pub(super) fn podman(socket: &Path) -> Docker {
    Docker::served_by(&PODMAN, socket)
}
