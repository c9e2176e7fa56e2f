//! What is refused at the edge, and what is not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod refused;

use std::collections::HashSet;
use std::time::Duration;

use pipewright_api::reason::{Failure, Reason};
use pipewright_api::request::{Apply, Attach, ChangeTraffic, Detach, GetOperation, List, Wait, Watch};
use pipewright_api::wire;
use pipewright_api::wire::attachment_spec::{Addressing, Vlan};

use refused::{
    Refused, attach_rows, host_rows, removed, traffic_rows, valid_attach, valid_host, valid_traffic,
};

/// Most bytes of a refusal: a caller's megabyte must not come back in a header, nor fill a log.
const MESSAGE_MAX: usize = 500;

#[test]
fn every_bad_attach_is_refused_with_the_path_of_its_field() {
    let rows = attach_rows();

    assert!(rows.len() >= 400, "only {} rows", rows.len());
    assert_refused(&rows, &valid_attach(), |request| Attach::try_from(request).err());
}

#[test]
fn every_bad_host_document_is_refused_with_the_path_of_its_field() {
    let rows = host_rows();

    assert!(rows.len() >= 60, "only {} rows", rows.len());
    assert_refused(&rows, &valid_host(), |request| Apply::try_from(request).err());
}

#[test]
fn every_bad_change_of_traffic_is_refused_with_the_path_of_its_field() {
    let rows = traffic_rows();

    assert!(rows.len() >= 60, "only {} rows", rows.len());
    assert_refused(&rows, &valid_traffic(), |request| ChangeTraffic::try_from(request).err());
    assert_refused(&rows, &valid_traffic(), |request| ChangeTraffic::try_from(removed(request)).err());
}

