//! Which steps mend what differs: those of the plan that made it, and some that the plan did not need because the link was
//! born that way. Pure.

use pipewright_api::spec::SwitchKind;

use super::compare::{Difference, NOTHING, NOWHERE, What};
use crate::step::{self, Ends, Expected, Far, Step, Veth};

/// The steps that mend what differs, in the order in which they are taken.
pub(super) fn remedy(plan: &[Step], found: &[Difference]) -> Vec<Step> {
    let mut steps = Vec::new();
    for end in [None, Some(Far::Host), Some(Far::Guest)] {
        let here: Vec<&Difference> = found.iter().filter(|difference| difference.end == end).collect();
        if here.is_empty() {
            continue;
        }
        let there = |step| match end {
            None => step,
            Some(whither) => Step::There { whither, what: Box::new(step) },
        };
        steps.extend(at_end(&step::taken_at(plan, end), &here).into_iter().map(there));
    }
    steps
}

fn at_end(plan: &[Step], found: &[&Difference]) -> Vec<Step> {
    let is_ground = |step: &Step| match step {
        Step::EnsureBridge { .. } | Step::FilterVlans { .. } => true,
        Step::IgnoreRouters { switch, .. } => switch.is_some(),
        _ => false,
    };
    let mends = |step: &&Step| found.iter().any(|difference| mends(step, difference));
    let (ground, rest): (Vec<&Step>, Vec<&Step>) =
        plan.iter().filter(mends).partition(|step| is_ground(step));
    let ends = plan.iter().find_map(|step| match step {
        Step::Verify(Expected { ends, .. }) => Some(ends),
        _ => None,
    });
    let born = found.iter().flat_map(|difference| ends.map(|ends| as_born(ends, plan, difference)));
    let mut steps: Vec<Step> = ground.into_iter().cloned().collect();
    steps.extend(born.flatten());
    steps.extend(rest.into_iter().cloned());
    steps.dedup();
    steps
}

/// Whether a step of the plan makes what is missing.
fn mends(step: &Step, difference: &Difference) -> bool {
    let Difference { what, object, expected, .. } = difference;
    match (what, step) {
        (What::Bridge, Step::EnsureBridge { kind, .. } | Step::IgnoreRouters { switch: Some(kind), .. }) => {
            *kind == SwitchKind::LinuxBridge
        }
        (What::Port, Step::EnsureBridge { kind, .. } | Step::IgnoreRouters { switch: Some(kind), .. }) => {
            *kind == SwitchKind::Ovs
        }
        (What::Bridge | What::Vlan, Step::FilterVlans { .. } | Step::JoinVlans { .. })
        | (What::Port, Step::PlugPort(_))
        | (What::Lease, Step::ApplyLease(_))
        | (What::Offload, Step::DisableTxChecksum { .. })
        | (What::Address | What::Lease, Step::Announce { .. }) => true,
        (What::Vlan, Step::PlugPort(port)) => port.port.as_str() == object,
        (What::State, Step::SetUp { ifname }) => ifname.as_str() == object,
        (What::Address, Step::EnableIpv6 { .. }) => expected.contains(':'),
        (What::Address, Step::AddAddress { address, .. }) => address.to_string() == *expected,
        (What::Route | What::DefaultRoute, Step::AddRoute(route)) => route.to_string() == *expected,
        (What::Traffic, Step::AddTraffic(_)) => step.to_string() == *expected,
        _ => false,
    }
}

