//! What a server gives.

use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use pipewright_api::dhcp;
use pipewright_api::net::{InterfaceAddr, usable};
use serde::{Deserialize, Serialize};

use super::message::{Association, Leased, Message, lasts, option, status};
use crate::dhcp::Moment;

/// With less than this, asking for more would be all that we do, in seconds.
const SHORTEST: u32 = 4;
/// Of each list that a server sends; the packet has room for more.
const MOST: usize = 32;

/// An address and what comes with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address, alone: which others are on the link, only routers say (RFC 5942 §4).
    pub address: InterfaceAddr,
    /// Without its prefix length.
    pub ip: Ipv6Addr,
    /// The server's DUID.
    pub server: Vec<u8>,
    /// Where its answer came from.
    pub server_ip: Ipv6Addr,
    /// When it was asked for; times count from there.
    pub since: Moment,
    /// How long it lasts; `None`: for ever.
    pub lasts: Option<Duration>,
    /// How long it is used for new connections; `None`: for ever.
    pub preferred: Option<Duration>,
    /// After which time to ask the same server for more; `None`: never.
    pub t1: Option<Duration>,
    /// After which time to ask every server for more; `None`: never.
    pub t2: Option<Duration>,
    /// Option 23.
    pub dns_servers: Vec<Ipv6Addr>,
    /// The first of option 24.
    pub domain: String,
}

/// Why there is no lease in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// The server gives none, and says why, or nothing.
    Refused(Option<String>),
    /// The server does not know of it.
    Unknown,
    /// It is not heeded.
    Ignored(&'static str),
}

impl Lease {
    /// From an advertisement or a reply.
    ///
    /// # Errors
    /// [`Unread`].
    pub fn read(message: &Message, id: u32, from: Ipv6Addr, asked_at: Moment) -> Result<Self, Unread> {
        let ignored = Unread::Ignored;
        let server = message.option(option::SERVER_ID).filter(|server| !server.is_empty());
        let server = server.ok_or(ignored("it has no server identifier"))?.to_vec();
        is_granted(&message.options)?;
        let association = message.association(id).ok_or(ignored("it has nothing for this link"))?;
        is_granted(&association.options)?;
        let Association { t1, t2, .. } = association;
        if t1 > t2 && t2 > 0 {
            return Err(ignored("its times are out of order"));
        }
        let leased = association.addresses().find(|leased| leased.valid > 0);
        let Leased { address: ip, preferred, valid } = leased.ok_or(Unread::Refused(None))?;
        usable(ip.into()).map_err(Unread::Ignored)?;
        let address = format!("{ip}/128").parse().map_err(|_| ignored("its address is none"))?;
        if valid < SHORTEST {
            return Err(ignored("it lasts less than 4 s"));
        }
        let (t1, t2) = times(t1, t2, preferred, valid);
        let mut dns_servers = message.dns_servers();
        dns_servers.truncate(MOST);
        Ok(Self {
            address,
            ip,
            server,
            server_ip: from,
            since: asked_at,
            lasts: lasts(valid),
            preferred: lasts(preferred),
            t1: lasts(t1),
            t2: lasts(t2),
            dns_servers,
            domain: message.domain(),
        })
    }

    /// When to ask its server for more; `None`: never.
    pub fn renew_at(&self) -> Option<Moment> {
        self.t1.map(|t1| self.since + t1)
    }

    /// When to ask every server.
    pub fn rebind_at(&self) -> Option<Moment> {
        self.t2.map(|t2| self.since + t2)
    }

    /// When it ends.
    pub fn ends_at(&self) -> Option<Moment> {
        self.lasts.map(|lasts| self.since + lasts)
    }

    /// As callers see it.
    pub fn shown(&self, now: Moment, wall: SystemTime) -> dhcp::Lease {
        dhcp::Lease {
            address: self.address,
            server: self.server_ip.into(),
            expires_at: self.ends_at().map(|end| wall + end.saturating_sub(now)),
            routers: Vec::new(),
            dns_servers: self.dns_servers.iter().copied().map(Into::into).collect(),
            domain: self.domain.clone(),
        }
    }
}

fn is_granted(options: &[(u16, Vec<u8>)]) -> Result<(), Unread> {
    match status(options) {
        (status::SUCCESS, _) => Ok(()),
        (status::NO_BINDING, _) => Err(Unread::Unknown),
        (_, text) => Err(Unread::Refused(text)),
    }
}

/// T1 and T2 in seconds, as the server says or half and four fifths of the preferred lifetime (RFC 8415 §21.4), and never
/// so early that asking would be all that we do.
fn times(t1: u32, t2: u32, preferred: u32, valid: u32) -> (u32, u32) {
    let basis = if preferred == 0 { valid } else { preferred };
    let own = |share: fn(u32) -> u32| if basis == u32::MAX { u32::MAX } else { share(basis) };
    let t1 = if t1 == 0 { own(|basis| basis / 2) } else { t1 };
    let t2 = if t2 == 0 { own(|basis| basis / 5 * 4) } else { t2 };
    let t1 = t1.max(SHORTEST / 2);
    (t1, t2.max(t1))
}