fn assert_refused<R: Clone>(rows: &[Refused<R>], valid: &R, refusal: impl Fn(R) -> Option<Failure>) {
    assert_eq!(refusal(valid.clone()), None, "the valid request is refused");
    let mut names = HashSet::new();
    let mut wrong = Vec::new();
    for row in rows {
        assert!(names.insert(&row.name), "row {:?} is there twice", row.name);
        let mut request = valid.clone();
        (row.spoil)(&mut request);
        match refusal(request) {
            None => wrong.push(format!("{}: was taken", row.name)),
            Some(failure) if !fits(&failure, &row.field) => {
                wrong.push(format!("{}: {failure} ({:?})", row.name, failure.fact("field")));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

fn fits(failure: &Failure, field: &str) -> bool {
    let message = failure.message();
    failure.reason() == Reason::InvalidField
        && failure.code() == tonic::Code::InvalidArgument
        && failure.fact("field") == Some(field)
        && message.starts_with(&format!("{field}: "))
        && message.len() <= MESSAGE_MAX
        // What a caller sent must not move an operator's cursor.
        && !message.chars().any(char::is_control)
}

fn spec(change: impl Fn(&mut wire::AttachmentSpec)) -> wire::AttachRequest {
    let mut request = valid_attach();
    change(request.spec.as_mut().unwrap());
    request
}

fn cidrs(cidrs: &[&str]) -> Option<Addressing> {
    let cidrs = cidrs.iter().map(|&cidr| cidr.to_owned()).collect();
    Some(Addressing::StaticAddresses(wire::StaticAddresses { cidrs }))
}

#[test]
fn what_is_unusual_but_right_is_taken() {
    for name in ["eth1", "a", "e.th-1_x", "fifteen-bytes-1", "ETH1", "p", "wp0", "lo0", "all1"] {
        assert_taken(spec(|spec| spec.ifname = name.to_owned()));
        assert_taken(spec(|spec| spec.host_ifname = name.to_owned()));
        assert_taken(spec(|spec| spec.uplink = name.to_owned()));
    }
    for guest in ["web", "docker:web", "docker:0123456789ab", "pid:2", "pid:4294967295", "netns:blue.1"] {
        assert_taken(spec(|spec| spec.guest = guest.to_owned()));
    }
    for path in
        ["/run/netns/blue", "/var/run/netns/blue", "/run/docker/netns/1-abc", "/run/docker/netns/default"]
    {
        assert_taken(spec(|spec| spec.guest = format!("netns:{path}")));
    }
    for mac in ["", "02:00:5E:10:00:01", "00:1b:21:3c:4d:5e", "U:", "U:web", "U:a:b", "U:a b"] {
        assert_taken(spec(|spec| spec.mac = mac.to_owned()));
    }
    for mtu in [0, 1280, 1500, 9000, 9216] {
        assert_taken(spec(|spec| spec.mtu = mtu));
    }
    for cidr in
        ["192.0.2.10/31", "192.0.2.0/31", "192.0.2.255/32", "192.0.2.0/32", "10.0.0.255/8", "192.0.2.10/1"]
    {
        assert_taken(spec(|spec| spec.addressing = cidrs(&[cidr, "2001:db8::10/64"])));
    }
    for cidr in ["2001:db8::/64", "2001:db8::10/128", "2001:db8::10/127", "fd00::1/8", "2001:DB8::A/1"] {
        assert_taken(spec(|spec| spec.addressing = cidrs(&["192.0.2.10/24", cidr])));
    }
    for gateway in ["192.0.2.1", "198.51.100.1", "2001:db8::1", "fe80::1", "2001:db8:ffff::1"] {
        assert_taken(spec(|spec| spec.gateways = vec![gateway.to_owned()]));
    }
    for destination in
        ["198.51.100.7/32", "192.0.2.128/25", "128.0.0.0/1", "224.0.0.0/4", "2001:db8:1::1/128"]
    {
        let route = wire::Route { destination: destination.to_owned(), ..wire::Route::default() };
        assert_taken(spec(|spec| spec.routes = vec![route.clone()]));
    }
    let via = wire::Route {
        destination: "2001:db8:1::/48".to_owned(),
        via: "fe80::1".to_owned(),
        ..wire::Route::default()
    };
    assert_taken(spec(|spec| spec.routes = vec![via.clone()]));
}

#[test]
fn a_list_may_be_as_long_as_its_limit() {
    let many = |text: &dyn Fn(usize) -> String| (0..64).map(text).collect::<Vec<String>>();
    let addresses = many(&|host| format!("192.0.2.{}/24", host + 100));
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    assert_taken(spec(|spec| {
        spec.addressing = cidrs(&addresses);
        spec.gateways = vec!["192.0.2.1".to_owned()];
    }));
    assert_taken(spec(|spec| {
        let route = |destination| wire::Route { destination, ..wire::Route::default() };
        spec.routes = many(&|net| format!("10.0.{net}.0/24")).into_iter().map(route).collect();
    }));
    assert_taken(spec(|spec| {
        spec.vlan = Some(Vlan::TrunkVlans(wire::TrunkVlans { vlans: (1..=4094).rev().collect() }));
    }));
}

/// pipework's `0/0@GATEWAY`.
#[test]
fn a_gateway_without_any_address_is_taken() {
    assert_taken(spec(|spec| {
        spec.addressing = Some(Addressing::NoAddress(wire::NoAddress {}));
        spec.gateways = vec!["192.0.2.1".to_owned(), "fe80::1".to_owned()];
    }));
}

#[test]
fn every_form_of_vlan_fits_open_vswitch_and_a_bridge_that_is_yet_to_be_found() {
    let trunk = wire::TrunkVlans { vlans: vec![200, 100, 4094, 1] };
    let vlans = [
        Vlan::AccessVlan(1),
        Vlan::AccessVlan(4094),
        Vlan::TrunkVlans(trunk),
        Vlan::EveryVlan(wire::EveryVlan {}),
    ];
    for vlan in vlans {
        for kind in [wire::Kind::Ovs, wire::Kind::Unspecified] {
            assert_taken(spec(|spec| {
                spec.kind = kind.into();
                spec.vlan = Some(vlan.clone());
            }));
        }
    }
    assert_taken(spec(|spec| spec.kind = wire::Kind::LinuxBridge.into()));
}

#[track_caller]
fn assert_taken(request: wire::AttachRequest) {
    if let Err(failure) = Attach::try_from(request) {
        panic!("{failure}");
    }
}

#[test]
fn what_is_left_out_has_its_documented_default() {
    let attach = Attach::try_from(spec(|spec| {
        *spec = wire::AttachmentSpec {
            guest: "web".to_owned(),
            uplink: "br0".to_owned(),
            addressing: Some(Addressing::NoAddress(wire::NoAddress {})),
            ..wire::AttachmentSpec::default()
        };
    }))
    .unwrap();

    assert_eq!(attach.spec.ifname.as_str(), "eth1");
    assert_eq!((attach.spec.kind, attach.spec.mtu, attach.spec.mac), (None, None, None));
    assert_eq!((attach.spec.host_ifname, attach.spec.vlan), (None, None));
}

#[test]
fn host_bits_in_a_route_are_answered_with_the_prefix_that_was_meant() {
    let failure =
        Attach::try_from(spec(|spec| "198.51.100.7/24".clone_into(&mut spec.routes[0].destination)));

    let message = failure.unwrap_err().to_string();
    assert!(message.ends_with("did you mean 198.51.100.0/24?"), "{message}");
}

#[test]
fn a_default_route_is_answered_with_the_field_for_it() {
    for default in ["0.0.0.0/0", "::/0"] {
        let failure = Attach::try_from(spec(|spec| default.clone_into(&mut spec.routes[0].destination)));

        let message = failure.unwrap_err().to_string();
        assert!(message.contains("use gateway"), "{message}");
    }
}

#[test]
fn a_derived_name_that_an_attachment_carries_can_be_shown_but_not_asked_for() {
    let request = spec(|spec| "pwabcdefghijkl".clone_into(&mut spec.host_ifname));
    let id = "01890a5d-ac96-774b-bcce-b302099a8057".to_owned();
    let shown = wire::AttachResponse {
        attachment: Some(wire::Attachment {
            id,
            spec: request.spec.clone(),
            state: wire::AttachmentState::Attached.into(),
            guest: Some(wire::GuestIdentity { runtime: "docker".to_owned(), ..Default::default() }),
            host_ifname: "pwabcdefghijkl".to_owned(),
            mac: "02:00:5e:10:00:01".to_owned(),
            mtu: 1400,
            created_at: Some(pbjson_types::Timestamp { seconds: 0, nanos: 0 }),
            ..wire::Attachment::default()
        }),
        created: true,
    };

    let attached = pipewright_api::attachment::Attached::try_from(shown).unwrap();

    assert!(attached.attachment.spec.host_ifname.is_some_and(|name| name.is_derived()));
    assert!(Attach::try_from(request).is_err());
}

#[test]
fn a_detach_says_what() {
    let request = |target| wire::DetachRequest { target, ..detach() };
    let id = |id: &str| request(Some(wire::detach_request::Target::Id(id.to_owned())));
    let link = |guest: &str, ifname: &str| {
        let link = wire::GuestLink { guest: guest.to_owned(), ifname: ifname.to_owned() };
        request(Some(wire::detach_request::Target::Link(link)))
    };

    assert_field(Detach::try_from(request(None)), "target");
    assert_field(Detach::try_from(id("")), "id");
    assert_field(Detach::try_from(id("web")), "id");
    assert_field(Detach::try_from(link("", "eth1")), "link.guest");
    assert_field(Detach::try_from(link("a b", "")), "link.guest");
    assert_field(Detach::try_from(link("web", "a/b")), "link.ifname");
    let without_id = wire::DetachRequest { request_id: String::new(), ..link("web", "") };
    assert_field(Detach::try_from(without_id), "request_id");
    assert!(Detach::try_from(link("web", "")).is_ok());
}

fn detach() -> wire::DetachRequest {
    wire::DetachRequest { request_id: valid_attach().request_id, target: None, dry_run: false }
}

#[test]
fn a_list_is_paged_within_its_limit() {
    let sized = |page_size| wire::ListRequest { page_size, ..wire::ListRequest::default() };

    assert_eq!(List::try_from(sized(0)).unwrap().page_size, 1000);
    assert_eq!(List::try_from(sized(1)).unwrap().page_size, 1);
    assert_eq!(List::try_from(sized(1000)).unwrap().page_size, 1000);
    assert_field(List::try_from(sized(1001)), "page_size");
    assert_field(List::try_from(sized(u32::MAX)), "page_size");
    let token = |page_token: &str| wire::ListRequest { page_token: page_token.to_owned(), ..sized(0) };
    assert_field(List::try_from(token("2")), "page_token");
    let filtered = |change: fn(&mut wire::ListRequest)| {
        let mut request = sized(0);
        change(&mut request);
        List::try_from(request)
    };
    assert_field(filtered(|request| request.guest = "a b".to_owned()), "guest");
    assert_field(filtered(|request| request.bridge = "a b".to_owned()), "bridge");
    assert_field(filtered(|request| request.fleet = "A".to_owned()), "fleet");
    assert_field(filtered(|request| request.id = "1".to_owned()), "id");
}

#[test]
fn a_wait_lasts_above_zero_and_at_most_an_hour() {
    let wait = |seconds, nanos| {
        let timeout = Some(pbjson_types::Duration { seconds, nanos });
        Wait::try_from(wire::WaitRequest { guest: "web".to_owned(), timeout, ..wire::WaitRequest::default() })
    };

    for (seconds, nanos) in [(0, 0), (-1, 0), (0, -1), (3600, 1), (i64::MAX, 0), (1, 1_000_000_000), (1, -1)]
    {
        assert_field(wait(seconds, nanos), "timeout");
    }
    assert_eq!(wait(0, 1).unwrap().timeout, Duration::from_nanos(1));
    assert_eq!(wait(3600, 0).unwrap().timeout, Duration::from_secs(3600));
    let left_out = wire::WaitRequest { guest: "web".to_owned(), ..wire::WaitRequest::default() };
    let wait = Wait::try_from(left_out.clone()).unwrap();
    assert_eq!((wait.timeout, wait.ifname.as_str()), (Duration::from_secs(30), "eth1"));
    assert_field(Wait::try_from(wire::WaitRequest { guest: String::new(), ..left_out.clone() }), "guest");
    assert_field(
        Wait::try_from(wire::WaitRequest { ifname: "a/b".to_owned(), ..left_out.clone() }),
        "ifname",
    );
    assert_field(Wait::try_from(wire::WaitRequest { condition: 5, ..left_out }), "condition");
}

#[test]
fn a_watch_and_an_operation_are_asked_for_by_what_can_exist() {
    let watch = wire::WatchRequest { resume_revision: 0, guest: "a b".to_owned() };

    assert_field(Watch::try_from(watch), "guest");
    let operation = wire::GetOperationRequest { request_id: "last".to_owned() };
    assert_field(GetOperation::try_from(operation), "request_id");
}

#[track_caller]
fn assert_field<T: std::fmt::Debug>(parsed: Result<T, Failure>, field: &str) {
    let failure = parsed.unwrap_err();
    assert!(fits(&failure, field), "{field}: {failure} ({:?})", failure.fact("field"));
}
