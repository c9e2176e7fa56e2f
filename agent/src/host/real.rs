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
        while let Some(run) = steps[index..].chunk_by(are_together).next() {
            let after = index + run.len();
            let beside = beside(run, &steps[after..]);
            let (taken, made) = tokio::join!(self.take_run(within, run), self.take_run(within, beside));
            taken.map_err(|refused| refused.from(index))?;
            made.map_err(|refused| refused.from(after))?;
            index = after + beside.len();
        }
        Ok(())
    }
}

/// Neighbours in the list that the kernel takes at one place share one visit there.
fn are_together(a: &Step, b: &Step) -> bool {
    is_kernels(a) && is_kernels(b) && whither(a) == whither(b)
}

/// What the kernel makes while the database takes a port: the guest's side, but for routes. Those over a link without a port
/// would leave the guest without a way out for as long as the database does not answer.
fn beside<'a>(run: &[Step], next: &'a [Step]) -> &'a [Step] {
    let is_harmless = |step: &&Step| {
        let is_of_guest = is_kernels(step) && whither(step).is_none();
        is_of_guest && !matches!(step, Step::SetAsideRoute(_) | Step::AddRoute(_))
    };
    match run {
        [Step::PlugPort(_)] => &next[..next.iter().take_while(is_harmless).count()],
        _ => &[],
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
            Place::Host | Place::Guest => {
                self.visit(within, &run[passed_over..]).await.map_err(|refused| refused.from(passed_over))
            }
            Place::Ovs if self.must_stay(first).await => Ok(()),
            Place::Dhcp => dhcp::take(&self.kernel, within.guest, first)
                .await
                .map_err(|error| Refused { index: 0, error }),
            Place::Ovs => {
                let taken = ovs_steps::take(&self.ovs, &self.kernel, first).await;
                taken.map_err(|error| Refused { index: 0, error })
            }
        };
        // Who visits the guest tells the steps apart. What is taken beside others takes as long as they do.
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
