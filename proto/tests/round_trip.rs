//! Domain types survive the wire, JSON and storage; whatever comes over the wire is taken or refused, without panic.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod values;

use std::fmt::Debug;
use std::time::Duration;

use pipewright_api::attachment::{Attached, Attachment, Listing};
use pipewright_api::condition::Condition;
use pipewright_api::event::Event;
use pipewright_api::request::{
    Apply, Attach, ChangeTraffic, Detach, DetachTarget, Find, GetOperation, List, ListFilter, ListTraffic,
    RunTool, TrafficTarget, Wait, Watch,
};
use pipewright_api::spec::AttachmentSpec;
use pipewright_api::tool::Ran;
use pipewright_api::traffic::{LinkTraffic, TrafficChanged};
use pipewright_api::wire;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use values::{
    attachment, change, fleet, guest, guest_link_state, host_facts, host_spec, id, link_name, link_traffic,
    operation, request_id, spec, tool_line, traffic,
};

/// Through the message's bytes, as between two processes, and through its JSON.
#[track_caller]
fn assert_survives<T, W>(value: &T)
where
    T: Clone + Debug + PartialEq + TryFrom<W, Error: Debug>,
    W: From<T> + prost::Message + Default + serde::Serialize + serde::de::DeserializeOwned,
{
    let message = W::from(value.clone());
    let bytes = W::decode(message.encode_to_vec().as_slice()).unwrap();
    assert_eq!(T::try_from(bytes).unwrap(), *value);
    let json: W = serde_json::from_str(&serde_json::to_string(&message).unwrap()).unwrap();
    assert_eq!(T::try_from(json).unwrap(), *value);
}

#[track_caller]
fn assert_stores<T>(value: &T)
where
    T: Debug + PartialEq + serde::Serialize + serde::de::DeserializeOwned,
{
    let stored = serde_json::to_vec(value).unwrap();
    assert_eq!(serde_json::from_slice::<T>(&stored).unwrap(), *value);
}

