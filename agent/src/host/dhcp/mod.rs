//! Clients of DHCP at work: they speak for guests' links, in the guests' namespaces, without a program or a thread there.

use std::io;
use std::time::Duration;

use pipewright_api::spec::DuplicateCheck;
use uuid::Uuid;

use self::socket::Socket;
use crate::dhcp::Moment;
use crate::dhcp::client::{Action, Client};
use crate::dhcp::lease::Lease;
use crate::host::kernel::Kernel;
use crate::host::netlink::KernelError;
use crate::host::netns::Netns;
use crate::step::{LeaseRequest, Step, StepError};

mod configure;
mod leases;
mod socket;

pub use leases::Leases;

/// How long servers may take to answer an attach: three tries, and some look for a moment whether the address is in use.
const ATTACH: Duration = Duration::from_secs(20);
/// How much longer when each address is looked for first: two of them may be declined.
const ATTACH_CHECKED: Duration = Duration::from_secs(40);

/// What came of an exchange with servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The address is ours, newly or for longer.
    Bound(Lease),
    /// The server takes the address back; it says why, or nothing.
    Refused(Option<String>),
    /// The lease ran out.
    Ended,
    /// Nobody answered; or what came was not heeded, for this reason.
    Silence(Option<String>),
}

/// The time by CLOCK_BOOTTIME.
pub fn now() -> Moment {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // The clock begins with zero at the host's start.
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Makes a client unlike others.
pub fn seed() -> u64 {
    Uuid::new_v4().as_u64_pair().1
}

/// Takes a step whose place is a DHCP server.
///
/// # Errors
/// No lease; giving one back does not fail.
pub(super) async fn take(kernel: &Kernel, guest: Option<&Netns>, step: &Step) -> Result<(), StepError> {
    match (step, guest) {
        (Step::AcquireLease(_), None) => Err(StepError::GuestGone),
        (Step::AcquireLease(asked), Some(guest)) => acquire(kernel, guest, step, asked).await,
        (Step::ReleaseLease(asked), guest) => {
            if let (Some(lease), Some(guest)) = (kernel.leases().given(asked.id), guest) {
                release(kernel, guest, asked, &lease).await;
            }
            kernel.leases().forget(asked.id);
            Ok(())
        }
        _ => Err(refusal(step, io::Error::from_raw_os_error(libc::EINVAL))),
    }
}

async fn acquire(kernel: &Kernel, guest: &Netns, step: &Step, asked: &LeaseRequest) -> Result<(), StepError> {
    let begin = now();
    let patience = match asked.check {
        DuplicateCheck::Off => ATTACH,
        DuplicateCheck::Quick | DuplicateCheck::Full => ATTACH + ATTACH_CHECKED,
    };
    let mut client = Client::new(asked.identity.clone(), seed(), begin);
    let mut refused = None;
    let why = loop {
        let outcome = kernel.speak_dhcp(guest, asked, &mut client, begin + patience).await;
        match outcome.map_err(|error| refusal(step, error))? {
            Outcome::Bound(lease) => {
                kernel.leases().give(asked.id, Some(lease));
                return Ok(());
            }
            Outcome::Refused(text) => refused = Some(text.unwrap_or_else(|| "it gave no reason".to_owned())),
            Outcome::Ended => {}
            Outcome::Silence(why) => break why,
        }
    };
    Err(StepError::NoLease {
        ifname: asked.ifname.to_string(),
        seconds: patience.as_secs(),
        seen: match (refused, why) {
            (Some(text), _) => format!("a DHCP server refused: {text}"),
            (None, Some(why)) => format!("a DHCP server answered, but {why}"),
            (None, None) => "no DHCP server answered".to_owned(),
        },
    })
}

/// Gives a lease back. No answer comes, and whether the server heard of it changes nothing for us: the lease ends anyway.
async fn release(kernel: &Kernel, guest: &Netns, asked: &LeaseRequest, lease: &Lease) {
    let sent = match Socket::open(kernel, guest, &asked.ifname).await {
        Ok(socket) => {
            let (message, to) = Client::release(&asked.identity, lease, seed());
            let sent = socket.send(&message, to);
            socket.close();
            sent
        }
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        tracing::debug!(attachment = %asked.id, address = %lease.ip, %error, "the lease was not given back");
    }
}

impl Kernel {
    /// The leases that the steps of this host have got.
    pub fn leases(&self) -> &Leases {
        &self.inner.leases
    }

    /// Has a client speak with servers over a link of a guest until something comes of it, or until then. The guest's
    /// namespace is held for as long.
    ///
    /// # Errors
    /// What the link says, such as ENODEV and ENETDOWN.
    pub async fn speak_dhcp(
        &self,
        guest: &Netns,
        asked: &LeaseRequest,
        client: &mut Client,
        until: Moment,
    ) -> io::Result<Outcome> {
        let had = client.lease().map(|lease| lease.ip);
        let socket = Socket::open(self, guest, &asked.ifname).await?;
        let mut declined = None;
        let mut actions = client.tick(now());
        let outcome = loop {
            let outcome = exchange(&socket, client, actions, until).await;
            let Ok(Outcome::Bound(lease)) = &outcome else { break outcome };
            if had == Some(lease.ip) {
                break outcome;
            }
            match self.find_holder(guest, &asked.ifname, asked.identity.mac, lease.ip, asked.check).await {
                Ok(None) => break outcome,
                Ok(Some(holder)) => {
                    tracing::warn!(attachment = %asked.id, "an address from a DHCP server is declined: {holder}");
                    declined = Some(format!("{holder}"));
                    actions = client.decline(now());
                }
                Err(error) => break Err(error),
            }
        };
        socket.close();
        match (outcome, declined) {
            (Ok(Outcome::Silence(None)), Some(declined)) => Ok(Outcome::Silence(Some(declined))),
            (outcome, _) => outcome,
        }
    }
}

async fn exchange(
    socket: &Socket,
    client: &mut Client,
    mut actions: Vec<Action>,
    until: Moment,
) -> io::Result<Outcome> {
    let mut why = None;
    loop {
        for action in actions {
            match action {
                Action::Send { message, to } => socket.send(&message, to)?,
                Action::Bound(lease) => return Ok(Outcome::Bound(lease)),
                Action::Refused(text) => return Ok(Outcome::Refused(text)),
                Action::Ended => return Ok(Outcome::Ended),
                Action::Ignored(reason) => why = Some(reason.to_owned()),
            }
        }
        let time = now();
        if time >= until || client.is_at_rest() {
            return Ok(Outcome::Silence(why));
        }
        let wake = client.due().map_or(until, |due| due.min(until));
        actions = tokio::select! {
            heard = socket.receive() => {
                let (message, from) = heard?;
                client.hear(&message, from, now())
            }
            () = tokio::time::sleep(wake.saturating_sub(time)) => client.tick(now()),
        };
    }
}

fn refusal(step: &Step, error: io::Error) -> StepError {
    let error = KernelError::from(error);
    StepError::Kernel { step: step.to_string(), errno: error.errno, text: error.text }
}
