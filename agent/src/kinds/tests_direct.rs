//! Plans of links of the host that a guest gets as a whole.

use pipewright_api::reason::Reason;
use pipewright_api::spec::{AttachmentSpec, Kind};
use pipewright_api::wire;

use super::tests::{derived, lines, on, spec};
use super::{Candidate, Direct, Found, plan};
use crate::step::{Kept, NicState, SavedRoute, undo};

fn candidate(radio: Option<u32>) -> Candidate {
    let kept = |text: &str| Kept { text: text.to_owned(), message: String::new() };
    Candidate {
        link: "eth3".parse().unwrap(),
        is_hardware: true,
        permanent_mac: Some("02:00:5e:10:00:aa".parse().unwrap()),
        radio,
        most_mtu: 9000,
        state: NicState {
            seen_at: 0,
            index: 3,
            mac: "02:00:5e:10:00:aa".parse().unwrap(),
            mtu: 1400,
            flags: 1,
            queue: 1000,
            group: 0,
            alias: String::new(),
            altnames: Vec::new(),
            address_generation: Some(0),
            settings: Vec::new(),
            addresses: vec![kept("192.0.2.1/24")],
            routes: vec![SavedRoute {
                text: "10.0.0.0/8 via 192.0.2.254 dev eth3".to_owned(),
                message: String::new(),
            }],
            neighbours: Vec::new(),
        },
    }
}

fn lent(radio: Option<u32>) -> Found {
    Found::Direct(Direct::Lent(Box::new(candidate(radio))))
}

fn asked(change: impl FnOnce(&mut wire::AttachmentSpec)) -> AttachmentSpec {
    spec(|asked| {
        asked.uplink = "eth3".into();
        asked.kind = wire::Kind::Direct.into();
        change(asked);
    })
}

#[test]
fn a_nic_is_marked_before_it_is_moved_and_one_step_brings_all_of_it_back() {
    let decision = plan(&asked(|_| ()), &on(lent(None)), derived()).unwrap();

    let lines: Vec<String> = decision.plan.iter().map(ToString::to_string).collect();
    let id = derived().id;
    assert_eq!(
        lines,
        [
            format!("ip link set eth3 alias \"pipewright {id} of eth3\""),
            "ip link set eth3 netns GUEST name eth1".to_owned(),
            "guest: ip link set eth1 up".to_owned(),
            "guest: ip addr add 192.0.2.10/24 dev eth1".to_owned(),
            "read back eth1".to_owned(),
            "guest: wait until eth1 passes frames".to_owned(),
            "guest: arping -A / ndisc6 -U on eth1 for 192.0.2.10".to_owned(),
        ]
    );
    let back: Vec<String> = undo(&decision.plan).iter().map(ToString::to_string).collect();
    assert_eq!(
        back,
        [
            "guest: ip link set eth1 netns HOST name eth3 address 02:00:5e:10:00:aa mtu 1400 up; ip addr add 192.0.2.1/24 \
          dev eth3; ip route add 10.0.0.0/8 via 192.0.2.254 dev eth3"
        ]
    );
    assert_eq!((decision.kind, decision.host_end), (Kind::Direct, None));
    assert_eq!(decision.mac, Some(candidate(None).state.mac));
    assert_eq!(decision.mtu.unwrap().get(), 1400);
}

#[test]
fn a_mac_address_and_an_mtu_are_set_in_the_guest_as_far_as_the_driver_goes() {
    let with = |mtu| {
        asked(|asked| {
            (asked.mac, asked.mtu) = ("02:00:5e:10:00:bb".to_owned(), mtu);
        })
    };

    let set = lines(&with(9000), &on(lent(None)));
    let refused = plan(&with(9001), &on(lent(None)), derived()).unwrap_err();

    assert_eq!(set[2], "guest: ip link set eth1 address 02:00:5e:10:00:bb mtu 9000");
    assert_eq!((refused.reason(), refused.fact("field")), (Reason::InvalidField, Some("spec.mtu")));
}

#[test]
fn a_radio_is_moved_as_a_whole_and_not_waited_for() {
    let moved = lines(&asked(|_| ()), &on(lent(Some(7))));
    let leased = asked(|asked| {
        asked.addressing = Some(wire::attachment_spec::Addressing::Dhcp(wire::Dhcp::default()));
    });

    assert_eq!(moved[1], "iw phy#7 set netns GUEST; guest: ip link set eth3 name eth1");
    assert_eq!(moved.last().map(String::as_str), Some("read back eth1"));
    let refused = plan(&leased, &on(lent(Some(7))), derived()).unwrap_err();
    assert_eq!(refused.fact("field"), Some("spec.dhcp"));
}
