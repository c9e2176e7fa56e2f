//! Wireless: links of a radio cannot leave their namespace by themselves, the radio moves with all of them.

use std::os::fd::{AsFd, AsRawFd};

use crate::host::generic::Family;
use crate::host::message::{append, attribute, read_text, read_u32};
use crate::host::netlink::KernelError;

/// Of linux/nl80211.h.
const NL80211: &str = "nl80211";
const NL80211_CMD_GET_INTERFACE: u8 = 5;
const NL80211_CMD_SET_WIPHY_NETNS: u8 = 49;
const NL80211_ATTR_WIPHY: u16 = 1;
const NL80211_ATTR_IFINDEX: u16 = 3;
const NL80211_ATTR_IFNAME: u16 = 4;
const NL80211_ATTR_NETNS_FD: u16 = 219;

/// The radios of the network namespace in which it was opened.
#[derive(Debug)]
pub(in crate::host) struct Radios(Family);

impl Radios {
    /// Opens them in the calling thread's network namespace; `None` when the kernel knows of no wireless.
    ///
    /// # Errors
    /// What socket(2) says; the kernel's refusal.
    pub(in crate::host) fn open() -> Result<Option<Self>, KernelError> {
        Ok(Family::open(NL80211)?.map(Self))
    }

    /// The number of the radio that a link is of; `None` for a link that is not wireless.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn of_link(&mut self, index: u32) -> Result<Option<u32>, KernelError> {
        let mut asked = Vec::new();
        append(&mut asked, NL80211_ATTR_IFINDEX, &index.to_ne_bytes());
        match self.0.request(NL80211_CMD_GET_INTERFACE, &asked) {
            Ok(replies) => Ok(replies.iter().find_map(|link| radio(link))),
            Err(error) if matches!(error.errno, libc::ENODEV | libc::EINVAL | libc::EOPNOTSUPP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of all links of a radio.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn links_of(&mut self, number: u32) -> Result<Vec<String>, KernelError> {
        let links = self.0.dump(NL80211_CMD_GET_INTERFACE)?;
        let names = links.iter().filter(|link| radio(link) == Some(number));
        Ok(names.filter_map(|link| attribute(link, NL80211_ATTR_IFNAME)).map(read_text).collect())
    }

    /// `iw phy PHY set netns`, to a namespace that is open.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(super) fn set_netns(&mut self, number: u32, netns: impl AsFd) -> Result<(), KernelError> {
        let mut asked = Vec::new();
        append(&mut asked, NL80211_ATTR_WIPHY, &number.to_ne_bytes());
        append(&mut asked, NL80211_ATTR_NETNS_FD, &netns.as_fd().as_raw_fd().to_ne_bytes());
        self.0.request(NL80211_CMD_SET_WIPHY_NETNS, &asked).map(drop)
    }
}

fn radio(link: &[u8]) -> Option<u32> {
    attribute(link, NL80211_ATTR_WIPHY).and_then(read_u32)
}
