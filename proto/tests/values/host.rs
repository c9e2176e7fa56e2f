//! What a host is, and what is changed of it.

use pipewright_api::host::{Bridge, Capability, Change, ChangeAction, HostFacts, HostLink};
use pipewright_api::spec::SwitchKind;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{failure, guest_link_state};

pub(crate) fn host_facts() -> impl Strategy<Value = HostFacts> {
    let text = || ".{0,20}";
    let capability = (text(), any::<bool>(), text()).prop_map(|(name, present, detail)| Capability {
        name,
        present,
        detail,
    });
    let kind = prop::sample::select(vec![SwitchKind::LinuxBridge, SwitchKind::Ovs]);
    let bridge = (text(), kind, any::<u32>(), vec(text(), 0..3), any::<bool>())
        .prop_map(|(name, kind, mtu, ports, ours)| Bridge { name, kind, mtu, ports, ours });
    let state = guest_link_state().prop_map(|state| state.addresses);
    let link = (text(), (text(), text()), any::<u32>(), text(), state, text()).prop_map(
        |(name, (mac, hardware), mtu, operstate, addresses, holder)| HostLink {
            name,
            mac,
            hardware,
            mtu,
            operstate,
            addresses,
            holder,
        },
    );
    let names = (text(), text(), text());
    (names, vec(capability, 0..3), vec(bridge, 0..3), vec(link, 0..3), any::<u32>()).prop_map(
        |((hostname, kernel, agent_version), capabilities, bridges, links, attachments)| HostFacts {
            hostname,
            kernel,
            agent_version,
            capabilities,
            bridges,
            links,
            attachments,
        },
    )
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let action = prop::sample::select(vec![ChangeAction::Create, ChangeAction::Update, ChangeAction::Remove]);
    (action, ".{0,20}", ".{0,20}", option::of(failure()))
        .prop_map(|(action, object, detail, failure)| Change { action, object, detail, failure })
}
