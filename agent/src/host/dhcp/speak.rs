//! One exchange of a client with servers.

use std::io;

use super::datagram::Datagrams;
use super::socket::Socket;
use super::{Outcome, now};
use crate::dhcp::given::{Client, Given};
use crate::dhcp::{Action, Actions, Machine, Moment};
use crate::host::kernel::Kernel;
use crate::host::netns::Netns;
use crate::step::LeaseRequest;

/// What carries the messages of one kind of client.
pub(super) trait Line {
    type Client: Machine;

    /// Sends one message.
    ///
    /// # Errors
    /// What the link says, such as ENETDOWN.
    async fn send(
        &self,
        message: &<Self::Client as Machine>::Message,
        to: <Self::Client as Machine>::To,
    ) -> io::Result<()>;

    /// The next message of a server, and where it came from.
    ///
    /// # Errors
    /// What the link says, such as ENETDOWN.
    async fn receive(
        &self,
    ) -> io::Result<(<Self::Client as Machine>::Message, <Self::Client as Machine>::From)>;
}

impl Kernel {
    /// Has a client speak with servers over a link of a guest until something comes of it, or until then. An address that it
    /// did not have before is looked for on the network, if that was asked for, and declined when it is somebody else's. The
    /// guest's namespace is held for as long.
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
        let visit = Visit { kernel: self, guest, asked, until };
        match client {
            Client::V4(client) => {
                let socket = Socket::open(self, guest, &asked.ifname).await?;
                let outcome = visit.speak(&socket, client, Given::V4).await;
                socket.close();
                outcome
            }
            Client::V6(client) => {
                let socket = Datagrams::open(self, guest, &asked.ifname).await?;
                visit.speak(&socket, client, Given::V6).await
            }
        }
    }
}

struct Visit<'a> {
    kernel: &'a Kernel,
    guest: &'a Netns,
    asked: &'a LeaseRequest,
    until: Moment,
}

impl Visit<'_> {
    async fn speak<L: Line>(
        &self,
        line: &L,
        client: &mut L::Client,
        given: fn(<L::Client as Machine>::Lease) -> Given,
    ) -> io::Result<Outcome>
    where
        <L::Client as Machine>::Lease: Clone,
    {
        let had = client.lease().cloned().map(|lease| given(lease).ip());
        let mut declined = None;
        let mut actions = client.tick(now());
        loop {
            let outcome = exchange(line, client, actions, given, self.until).await?;
            match outcome {
                Outcome::Bound(lease) if had != Some(lease.ip()) => {
                    let Some(holder) = self.holder(&lease).await? else { return Ok(Outcome::Bound(lease)) };
                    let id = self.asked.id;
                    tracing::warn!(attachment = %id, "an address from a server is declined: {holder}");
                    declined = Some(holder);
                    actions = client.decline(now());
                }
                Outcome::Silence(None) => return Ok(Outcome::Silence(declined)),
                outcome => return Ok(outcome),
            }
        }
    }

    /// Who else has the address, if somebody has.
    async fn holder(&self, lease: &Given) -> io::Result<Option<String>> {
        let LeaseRequest { ifname, mac, check, .. } = self.asked;
        let holder = match lease {
            Given::V4(lease) => self.kernel.find_holder(self.guest, ifname, *mac, lease.ip, *check).await?,
            Given::V6(lease) => {
                let left = Given::V6(lease.clone()).left(now());
                self.kernel.claim(self.guest, ifname, lease.address, left, *check).await?
            }
        };
        Ok(holder.map(|holder| holder.to_string()))
    }
}

async fn exchange<L: Line>(
    line: &L,
    client: &mut L::Client,
    mut actions: Actions<L::Client>,
    given: fn(<L::Client as Machine>::Lease) -> Given,
    until: Moment,
) -> io::Result<Outcome> {
    let mut why = None;
    loop {
        for action in actions {
            match action {
                Action::Send { message, to } => line.send(&message, to).await?,
                Action::Bound(lease) => return Ok(Outcome::Bound(given(lease))),
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
            heard = line.receive() => {
                let (message, from) = heard?;
                client.hear(&message, from, now())
            }
            () = tokio::time::sleep(wake.saturating_sub(time)) => client.tick(now()),
        };
    }
}
