//! What the host hears of routers on links of ours: nothing.

use std::fmt;

use pipewright_api::net::LinkName;

/// The settings of IPv6 by which routers give a link's owner addresses and routes; 0 is that they do not. The guest on the link
/// could be such a router.
pub const OF_ROUTERS: [&str; 3] = ["accept_ra", "autoconf", "accept_redirects"];

/// `sysctl -w net/ipv6/conf/LINK/accept_ra=0 …`
pub(super) struct WithoutRouters<'a>(pub(super) &'a LinkName);

impl fmt::Display for WithoutRouters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sysctl -w")?;
        OF_ROUTERS.iter().try_for_each(|setting| write!(f, " net/ipv6/conf/{}/{setting}=0", self.0))
    }
}
