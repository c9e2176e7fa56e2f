//! What becomes of a link when its guest stops.

use serde::{Deserialize, Serialize};

use super::{AttachmentSpec, GuestRef, Uplink};
use crate::attachment::Runtime;

/// Whether a link comes back with its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Follow {
    /// It waits for the guest, and is made again when that starts.
    Restarts,
    /// It goes with the guest.
    Once,
}

impl AttachmentSpec {
    /// The guest of it, at either end, of which it is known without a look at the host that a link cannot follow it.
    pub(crate) fn not_to_be_followed(&self) -> Option<&GuestRef> {
        let far = match &self.uplink {
            Uplink::Guest(peer) => Some(peer),
            Uplink::Link(_) | Uplink::Mac(_) | Uplink::Dummy | Uplink::Host => None,
        };
        let cannot = |guest: &&GuestRef| guest.runtime().is_some_and(|runtime| !runtime.tells_of_starts());
        std::iter::once(&self.guest).chain(far).find(cannot)
    }
}

impl GuestRef {
    /// The name or id in it that Docker or Podman may know; `None` for a guest that neither runs.
    pub fn container_word(&self) -> Option<&str> {
        match self {
            Self::Docker(word) | Self::Podman(word) | Self::Bare(word) => Some(word),
            Self::Lxc(_)
            | Self::Containerd(_)
            | Self::Crio(_)
            | Self::Machined(_)
            | Self::Pid(_)
            | Self::NetnsName(_)
            | Self::NetnsPath(_) => None,
        }
    }

    /// What runs it; `None` for a bare word.
    fn runtime(&self) -> Option<Runtime> {
        Some(match self {
            Self::Docker(_) => Runtime::Docker,
            Self::Podman(_) => Runtime::Podman,
            Self::Lxc(_) => Runtime::Lxc,
            Self::Containerd(_) => Runtime::Containerd,
            Self::Crio(_) => Runtime::Crio,
            Self::Machined(_) => Runtime::Machined,
            Self::Pid(_) => Runtime::Pid,
            Self::NetnsName(_) | Self::NetnsPath(_) => Runtime::Netns,
            Self::Bare(_) => return None,
        })
    }
}
