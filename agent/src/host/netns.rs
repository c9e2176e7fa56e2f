//! Network namespaces: how to open one, and to tell it from every other.

use std::os::fd::OwnedFd;
use std::sync::Arc;

/// An open network namespace. It keeps a dead guest's links alive while it is held, so it lives as long as one operation.
#[derive(Debug, Clone)]
pub struct Netns {
    #[expect(dead_code, reason = "the host engineer's next commit reads it")]
    fd: Arc<OwnedFd>,
}
