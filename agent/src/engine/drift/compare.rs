//! What differs between an attachment and what is there of it: pure.

use pipewright_api::net::LinkName;
use pipewright_api::spec::Vlan;

use crate::host::survey::{Gap, Part};
use crate::step::{Far, Port};
use crate::switches::ovs::OvsPort;

/// What is found of what is missing, and the bridge of a link that is in none.
pub(super) const NOTHING: &str = "nothing";
pub(super) const NOWHERE: &str = "none";

/// What of an attachment differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// An end is somebody else's, or has another name: nothing can be made of it.
    Link,
    /// An end is down.
    State,
    /// The MAC address of an end.
    Mac,
    /// Its MTU.
    Mtu,
    /// The linux bridge that it is in.
    Bridge,
    /// Its VLANs, in either kind of bridge.
    Vlan,
    /// The row in Open vSwitch.
    Port,
    /// An address.
    Address,
    /// What a DHCP server gave.
    Lease,
    /// A route.
    Route,
    /// The default route.
    DefaultRoute,
    /// A route, rule or queueing discipline that was added.
    Traffic,
    /// Checksums.
    Offload,
}

impl What {
    /// The word for people, programs and metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::State => "state",
            Self::Mac => "mac",
            Self::Mtu => "mtu",
            Self::Bridge => "bridge",
            Self::Vlan => "vlan",
            Self::Port => "port",
            Self::Address => "address",
            Self::Lease => "lease",
            Self::Route => "route",
            Self::DefaultRoute => "default-route",
            Self::Traffic => "traffic",
            Self::Offload => "offload",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// At which end: `None` for the guest's own and for its port, else the other one of a pair.
    pub(super) end: Option<Far>,
    pub(super) what: What,
    pub(super) object: String,
    pub(super) found: String,
    pub(super) expected: String,
}

/// What a gap in what was made means. That a link is gone, or somebody else has its name, is its guest's death, which is
/// followed elsewhere, by the host's end if there is one; and what the kernel has still to check is no difference.
pub(super) fn of_gap(end: Option<Far>, host_end: Option<&LinkName>, gap: &Gap) -> Option<Difference> {
    let Gap { part, object, what, found, expected } = gap;
    let is_gone = *what == "state" && found == "gone";
    let is_followed = host_end.is_none_or(|name| name.as_str() == object);
    let what = match (part, *what) {
        (Part::Link, _) if is_gone && is_followed => return None,
        (Part::Link, "link group") if is_followed => return None,
        (Part::Link, "state") if !is_gone => What::State,
        (Part::Link, "MAC address") => What::Mac,
        (Part::Link, "MTU") => What::Mtu,
        (Part::Link, "bridge") => What::Bridge,
        (Part::Link, "VLANs as asked for" | "vlan_filtering") => What::Vlan,
        (Part::Link, _) => What::Link,
        (Part::Address, "address") if found == NOTHING => What::Address,
        // The doctor tells of duplicates and of what is filtered.
        (Part::Address | Part::ReversePath, _) => return None,
        (Part::Route, _) => What::Route,
        (Part::DefaultRoute, _) => What::DefaultRoute,
        (Part::Offload, _) => What::Offload,
        (Part::Traffic, _) => What::Traffic,
        (Part::Lease, _) => What::Lease,
    };
    let (found, expected) = (found.clone(), expected.clone());
    // Of a bridge that is missing the kernel says only that.
    let object = match host_end {
        Some(name) if object.is_empty() => name.to_string(),
        Some(_) | None => object.clone(),
    };
    Some(Difference { end, what, object, found, expected })
}

/// How a port of Open vSwitch differs from the one that is wanted.
pub(super) fn of_port(wanted: &Port, found: Option<&OvsPort>) -> Option<Difference> {
    let differs = |what, found: String, expected: String| {
        Some(Difference { end: None, what, object: wanted.port.to_string(), found, expected })
    };
    let expected = || wanted.bridge.to_string();
    match found {
        None => differs(What::Port, NOTHING.to_owned(), expected()),
        Some(port) if port.id != Some(wanted.id) => {
            differs(What::Port, "a port of somebody else".to_owned(), expected())
        }
        Some(port) if port.bridge.as_deref() != Some(wanted.bridge.as_str()) => {
            differs(What::Port, port.bridge.clone().unwrap_or_default(), expected())
        }
        Some(port) if port.vlan.as_ref() != Some(&wanted.vlan) => {
            differs(What::Vlan, carried(port.vlan.as_ref()), carried(Some(&wanted.vlan)))
        }
        Some(_) => None,
    }
}

fn carried(vlan: Option<&Vlan>) -> String {
    match vlan {
        None => "a mode that we do not set".to_owned(),
        Some(Vlan::Access(vlan)) => vlan.to_string(),
        Some(Vlan::Trunk(vlans)) => {
            let vlans: Vec<String> = vlans.iter().map(ToString::to_string).collect();
            format!("trunk {}", vlans.join(","))
        }
        Some(Vlan::Every) => "trunk all".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(part: Part, what: &'static str, found: &str) -> Gap {
        let (object, expected) = ("eth1".to_owned(), "192.0.2.10/24".to_owned());
        Gap { part, object, what, found: found.to_owned(), expected }
    }

    fn what(host_end: Option<&str>, gap: &Gap) -> Option<What> {
        let host_end: Option<LinkName> = host_end.map(|name| name.parse().unwrap());
        of_gap(None, host_end.as_ref(), gap).map(|difference| difference.what)
    }

    #[test]
    fn the_end_of_a_link_is_no_drift_but_another_name_is() {
        let gone = gap(Part::Link, "state", "gone");

        assert_eq!(
            [None, Some("eth1"), Some("pwx")].map(|end| what(end, &gone)),
            [None, None, Some(What::Link)]
        );
        assert_eq!(what(Some("pwx"), &gap(Part::Link, "state", "down")), Some(What::State));
    }

    #[test]
    fn an_address_that_is_being_checked_or_is_somebody_elses_is_there() {
        assert_eq!(what(Some("pwx"), &gap(Part::Address, "address", "nothing")), Some(What::Address));
        assert_eq!(what(Some("pwx"), &gap(Part::Address, "tentative address", "true")), None);
        assert_eq!(what(Some("pwx"), &gap(Part::Address, "address", "a duplicate of")), None);
    }
}