proptest! {
    #[test]
    fn requests_of_attachments_survive_the_wire(
        request_id in request_id(), spec in spec(), dry_run in any::<bool>(),
        guest in guest(), ifname in option::of(link_name("x")), id in id(),
    ) {
        spec.check().unwrap();
        assert_stores(&spec);
        assert_survives::<AttachmentSpec, wire::AttachmentSpec>(&spec.clone());
        assert_survives::<_, wire::AttachRequest>(&Attach { request_id, spec, dry_run });
        let target = DetachTarget::Guest { guest, ifname };
        assert_survives::<_, wire::DetachRequest>(&Detach { request_id, target, dry_run });
        assert_survives::<_, wire::DetachRequest>(&Detach { request_id, target: DetachTarget::Id(id), dry_run });
        assert_survives::<_, wire::GetOperationRequest>(&GetOperation { request_id });
    }

    #[test]
    fn requests_that_only_ask_survive_the_wire(
        whose in option::of(guest()), bridge in option::of(link_name("b")), fleet in option::of(fleet()),
        one in option::of(id()), page_size in 1u32..=1000, after in option::of(id()),
        resume in option::of(1u64..),
        wait in (guest(), link_name("x"), prop::sample::select(Condition::ALL.to_vec()), 1u64..=3_600_000_000_000),
    ) {
        let filter = ListFilter { guest: whose.clone(), bridge, fleet, id: one };
        assert_survives::<_, wire::ListRequest>(&List { filter, page_size, after });
        assert_survives::<_, wire::WatchRequest>(&Watch { resume, guest: whose });
        let (guest, ifname, condition, nanos) = wait;
        let timeout = Duration::from_nanos(nanos);
        assert_survives::<_, wire::WaitRequest>(&Wait { guest: guest.clone(), ifname, condition, timeout });
        assert_survives::<_, wire::FindRequest>(&Find { guest });
    }

    #[test]
    fn documents_of_hosts_survive_the_wire(
        request_id in request_id(), spec in host_spec(), dry_run in any::<bool>(),
    ) {
        spec.check().unwrap();
        assert_stores(&spec);
        assert_survives::<_, wire::HostSpec>(&spec.clone());
        assert_survives::<_, wire::ApplyRequest>(&Apply { request_id, spec, dry_run });
    }

    #[test]
    fn lines_for_tools_survive_the_wire(
        request_id in request_id(), guest in guest(), line in tool_line(), found in attachment(),
        exit_code in any::<i32>(), stdout in vec(any::<u8>(), 0..50), stderr in vec(any::<u8>(), 0..50),
    ) {
        assert_survives::<_, wire::RunToolRequest>(&RunTool { request_id, guest, line });
        assert_survives::<_, wire::RunToolResponse>(&Ran { exit_code, stdout, stderr });
        assert_survives::<_, wire::FindResponse>(&found.guest);
    }

    #[test]
    fn traffic_survives_the_wire(
        request_id in request_id(), guest in guest(), ifname in link_name("x"), traffic in traffic(),
        changed in option::of(attachment()), is_changed in any::<bool>(), links in vec(link_traffic(), 0..4),
    ) {
        assert_stores(&traffic);
        let target = TrafficTarget { guest: guest.clone(), ifname };
        let change = ChangeTraffic { request_id, target, traffic };
        assert_survives::<ChangeTraffic, wire::AddTrafficRequest>(&change);
        assert_survives::<ChangeTraffic, wire::RemoveTrafficRequest>(&change);
        assert_survives::<_, wire::ListTrafficRequest>(&ListTraffic { guest });
        let answer = TrafficChanged { attachment: changed, is_changed };
        assert_survives::<TrafficChanged, wire::AddTrafficResponse>(&answer);
        assert_survives::<TrafficChanged, wire::RemoveTrafficResponse>(&answer);
        assert_survives::<Vec<LinkTraffic>, wire::ListTrafficResponse>(&links);
    }

    #[test]
    fn attachments_survive_the_wire(
        attachment in attachment(), created in any::<bool>(), revision in any::<u64>(),
        cause in option::of("[^\0]{1,20}"),
    ) {
        assert_stores(&Attachment { observed: None, ..attachment.clone() });
        assert_survives::<_, wire::AttachResponse>(&Attached { attachment: attachment.clone(), created });
        let attachments = vec![attachment.clone(), attachment.clone()];
        assert_survives::<_, wire::DetachResponse>(&attachments.clone());
        assert_survives::<_, wire::ListResponse>(&Listing { attachments, revision });
        assert_survives::<_, wire::WatchResponse>(&Event { revision, attachment, cause });
    }

    #[test]
    fn other_answers_survive_the_wire(
        operation in operation(), state in guest_link_state(), facts in host_facts(), changes in vec(change(), 0..4),
    ) {
        assert_stores(&operation);
        assert_survives::<_, wire::GetOperationResponse>(&operation);
        assert_survives::<_, wire::WaitResponse>(&state);
        assert_survives::<_, wire::ShowResponse>(&facts);
        assert_survives::<_, wire::ApplyResponse>(&changes);
    }

    /// What is taken comes out of the wire again as the same, so nothing is lost on the way in.
    #[test]
    fn any_text_in_any_field_is_taken_whole_or_refused_by_its_field(
        texts in vec(prop_oneof![".{0,20}", "[a-z0-9:./@%-]{0,20}"], 8), kind in any::<i32>(), number in any::<u32>(),
    ) {
        let text = |index: usize| texts[index].clone();
        let spec = wire::AttachmentSpec {
            guest: text(0),
            ifname: text(1),
            uplink: text(2),
            kind: kind % 24,
            mode: kind % 9,
            host_ifname: text(3),
            mac: text(4),
            mtu: number % 2000,
            vlan: Some(wire::attachment_spec::Vlan::AccessVlan(number)),
            addressing: Some(wire::attachment_spec::Addressing::StaticAddresses(wire::StaticAddresses {
                cidrs: vec![text(5)],
            })),
            gateways: vec![text(6)],
            routes: vec![wire::Route { destination: text(7), via: text(6), ..wire::Route::default() }],
            pkey: if number % 7 == 0 { number } else { 0 },
            host_reach: number % 5 == 0,
            peer_ifname: text(3),
            peer_cidrs: vec![text(5)],
            duplicate_check: kind % 5,
            slaac: number % 2 == 0,
            dhcp6: (number % 3 == 0).then(|| wire::Dhcp6 { hostname: text(1) }),
            labels: [(text(3), text(4))].into(),
            follow: kind % 4,
        };
        match AttachmentSpec::try_from(spec) {
            Ok(spec) => assert_survives::<_, wire::AttachmentSpec>(&spec),
            Err(failure) => {
                prop_assert!(failure.fact("field").is_some_and(|field| field.starts_with("spec")), "{}", failure);
                prop_assert!(!failure.message().chars().any(char::is_control), "{}", failure);
            }
        }
    }
}
