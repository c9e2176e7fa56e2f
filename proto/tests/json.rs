//! The JSON that scripts read.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, UNIX_EPOCH};

use std::collections::BTreeMap;

use pipewright_api::attachment::{Attachment, GuestIdentity, Listing, ObservedLink, Runtime, State};
use pipewright_api::labels::Labels;
use pipewright_api::request::Attach;
use pipewright_api::spec::{Addressing, AttachmentSpec, DuplicateCheck, Follow, GuestRef, Kind, Route, Vlan};
use pipewright_api::wire;
use serde_json::json;

fn attachment() -> Attachment {
    let spec = AttachmentSpec {
        guest: GuestRef::Docker("web".to_owned()),
        ifname: "eth1".parse().unwrap(),
        uplink: "ovs0".parse().unwrap(),
        kind: Some(Kind::Ovs),
        mode: None,
        host_ifname: Some("pwabcdefghijkl".parse().unwrap()),
        mac: Some("02:00:5e:10:00:01".parse().unwrap()),
        mtu: Some(1400.try_into().unwrap()),
        pkey: None,
        vlan: Some(Vlan::Access(100.try_into().unwrap())),
        addressing: Addressing::Static(vec!["192.0.2.10/24".parse().unwrap()]),
        slaac: false,
        dhcp6: None,
        gateways: vec!["192.0.2.1".parse().unwrap()],
        routes: vec![Route::new("198.51.100.0/24".parse().unwrap(), None)],
        duplicate_check: DuplicateCheck::Off,
        host_reach: false,
        peer: Default::default(),
        labels: Labels::try_from(BTreeMap::from([("example.owner".to_owned(), "web team".to_owned())]))
            .unwrap(),
        follow: Some(Follow::Restarts),
    };
    Attachment {
        id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
        state: State::Attached,
        guest: GuestIdentity {
            runtime: Runtime::Docker,
            id: "0123456789ab".to_owned(),
            name: "web".to_owned(),
            pid: Some(4242),
            netns_cookie: u64::MAX,
            started_at: "2026-01-02T03:04:05Z".to_owned(),
        },
        host_ifname: Some("pwabcdefghijkl".parse().unwrap()),
        mac: "02:00:5e:10:00:01".parse().ok(),
        mtu: 1400.try_into().ok(),
        fleet: Some("lab".parse().unwrap()),
        created_at: UNIX_EPOCH + Duration::from_secs(1_767_323_045),
        revision: 7,
        plan: vec!["ip link add pwabcdefghijkl type veth peer eth1".to_owned()],
        observed: Some(Box::new(ObservedLink {
            present: true,
            operstate: "up".to_owned(),
            mtu: 1400,
            bridge: "ovs0".to_owned(),
            ofport: 3,
            ovs_error: String::new(),
        })),
        leftovers: Vec::new(),
        lease: None,
        peer: None,
        lease6: None,
        traffic: Vec::new(),
        waiting: String::new(),
        drift: Vec::new(),
        origin: None,
        spec,
    }
}

/// 64-bit numbers are strings, as in every JSON form of protobuf: JavaScript would round them.
#[test]
fn a_list_is_json_with_the_field_names_of_the_proto_files() {
    let listing = Listing { attachments: vec![attachment()], revision: 9 };

    let shown = serde_json::to_value(wire::ListResponse::from(listing)).unwrap();

    assert_eq!(
        shown,
        json!({
            "attachments": [{
                "id": "01890a5d-ac96-774b-bcce-b302099a8057",
                "spec": {
                    "guest": "docker:web",
                    "ifname": "eth1",
                    "uplink": "ovs0",
                    "kind": "KIND_OVS",
                    "mode": "MODE_UNSPECIFIED",
                    "host_ifname": "pwabcdefghijkl",
                    "mac": "02:00:5e:10:00:01",
                    "mtu": 1400,
                    "access_vlan": 100, "pkey": 0, "duplicate_check": "DUPLICATE_CHECK_OFF", "slaac": false,
                    "static_addresses": { "cidrs": ["192.0.2.10/24"] },
                    "host_reach": false,
                    "gateways": ["192.0.2.1"],
                    "peer_ifname": "",
                    "peer_cidrs": [],
                    "follow": "FOLLOW_RESTARTS",
                    "labels": { "example.owner": "web team" },
                "routes": [{
                        "destination": "198.51.100.0/24", "via": "", "type": "ROUTE_TYPE_UNSPECIFIED", "table": 0,
                        "metric": 0, "source": "", "scope": "ROUTE_SCOPE_UNSPECIFIED",
                    }],
                },
                "state": "ATTACHMENT_STATE_ATTACHED",
                "guest": {
                    "runtime": "docker",
                    "id": "0123456789ab",
                    "name": "web",
                    "pid": 4242,
                    "netns_cookie": "18446744073709551615",
                    "started_at": "2026-01-02T03:04:05Z",
                },
                "host_ifname": "pwabcdefghijkl",
                "mac": "02:00:5e:10:00:01",
                "mtu": 1400,
                "fleet": "lab",
                "created_at": "2026-01-02T03:04:05+00:00",
                "revision": "7",
                "plan": ["ip link add pwabcdefghijkl type veth peer eth1"],
                "observed": {
                    "present": true,
                    "operstate": "up",
                    "mtu": 1400,
                    "bridge": "ovs0",
                    "ofport": "3",
                    "ovs_error": "",
                },
                "leftovers": [],
                "traffic": [],
                "waiting": "",
                "drift": [],
            }],
            "next_page_token": "",
            "revision": "9",
        })
    );
}

#[test]
fn an_empty_list_is_a_list() {
    let listing = Listing { attachments: Vec::new(), revision: 0 };

    let shown = serde_json::to_value(wire::ListResponse::from(listing)).unwrap();

    assert_eq!(shown, json!({ "attachments": [], "next_page_token": "", "revision": "0" }));
}

#[test]
fn a_request_can_be_written_as_json() {
    let text = r#"{
        "request_id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "spec": {
            "guest": "web", "uplink": "ovs0", "kind": "KIND_OVS",
            "trunk_vlans": { "vlans": [200, 100] }, "no_address": {}
        }
    }"#;

    let request: wire::AttachRequest = serde_json::from_str(text).unwrap();
    let attach = Attach::try_from(request).unwrap();

    let vlans = [100u32, 200].map(|vlan| vlan.try_into().unwrap());
    assert_eq!(attach.spec.vlan, Some(Vlan::Trunk(vlans.into())));
    assert_eq!(attach.spec.addressing, Addressing::None);
}

#[test]
fn a_field_that_the_contract_does_not_have_is_refused_in_json() {
    let text = r#"{ "request_id": "", "spec": { "guest": "web", "vlan_id": 100 } }"#;

    let error = serde_json::from_str::<wire::AttachRequest>(text).unwrap_err();

    assert!(error.to_string().contains("vlan_id"), "{error}");
}
