//! `pwctl wait`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use pipewright_api::client::ClientError;
use pipewright_api::reason::Reason;
use pipewright_api::request::WAIT_MAX;
use pipewright_api::spec::GuestRef;
use pipewright_api::wire;
use pipewright_wait::{Asked, args};

use crate::args::Global;
use crate::connect;
use crate::explain::Failed;
use crate::output;
use crate::values;

/// How much longer than the wait itself the answer may take.
const GRACE: Duration = Duration::from_secs(5);

/// Wait until a link in a guest is ready
///
/// The link need not be one of ours. Each condition includes the ones before it. Exits with 1 when --timeout ran out, and
/// says how far the link had come.
#[derive(Debug, Args)]
#[command(after_help = "\
Conditions:
  up       the link is there and administratively up
  carrier  it has carrier, and the switch forwards its frames
  address  it has an address in use, not one still being checked for duplicates
  gateway  a default gateway over it answers

Examples:
  pwctl wait docker:web --for address --timeout 10s
  pwctl wait docker:web --ifname eth0 --for gateway && docker exec web ./start
  pwctl wait --local --for carrier --timeout 2m && exec ./start      # inside the guest
  pwctl wait --local --for gateway -- ./start                        # the same, without a shell

`pwwait` is `pwctl wait --local` as one small static program that images can
copy in: `make wait-static` builds it.")]
pub(crate) struct Wait {
    /// Whose link: docker:NAME, podman:NAME, lxc:NAME, containerd:ID, crio:ID, machined:NAME, pid:N, netns:NAME, or a name that is
    /// looked up in all of these
    #[arg(
        value_name = "GUEST",
        value_parser = values::checked::<GuestRef>,
        required_unless_present = "local",
        conflicts_with = "local"
    )]
    guest: Option<GuestRef>,
    /// Look at the links here, where pwctl runs, and ask no agent: for use inside a guest (see also pwwait)
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    link: args::Link,
    /// With --local: become this program when the link is ready
    #[arg(last = true, value_name = "COMMAND", requires = "local")]
    command: Vec<OsString>,
}

impl Wait {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failed> {
        let Some(guest) = &self.guest else { return self.wait_here(global) };
        if global.timeout > WAIT_MAX {
            return Err(Failed::Usage("--timeout: an agent waits for one hour at most".to_owned()));
        }
        let args::Link { ifname, condition } = &self.link;
        super::block_on(async {
            let client = connect::client(&Global { timeout: GRACE, ..global.clone() })?;
            let state = client.wait(guest, ifname, *condition, global.timeout).await;
            let state = state.map_err(|error| self.explain(guest, &error))?;
            let text = format!("{ifname} in {guest} is ready: {condition}{state}");
            output::answer(global.output, &wire::WaitResponse::from(state), |_| text)
        })
    }

    /// Waits without an agent.
    fn wait_here(&self, global: &Global) -> Result<(), Failed> {
        let args::Link { ifname, condition } = self.link.clone();
        let asked = Asked { ifname, condition, timeout: Some(global.timeout) };
        let state = pipewright_wait::wait(&asked).map_err(|why| Failed::Because(why.to_string()))?;
        if !self.command.is_empty() {
            return Err(Failed::Because(args::become_program(&self.command)));
        }
        let text = pipewright_wait::ready(&asked, &state);
        output::answer(global.output, &wire::WaitResponse::from(state), |_| text)
    }

    fn explain(&self, guest: &GuestRef, error: &ClientError) -> Failed {
        let failed = Failed::Client(error.clone());
        match error.failure() {
            Some(failure) if failure.reason() == Reason::NotReady => {
                let ifname = &self.link.ifname;
                Failed::Because(format!(
                    "{failed}\nsee what it looks like with `pwctl list --guest {guest}`, or wait longer for {ifname} with --timeout"
                ))
            }
            Some(_) | None => failed,
        }
    }
}
