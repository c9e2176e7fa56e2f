//! Generic netlink: families of requests (wireless, ethtool) whose numbers the kernel gives out at run time, with attributes
//! as rtnetlink has them.
//!
//! The crates for these families are asynchronous, while a guest's radio is moved on a thread inside the guest, and the one for
//! wireless cannot name a namespace by its descriptor (NL80211_ATTR_NETNS_FD).

use rtnetlink::packet_core::NLM_F_DUMP;

use crate::host::message::{attribute, read_text, read_u16};
use crate::host::netlink::{KernelError, Reply, Request, Requests};

/// Of linux/genetlink.h.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// Size of `struct genlmsghdr`, in bytes.
const BODY: usize = 4;

/// A family of requests, in the network namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Family {
    requests: Requests,
    number: u16,
}

impl Family {
    /// Opens a family in the calling thread's network namespace; `None` when the kernel does not have it. All are listed,
    /// since the kernel would load a module for one that is asked for by name.
    ///
    /// # Errors
    /// What socket(2) says; the kernel's refusal.
    pub(super) fn open(name: &str) -> Result<Option<Self>, KernelError> {
        let mut requests = Requests::open_generic()?;
        let replies = requests.dump_raw(&request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_DUMP, &[]))?;
        let families = replies.iter().map(attributes_of);
        let mut meant = families.filter(|family| {
            attribute(family, CTRL_ATTR_FAMILY_NAME).map(read_text).as_deref() == Some(name)
        });
        let number = meant.find_map(|family| attribute(family, CTRL_ATTR_FAMILY_ID)).and_then(read_u16);
        Ok(number.map(|number| Self { requests, number }))
    }

    /// Sends one request; gives the attributes of each reply.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn request(&mut self, command: u8, attributes: &[u8]) -> Result<Vec<Vec<u8>>, KernelError> {
        let replies = self.requests.request(&request(self.number, command, 0, attributes))?;
        Ok(replies.iter().map(|reply| attributes_of(reply).to_vec()).collect())
    }

    /// Asks for all objects; gives the attributes of each.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn dump(&mut self, command: u8) -> Result<Vec<Vec<u8>>, KernelError> {
        let replies = self.requests.dump_raw(&request(self.number, command, NLM_F_DUMP, &[]))?;
        Ok(replies.iter().map(|reply| attributes_of(reply).to_vec()).collect())
    }
}

fn request(family: u16, command: u8, flags: u16, attributes: &[u8]) -> Request {
    Request::raw(family, flags, &[&[command, 1, 0, 0][..], attributes].concat())
}

fn attributes_of(reply: &Reply) -> &[u8] {
    reply.body.get(BODY..).unwrap_or_default()
}
