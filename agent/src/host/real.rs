//! The one host that is no test's: its kernel and its Open vSwitch.

use std::time::Instant;

use pipewright_api::spec::SwitchKind;

use crate::host::kernel::Kernel;
use crate::host::{Host, Refused, Within, dhcp, ovs_steps};
use crate::step::{Far, Place, Step};
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
    async fn take<'a>(
        &'a self,
        within: impl Into<Within<'a>> + Send,
        steps: &'a [Step],
    ) -> Result<(), Refused> {
        let within = within.into();
        let mut index = 0;
        // Neighbours in the list that the kernel takes at one place share one visit there.
        let mut runs =
            steps.chunk_by(|a, b| is_kernels(a) && is_kernels(b) && whither(a) == whither(b)).peekable();
        while let Some(run) = runs.next() {
            let at = |from: usize| move |refused: Refused| Refused { index: from + refused.index, ..refused };
            // The database takes a port while the kernel makes the guest's side.
            let is_beside = |next: &&[Step]| matches!(run, [Step::PlugPort(_)]) && is_kernels(&next[0]);
            let beside = runs.next_if(is_beside).unwrap_or_default();
            let (taken, made) = tokio::join!(self.take_run(within, run), self.take_run(within, beside));
            taken.map_err(at(index))?;
            made.map_err(at(index + run.len()))?;
            index += run.len() + beside.len();
        }
        Ok(())
    }
}

impl RealHost {
    /// Takes steps that go together.
    async fn take_run(&self, within: Within<'_>, run: &[Step]) -> Result<(), Refused> {
        let Some(first) = run.first() else { return Ok(()) };
        let begun = Instant::now();
        // It is the first of its run: what made the bridge was Open vSwitch.
        let passed_over = usize::from(self.is_foreign(first));
        let result = match first.place() {
            Place::Host | Place::Guest => self
                .visit(within, &run[passed_over..])
                .await
                .map_err(|refused| Refused { index: passed_over + refused.index, ..refused }),
            Place::Ovs if self.must_stay(first).await => Ok(()),
            Place::Dhcp => dhcp::take(&self.kernel, within.guest, first)
                .await
                .map_err(|error| Refused { index: 0, error }),
            Place::Ovs => {
                let taken = ovs_steps::take(&self.ovs, &self.kernel, first).await;
                taken.map_err(|error| Refused { index: 0, error })
            }
        };
        // The kernel's visitor tells its steps apart.
        if !is_kernels(first) {
            self.kernel.step_times().took(run, begun.elapsed());
        }
        result
    }

    /// Whether the step would change a bridge of Open vSwitch that somebody else has made meanwhile.
    fn is_foreign(&self, step: &Step) -> bool {
        let Step::IgnoreRouters { link, switch: Some(SwitchKind::Ovs), .. } = step else { return false };
        self.ovs.bridges().iter().any(|bridge| bridge.name == link.as_str() && !bridge.is_ours)
    }

    /// Takes steps that all are for one place.
    async fn visit(&self, within: Within<'_>, steps: &[Step]) -> Result<(), Refused> {
        let Some(first) = steps.first() else { return Ok(()) };
        let plain = steps.iter().map(|step| match step {
            Step::There { what, .. } => (**what).clone(),
            step => step.clone(),
        });
        let plain: Vec<Step> = plain.collect();
        match whither(first) {
            None => self.kernel.take(within, plain).await,
            Some(Far::Guest) => self.kernel.take(within.peer, plain).await,
            Some(Far::Host) => self.kernel.take_in_host(plain).await,
        }
    }
}

fn is_kernels(step: &Step) -> bool {
    matches!(step.place(), Place::Host | Place::Guest)
}

/// At which other end a step is taken, if it is.
fn whither(step: &Step) -> Option<Far> {
    match step {
        Step::There { whither, .. } => Some(*whither),
        // It writes settings of the host, so the thread must not have entered a guest.
        Step::EnsureShim(_) => Some(Far::Host),
        _ => None,
    }
}
