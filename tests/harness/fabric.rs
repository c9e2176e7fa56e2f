//! What joins the hosts: a linux bridge in a namespace of its own. It passes tagged frames as they are, like a switch
//! whose ports are all trunks.

use anyhow::Result;

use crate::host::Host;
use crate::netns::Netns;

/// The switch between the hosts.
#[derive(Debug)]
pub struct Fabric {
    netns: Netns,
}

impl Fabric {
    pub(crate) fn new(name: String) -> Result<Self> {
        let netns = Netns::add(name)?;
        netns.inside().ip("link add fabric up type bridge forward_delay 0 mcast_snooping 0")?;
        Ok(Self { netns })
    }

    /// Gives a host a link on the fabric, up and without an address of ours. The fabric's end has the host's name.
    ///
    /// # Errors
    /// What `ip` says.
    pub(crate) fn join(&self, host: &Host, link: &str) -> Result<()> {
        let port = host.name();
        let fabric = self.netns.inside();
        fabric
            .ip(&format!("link add name {port} type veth peer name {link} netns {}", host.netns().name()))?;
        fabric.ip(&format!("link set dev {port} master fabric up"))?;
        // A link-local address of its own turns up a second later, when nobody has objected: in the midst of a story.
        // In a request of its own: an older kernel sets the link up first.
        host.inside().ip(&format!("link set {link} addrgenmode none"))?;
        host.inside().ip(&format!("link set {link} up"))?;
        Ok(())
    }

    /// Pulls a host's plug.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn cut(&self, host: &Host) -> Result<()> {
        self.netns.inside().ip(&format!("link set dev {} down", host.name())).map(drop)
    }

    /// Puts a host's plug back.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn mend(&self, host: &Host) -> Result<()> {
        self.netns.inside().ip(&format!("link set dev {} up", host.name())).map(drop)
    }
}
