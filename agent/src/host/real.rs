//! The one host that is no test's: its kernel and its Open vSwitch.

use crate::host::kernel::Kernel;
use crate::host::netns::Netns;
use crate::host::{Host, Refused, dhcp, ovs_steps};
use crate::step::{Place, Step};
use crate::switches::ovs::Ovs;

/// Takes each step where it lies.
#[derive(Debug, Clone)]
pub struct RealHost {
    /// Takes steps by netlink and sysctl, and those of DHCP.
    pub kernel: Kernel,
    /// Takes steps by OVSDB.
    pub ovs: Ovs,
}

impl RealHost {
    /// Whether the step would release a bridge of Open vSwitch to which somebody gave an address. One that cannot be looked
    /// at stays, too.
    async fn must_stay(&self, step: &Step) -> bool {
        let Step::ReleaseBridge { bridge, .. } = step else { return false };
        match self.kernel.has_address(bridge).await {
            Ok(has_address) => has_address,
            Err(error) => {
                tracing::warn!(%bridge, %error, "the bridge's addresses cannot be read, so it is not released");
                true
            }
        }
    }
}

impl Host for RealHost {
    async fn take(&self, guest: Option<&Netns>, steps: &[Step]) -> Result<(), Refused> {
        let mut index = 0;
        // Neighbours in the list that the kernel takes share one visit to the guest.
        for run in steps.chunk_by(|a, b| a.place() == Place::Kernel && b.place() == Place::Kernel) {
            let result = match run[0].place() {
                Place::Kernel => self.kernel.take(guest, run.to_vec()).await,
                Place::Ovs if self.must_stay(&run[0]).await => Ok(()),
                Place::Dhcp => dhcp::take(&self.kernel, guest, &run[0])
                    .await
                    .map_err(|error| Refused { index: 0, error }),
                Place::Ovs => {
                    ovs_steps::take(&self.ovs, &run[0]).await.map_err(|error| Refused { index: 0, error })
                }
            };
            result.map_err(|refused| Refused { index: index + refused.index, ..refused })?;
            index += run.len();
        }
        Ok(())
    }
}
