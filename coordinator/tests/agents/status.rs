//! How what is there is compared with the file.

use pipewright_api::attachment::Attachment;
use pipewright_api::wire;
use pipewright_coordinator::check::Fleet;
use pipewright_coordinator::desired::desired;
use pipewright_coordinator::rollout::Pace;
use pipewright_coordinator::status::{self, Standing};
use pipewright_coordinator::{check, fleet};

use crate::scripted::Agents;

fn checked(text: &str) -> Fleet {
    check::check(&fleet::parse(text, "fleet.yaml").unwrap()).unwrap()
}

fn lab(endpoints: [&str; 2]) -> Fleet {
    checked(&format!(
        "
fleet: lab
hosts: {{ a: {{ endpoint: \"{}\" }}, b: {{ endpoint: \"{}\" }} }}
switches: {{ ovs0: {{ kind: ovs, hosts: [a, b], uplink: eth1 }} }}
segments: {{ red: {{ switch: ovs0, vlan: 100, subnet: 192.0.2.0/24, gateway: 192.0.2.254 }} }}
attachments:
  - {{ host: a, guest: con1, segment: red, ip: 192.0.2.1/24, mtu: 1400 }}
  - {{ host: a, guest: con2, segment: red, ip: 192.0.2.2/24 }}
",
        endpoints[0], endpoints[1]
    ))
}

/// An attachment as an agent shows it, with the defaults filled in.
fn there(spec: wire::AttachmentSpec) -> wire::Attachment {
    wire::Attachment {
        id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
        state: wire::AttachmentState::Attached.into(),
        guest: Some(wire::GuestIdentity { runtime: "docker".to_owned(), ..wire::GuestIdentity::default() }),
        host_ifname: "pwabcdefghijkl".to_owned(),
        mac: "02:00:5e:00:53:01".to_owned(),
        mtu: 1500,
        fleet: "lab".to_owned(),
        created_at: Some(pbjson_types::Timestamp::default()),
        observed: Some(wire::ObservedLink {
            present: true,
            bridge: spec.uplink.clone(),
            ..wire::ObservedLink::default()
        }),
        spec: Some(wire::AttachmentSpec {
            host_ifname: "pwabcdefghijkl".to_owned(),
            mac: "02:00:5e:00:53:01".to_owned(),
            mtu: if spec.mtu == 0 { 1500 } else { spec.mtu },
            ..spec
        }),
        ..wire::Attachment::default()
    }
}

/// What the file wants of host a.
fn wanted(fleet: &Fleet) -> Vec<wire::AttachmentSpec> {
    let documents = desired(fleet);
    documents[&"a".parse().unwrap()].attachments.iter().cloned().map(wire::AttachmentSpec::from).collect()
}

/// How host a stands when these are there.
fn standings(found: Vec<wire::Attachment>) -> Vec<(String, Standing)> {
    let fleet = lab(["unix:/run/a.sock", "unix:/run/b.sock"]);
    let found = found.into_iter().map(|attachment| Attachment::try_from(attachment).unwrap()).collect();
    let rows = status::compare(&desired(&fleet)[&"a".parse().unwrap()].attachments, found);
    rows.into_iter().map(|row| (row.guest.to_string(), row.standing)).collect()
}

fn both() -> [wire::Attachment; 2] {
    let specs = wanted(&lab(["unix:/run/a.sock", "unix:/run/b.sock"]));
    [there(specs[0].clone()), there(specs[1].clone())]
}

fn con1(standing: Standing) -> Vec<(String, Standing)> {
    vec![("con1".to_owned(), standing), ("con2".to_owned(), Standing::Ok)]
}

#[test]
fn what_the_agent_filled_in_is_no_difference() {
    assert_eq!(standings(both().to_vec()), con1(Standing::Ok));
}

#[test]
fn what_is_missing_and_what_is_too_much_is_told() {
    let [mut one, two] = both();
    one.spec.as_mut().unwrap().guest = "con9".to_owned();

    let standings = standings(vec![one, two]);

    let expected = [("con1", Standing::Missing), ("con2", Standing::Ok), ("con9", Standing::Extra)];
    assert_eq!(standings, expected.map(|(guest, standing)| (guest.to_owned(), standing)));
}

#[test]
fn every_difference_is_told() {
    let [mut one, two] = both();
    let spec = one.spec.as_mut().unwrap();
    spec.uplink = "ovs9".to_owned();
    spec.vlan = Some(wire::attachment_spec::Vlan::AccessVlan(200));
    spec.addressing = Some(wire::attachment_spec::Addressing::NoAddress(wire::NoAddress {}));
    spec.gateways.clear();
    spec.routes = vec![wire::Route { destination: "198.51.100.0/24".to_owned(), ..wire::Route::default() }];
    spec.mtu = 1500;

    let standings = standings(vec![one, two]);

    let differences = [
        "switch ovs9, wanted ovs0",
        "VLAN 200, wanted 100",
        "address none, wanted 192.0.2.1/24",
        "gateway none, wanted 192.0.2.254",
        "routes 198.51.100.0/24, wanted none",
        "MTU 1500, wanted 1400",
    ];
    assert_eq!(standings, con1(Standing::Differs(differences.map(str::to_owned).to_vec())));
}

#[test]
fn what_is_as_wanted_and_does_not_work_is_broken() {
    let broken = |change: fn(&mut wire::Attachment)| {
        let [mut one, two] = both();
        change(&mut one);
        standings(vec![one, two])
    };

    let gone = broken(|one| one.observed = Some(wire::ObservedLink::default()));
    assert_eq!(gone, con1(Standing::Broken("its host end pwabcdefghijkl is gone".to_owned())));

    let unplugged = broken(|one| one.observed.as_mut().unwrap().bridge.clear());
    let said = "its host end pwabcdefghijkl is not in ovs0; apply plugs it";
    assert_eq!(unplugged, con1(Standing::Broken(said.to_owned())));

    let error =
        broken(|one| one.observed.as_mut().unwrap().ovs_error = "could not open network device".to_owned());
    let said = "Open vSwitch says: could not open network device";
    assert_eq!(error, con1(Standing::Broken(said.to_owned())));

    let incomplete = broken(|one| {
        one.state = wire::AttachmentState::Incomplete.into();
        one.leftovers = vec!["link pwabcdefghijkl".to_owned()];
    });
    assert_eq!(incomplete, con1(Standing::Broken("incomplete, left over: link pwabcdefghijkl".to_owned())));
}

#[tokio::test]
async fn only_attachments_of_the_fleet_are_asked_for_and_a_host_that_is_down_is_told() {
    let mut agents = Agents::new();
    agents.start("a", &[], &both());
    let fleet = lab([&agents.endpoint("a").to_string(), &agents.endpoint("b").to_string()]);

    let hosts = status::status(&fleet, Pace::default()).await;

    let a = hosts[&"a".parse().unwrap()].as_ref().unwrap();
    assert!(a.iter().all(|row| row.standing == Standing::Ok), "{a:?}");
    assert!(hosts[&"b".parse().unwrap()].is_err());
    let lists = agents.seen[&"a".parse().unwrap()].lists.lock().await;
    assert_eq!(lists.iter().map(|list| list.fleet.as_str()).collect::<Vec<_>>(), ["lab"]);
}
