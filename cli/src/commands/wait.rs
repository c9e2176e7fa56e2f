//! `pwctl wait`.

use std::time::Duration;

use clap::Args;
use pipewright_api::client::ClientError;
use pipewright_api::condition::Condition;
use pipewright_api::net::LinkName;
use pipewright_api::reason::Reason;
use pipewright_api::request::WAIT_MAX;
use pipewright_api::spec::GuestRef;
use pipewright_api::wire;

use crate::args::Global;
use crate::connect;
use crate::explain::Failed;
use crate::links::{self, LinkState};
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
  pwctl wait --local --for carrier --timeout 2m && exec ./start      # inside the guest")]
pub(crate) struct Wait {
    /// Whose link: docker:NAME, pid:N, netns:NAME, or a name that is looked up in that order
    #[arg(
        value_name = "GUEST",
        value_parser = values::checked::<GuestRef>,
        required_unless_present = "local",
        conflicts_with = "local"
    )]
    guest: Option<GuestRef>,
    /// Look at the links here, where pwctl runs, and ask no agent: for use inside a guest; up and carrier only
    #[arg(long)]
    local: bool,
    /// Name of the link in the guest
    #[arg(long, default_value = "eth1", value_name = "NAME", value_parser = values::checked::<LinkName>)]
    ifname: LinkName,
    /// What to wait for: up, carrier, address or gateway
    #[arg(
        long = "for",
        default_value = "up",
        value_name = "CONDITION",
        value_parser = values::checked::<Condition>
    )]
    condition: Condition,
}

impl Wait {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failed> {
        if global.timeout > WAIT_MAX {
            return Err(Failed::Usage("--timeout: an agent waits for one hour at most".to_owned()));
        }
        super::block_on(async {
            let Some(guest) = &self.guest else { return self.wait_here(global.timeout).await };
            let client = connect::client(&Global { timeout: GRACE, ..global.clone() })?;
            let state = client.wait(guest, &self.ifname, self.condition, global.timeout).await;
            let state = state.map_err(|error| self.explain(guest, &error))?;
            let answer: wire::WaitResponse = state.into();
            output::answer(global.output, &answer, |answer| line(&self, guest, answer))
        })
    }

    /// Waits without an agent.
    async fn wait_here(&self, timeout: Duration) -> Result<(), Failed> {
        let needs_carrier = match self.condition {
            Condition::Up => false,
            Condition::Carrier => true,
            Condition::Address | Condition::Gateway => {
                let why = format!("--for {}: with --local use up or carrier", self.condition);
                return Err(Failed::Usage(why));
            }
        };
        let is_ready = |link: LinkState| link.up && (link.carrier || !needs_carrier);
        let mut last = LinkState::default();
        let waited =
            tokio::time::timeout(timeout, links::wait(&self.ifname, is_ready, |link| last = link)).await;
        let (ifname, condition) = (&self.ifname, self.condition);
        match waited {
            Ok(Ok(())) => output::print(&format!("{ifname} is ready: {condition}")),
            Ok(Err(why)) => Err(Failed::Because(format!("cannot wait for {ifname}: netlink: {why}"))),
            Err(_) => {
                let state = match last {
                    LinkState { exists: false, .. } => "is not there",
                    LinkState { up: false, .. } => "is down",
                    LinkState { carrier: false, .. } => "has no carrier",
                    LinkState { .. } => "was ready for a moment",
                };
                Err(Failed::Because(format!(
                    "{ifname} {state} after {timeout:?}; wait longer with --timeout"
                )))
            }
        }
    }

    fn explain(&self, guest: &GuestRef, error: &ClientError) -> Failed {
        let failed = Failed::Client(error.clone());
        match error.failure() {
            Some(failure) if failure.reason() == Reason::NotReady => {
                let ifname = &self.ifname;
                Failed::Because(format!(
                    "{failed}\nsee what it looks like with `pwctl list --guest {guest}`, or wait longer for {ifname} with --timeout"
                ))
            }
            Some(_) | None => failed,
        }
    }
}

fn line(asked: &Wait, guest: &GuestRef, answer: &wire::WaitResponse) -> String {
    let state = answer.state.clone().unwrap_or_default();
    let mut text = format!("{} in {} is ready: {}", asked.ifname, guest, asked.condition);
    if !state.addresses.is_empty() {
        text.push_str(&format!(", {}", state.addresses.join(" ")));
    }
    if !state.gateway.is_empty() {
        text.push_str(&format!(", gateway {} {}", state.gateway, state.gateway_state));
    }
    text.trim_end().to_owned()
}
