//! Clients of DHCP at work: they speak for guests' links, in the guests' namespaces, without a program or a thread there.

use std::io;
use std::time::Duration;

use pipewright_api::spec::DuplicateCheck;
use uuid::Uuid;

use self::datagram::Datagrams;
use self::socket::Socket;
use self::speak::Line;
use crate::dhcp::given::{Client, Given, Identity};
use crate::dhcp::{Moment, client, v6};
use crate::host::kernel::Kernel;
use crate::host::netlink::KernelError;
use crate::host::netns::Netns;
use crate::step::{LeaseRequest, Step, StepError};

mod configure;
mod datagram;
mod leases;
mod socket;
mod speak;

pub(super) use configure::missing;
pub use leases::Leases;

/// How long servers may take to answer an attach: three tries, and some look for a moment whether the address is in use.
const ATTACH: Duration = Duration::from_secs(20);
/// How much longer when each address is looked for first: two of them may be declined.
const ATTACH_CHECKED: Duration = Duration::from_secs(40);

/// What came of an exchange with servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The address is ours, newly or for longer.
    Bound(Given),
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
            let family = asked.identity.family();
            if let (Some(lease), Some(guest)) = (kernel.leases().given(asked.id, family), guest)
                && let Err(error) = release(kernel, guest, asked, &lease).await
            {
                // The lease ends anyway.
                let address = lease.ip();
                tracing::debug!(attachment = %asked.id, %address, %error, "the lease was not given back");
            }
            kernel.leases().forget(asked.id, family);
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
    let mut client = Client::new(&asked.identity, seed(), begin);
    let mut refused = None;
    let why = loop {
        let outcome = kernel.speak_dhcp(guest, asked, &mut client, begin + patience).await;
        match outcome.map_err(|error| refusal(step, error))? {
            Outcome::Bound(lease) => {
                kernel.leases().give(asked.id, lease.family(), Some(lease));
                return Ok(());
            }
            Outcome::Refused(text) => refused = Some(text.unwrap_or_else(|| "it gave no reason".to_owned())),
            Outcome::Ended => {}
            Outcome::Silence(why) => break why,
        }
    };
    let protocol = asked.identity.family().name();
    Err(StepError::NoLease {
        ifname: asked.ifname.to_string(),
        seconds: patience.as_secs(),
        seen: match (refused, why) {
            (Some(text), _) => format!("a {protocol} server refused: {text}"),
            (None, Some(why)) => format!("a {protocol} server answered, but {why}"),
            (None, None) => format!("no {protocol} server answered"),
        },
    })
}

/// Gives a lease back. What the server answers changes nothing for us, so nobody waits for it.
async fn release(kernel: &Kernel, guest: &Netns, asked: &LeaseRequest, lease: &Given) -> io::Result<()> {
    match (&asked.identity, lease) {
        (Identity::V4(identity), Given::V4(lease)) => {
            let socket = Socket::open(kernel, guest, &asked.ifname).await?;
            let (message, to) = client::Client::release(identity, lease, seed());
            let sent = socket.send(&message, to).await;
            socket.close();
            sent
        }
        (Identity::V6(identity), Given::V6(lease)) => {
            let socket = Datagrams::open(kernel, guest, &asked.ifname).await?;
            socket.send(&v6::client::Client::release(identity, lease, seed()), ()).await
        }
        (Identity::V4(_), Given::V6(_)) | (Identity::V6(_), Given::V4(_)) => Ok(()),
    }
}

impl Kernel {
    /// The leases that the steps of this host have got.
    pub fn leases(&self) -> &Leases {
        &self.inner.leases
    }
}

fn refusal(step: &Step, error: io::Error) -> StepError {
    let error = KernelError::from(error);
    StepError::Kernel { step: step.to_string(), errno: error.errno, text: error.text }
}
