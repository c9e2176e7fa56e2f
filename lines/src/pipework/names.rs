//! The names and marks that pipework leaves behind, which scripts look for.

use std::collections::BTreeMap;

use pipewright_api::attachment::{GuestIdentity, Runtime};
use pipewright_api::labels::Labels;
use pipewright_api::net::LinkName;

/// `v<ifname>pl<pid>`. `None` where pipework fails: the name is too long for the kernel, or the guest has no process; the
/// agent's own name serves then.
pub(super) fn host_end(ifname: &LinkName, guest: &GuestIdentity) -> Option<LinkName> {
    let pid = guest.pid?;
    format!("v{ifname}pl{pid}").parse().ok()
}

/// `external-ids:pipework.…` of a port's Interface in Open vSwitch, to the letter: Docker's name has its slash.
pub(super) fn labels(
    ifname: &LinkName,
    bridge: &LinkName,
    guest: &GuestIdentity,
    vlan: Option<&str>,
) -> Labels {
    let mut labels = BTreeMap::new();
    let mut put = |key: &str, value: String| labels.insert(format!("pipework.{key}"), value);
    put("interface", ifname.to_string());
    put("bridge", bridge.to_string());
    // pipework knew Podman's as Docker's, by an alias of the command.
    if matches!(guest.runtime, Runtime::Docker | Runtime::Podman) {
        put("containerid", guest.id.clone());
        put("containername", format!("/{}", guest.name));
    }
    if let Some(pid) = guest.pid {
        put("nspid", pid.to_string());
    }
    if let Some(vlan) = vlan {
        put("vlan", vlan.to_owned());
    }
    // Names of others could be longer or stranger than labels are; the link is worth more than its marks.
    Labels::try_from(labels).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(runtime: Runtime, pid: Option<u32>) -> GuestIdentity {
        let (id, name) = ("0123456789ab".to_owned(), "web".to_owned());
        GuestIdentity { runtime, id, name, pid, netns_cookie: 7, started_at: String::new() }
    }

    #[test]
    fn the_hosts_end_is_named_as_pipework_names_it() {
        for (ifname, pid, name) in [
            ("eth1", Some(31076), Some("veth1pl31076")),
            ("eth0", Some(7), Some("veth0pl7")),
            // pipework: `"name" not a valid ifname`, exit code 255.
            ("averylongname", Some(12478), None),
            ("eth1", None, None),
        ] {
            let found = host_end(&ifname.parse().unwrap(), &guest(Runtime::Docker, pid));

            assert_eq!(found.as_ref().map(LinkName::as_str), name);
        }
    }

    #[test]
    fn marks_are_those_of_pipework() {
        let (ifname, bridge) = ("eth1".parse().unwrap(), "ovs0".parse().unwrap());
        let all = labels(&ifname, &bridge, &guest(Runtime::Docker, Some(7)), Some("100"));
        let all: Vec<(&str, &str)> = all.iter().collect();
        let few = labels(&ifname, &bridge, &guest(Runtime::Netns, None), None);

        assert_eq!(
            all,
            [
                ("pipework.bridge", "ovs0"),
                ("pipework.containerid", "0123456789ab"),
                ("pipework.containername", "/web"),
                ("pipework.interface", "eth1"),
                ("pipework.nspid", "7"),
                ("pipework.vlan", "100"),
            ]
        );
        assert_eq!(few.iter().count(), 2);
    }
}