/// What makes a link again as it was born, which no step of the plan did.
fn as_born(ends: &Ends, plan: &[Step], difference: &Difference) -> Vec<Step> {
    let (name, mac, mtu) = match ends {
        Ends::Pair(veth) if veth.host_end.as_str() == difference.object => {
            return host_end(veth, plan, difference);
        }
        Ends::Pair(veth) => (&veth.guest_end, Some(veth.guest_mac), Some(veth.mtu)),
        // One that has its parent's follows it.
        Ends::Single(link) => (&link.name, link.mac.filter(|_| !link.what.has_parents_mac()), link.mtu),
        Ends::Either(end) => (&end.name, Some(end.mac), Some(end.mtu)),
        Ends::Whole(link) => (&link.name, Some(link.mac), Some(link.mtu)),
    };
    let set = |mac, mtu| Step::SetGuestLink { ifname: name.clone(), mac, mtu };
    match difference.what {
        What::Mac => mac.map(|mac| set(Some(mac), None)).into_iter().collect(),
        What::Mtu => mtu.map(|mtu| set(None, Some(mtu))).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn host_end(veth: &Veth, plan: &[Step], difference: &Difference) -> Vec<Step> {
    let link = || veth.host_end.clone();
    let set = |mac, mtu| {
        let what = Box::new(Step::SetGuestLink { ifname: link(), mac, mtu });
        vec![Step::There { whither: Far::Host, what }]
    };
    match (difference.what, &veth.bridge) {
        (What::Mac, _) => set(Some(veth.host_mac), None),
        (What::Mtu, _) => set(None, Some(veth.mtu)),
        (What::State, _) => vec![Step::SetHostLinkUp { link: link() }],
        (What::Bridge, Some(bridge)) => {
            let held = difference.found.parse().ok().filter(|_| difference.found != NOWHERE);
            let free = held.map(|bridge| Step::FreeLink { link: link(), bridge });
            // Never in the bridge's default VLAN; JoinVlans sets it up again.
            let down = veth.vlan.as_ref().map(|_| Step::SetHostLinkDown { link: link() });
            let into = Step::EnslaveLink { link: link(), bridge: bridge.clone() };
            free.into_iter().chain(down).chain([into]).collect()
        }
        // It is in another bridge.
        (What::Port, _) if difference.found != NOTHING => {
            let unplug = |step: &Step| match step {
                Step::PlugPort(port) => Some(Step::UnplugPort { id: port.id, port: port.port.clone() }),
                _ => None,
            };
            plan.iter().filter_map(unplug).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use pipewright_api::net::{LinkName, MacAddr, Mtu, VlanId};
    use pipewright_api::spec::Vlan;
    use uuid::Uuid;

    use super::*;
    use crate::step::GuestRoute;

    fn name(text: &str) -> LinkName {
        text.parse().unwrap()
    }

    fn plan() -> Vec<Step> {
        let vlan = Vlan::Access(VlanId::try_from(100).unwrap());
        let veth = Veth {
            id: Uuid::nil(),
            host_end: name("pwx"),
            host_mac: MacAddr::derived(1),
            guest_end: name("eth1"),
            guest_mac: MacAddr::derived(2),
            mtu: Mtu::ETHERNET,
            bridge: Some(name("br0")),
            vlan: Some(vlan.clone()),
            alias: None,
        };
        let route = GuestRoute::new("0.0.0.0/0".parse().unwrap(), "192.0.2.1".parse().ok(), name("eth1"));
        vec![
            Step::EnsureBridge {
                bridge: name("br0"),
                kind: SwitchKind::LinuxBridge,
                mac: MacAddr::derived(3),
            },
            Step::CreateVeth(veth.clone()),
            Step::JoinVlans { port: name("pwx"), vlan },
            Step::SetUp { ifname: name("eth1") },
            Step::AddAddress {
                ifname: name("eth1"),
                address: "192.0.2.10/24".parse().unwrap(),
                is_checked: false,
            },
            Step::AddRoute(route),
            Step::Verify(Expected { ends: Ends::Pair(veth), addresses: Vec::new(), routes: Vec::new() }),
        ]
    }

    fn difference(what: What, object: &str, found: &str, expected: &str) -> Difference {
        let [object, found, expected] = [object, found, expected].map(str::to_owned);
        Difference { end: None, what, object, found, expected }
    }

    fn lines(found: &[Difference]) -> Vec<String> {
        remedy(&plan(), found).iter().map(|step| step.name().to_owned()).collect()
    }

    #[test]
    fn only_what_differs_is_made_again_and_in_the_order_of_the_plan() {
        let down = [
            difference(What::DefaultRoute, "eth1", "nothing", "default via 192.0.2.1 dev eth1"),
            difference(What::State, "eth1", "down", "up"),
        ];

        assert_eq!(lines(&down), ["set_up", "add_route"]);
        assert_eq!(lines(&[difference(What::Address, "eth1", "nothing", "192.0.2.10/24")]), ["add_address"]);
        assert_eq!(lines(&[difference(What::Address, "eth1", "nothing", "203.0.113.1/24")]), [""; 0]);
    }

    #[test]
    fn a_port_comes_back_to_its_bridge_without_a_moment_in_the_default_vlan() {
        let moved = [difference(What::Bridge, "pwx", "br9", "br0")];

        assert_eq!(
            lines(&moved),
            ["ensure_bridge", "free_link", "set_host_link_down", "enslave_link", "join_vlans"]
        );
        assert_eq!(lines(&[difference(What::State, "pwx", "down", "up")]), ["set_host_link_up"]);
    }

    #[test]
    fn nothing_is_done_about_a_link_that_somebody_renamed() {
        assert_eq!(lines(&[difference(What::Link, "eth1", "gone", "up")]), [""; 0]);
    }
}
