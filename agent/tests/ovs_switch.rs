//! The switch on a real ovsdb-server and ovs-vswitchd.
#![allow(clippy::unwrap_used)]

mod ovs_server;

use std::time::{Duration, Instant};

use ovs_server::OvsServer;
use ovs_server::switch::{connect, name, plug, server_with_bridge, soon, vlan};
use pipewright_agent::switches::ovs::{Datapath, Made, Ovs, Plug, Purpose, Released, SwitchError, Unplugged};
use pipewright_api::net::VlanId;
use pipewright_api::spec::Vlan;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_made_with_its_vlan_and_our_mark_and_removed_again() {
    let server = OvsServer::start_with_switch();
    let (ovs, id) = (connect(&server), Uuid::new_v4());
    server.add_link("pwa");

    let mac = "02:00:5e:10:00:01".parse().unwrap();
    assert_eq!(ovs.ensure_bridge(&name("br0"), Some(mac)).await.unwrap(), Made::Yes);
    assert_eq!(ovs.ensure_bridge(&name("br0"), Some(mac)).await.unwrap(), Made::No);
    ovs.plug(plug("br0", "pwa", id)).await.unwrap();
    let ofport = ovs.realised(&name("pwa"), id, soon()).await.unwrap();

    assert_eq!(server.find("Port", "tag,vlan_mode", "name=pwa"), ["42", "access"]);
    assert_eq!(server.find("Interface", "ofport", "name=pwa"), [ofport.to_string()]);
    assert_eq!(server.find("Interface", "external_ids", "name=pwa"), [format!("pipewright-id={id}")]);
    assert!(server.in_netns("ip", &["link", "show", "br0"]).contains("02:00:5e:10:00:01"));
    let port = ovs.port(&name("pwa")).unwrap();
    assert_eq!((port.bridge.as_deref(), port.id, port.vlan), (Some("br0"), Some(id), Some(vlan(42))));
    assert_eq!(ovs.release_bridge(&name("br0")).await.unwrap(), Released::InUse);

    assert_eq!(ovs.unplug(&name("pwa"), id).await.unwrap(), Unplugged::Yes);
    assert_eq!(ovs.unplug(&name("pwa"), id).await.unwrap(), Unplugged::Absent);
    assert_eq!(ovs.release_bridge(&name("br0")).await.unwrap(), Released::Yes);
    assert_eq!(ovs.release_bridge(&name("br0")).await.unwrap(), Released::Absent);
    for table in ["Bridge", "Port", "Interface"] {
        assert_eq!(server.vsctl(&["--bare", "--columns=name", "list", table]).trim(), "");
    }
}

/// They come to the committer together, which runs between them only.
#[tokio::test]
async fn one_of_many_that_want_a_bridge_makes_it_and_the_others_find_it() {
    let server = OvsServer::start_with_switch();
    let ovs = connect(&server);
    let bridge = name("br0");
    let wishes: Vec<_> = (0..20).map(|_| ovs.ensure_bridge(&bridge, None)).collect();

    let made: Vec<Made> =
        futures_util::future::join_all(wishes).await.into_iter().map(Result::unwrap).collect();

    assert_eq!(made.iter().filter(|made| **made == Made::Yes).count(), 1, "{made:?}");
    assert_eq!(server.find("Bridge", "name", "name=br0"), ["br0"]);
}

#[tokio::test]
async fn plugging_twice_is_fine_and_leaves_one_row() {
    let server = server_with_bridge();
    let (ovs, id) = (connect(&server), Uuid::new_v4());

    ovs.plug(plug("br0", "pwa", id)).await.unwrap();
    ovs.plug(plug("br0", "pwa", id)).await.unwrap();

    assert_eq!(server.find("Port", "name", "name=pwa"), ["pwa"]);
    assert_eq!(ovs.ours().len(), 1);
}

#[tokio::test]
async fn a_port_of_somebody_else_is_left_alone_and_its_owner_is_named() {
    let server = server_with_bridge();
    server.vsctl(&["add-port", "br0", "web", "--", "set", "Port", "web", "external_ids:owner=nova"]);
    let (ovs, other) = (connect(&server), Uuid::new_v4());
    ovs.plug(plug("br0", "pwb", other)).await.unwrap();

    let foreign = ovs.plug(plug("br0", "web", Uuid::new_v4())).await.unwrap_err();
    let another = ovs.plug(plug("br0", "pwb", Uuid::new_v4())).await.unwrap_err();
    let left = ovs.unplug(&name("web"), Uuid::new_v4()).await.unwrap();

    assert_eq!(foreign.to_string(), "port web exists in bridge br0 and belongs to owner=nova");
    assert_eq!(
        another.to_string(),
        format!("port pwb exists in bridge br0 and belongs to attachment {other}")
    );
    assert_eq!(left, Unplugged::Foreign { by: "owner=nova".to_owned() });
    assert_eq!(server.find("Port", "tag", "name=web"), Vec::<String>::new());
}

#[tokio::test]
async fn a_bridge_of_somebody_else_is_used_and_left_alone() {
    let server = server_with_bridge();
    let ovs = connect(&server);

    assert_eq!(ovs.ensure_bridge(&name("br0"), None).await.unwrap(), Made::No);
    assert_eq!(ovs.release_bridge(&name("br0")).await.unwrap(), Released::Foreign);

    assert!(!ovs.bridge(&name("br0")).await.unwrap().unwrap().is_ours);
    assert_eq!(server.find("Bridge", "name", "name=br0"), ["br0"]);
}

#[tokio::test]
async fn a_missing_bridge_is_an_error_that_names_it() {
    let server = OvsServer::start();
    let error = connect(&server).plug(plug("br7", "pwa", Uuid::new_v4())).await.unwrap_err();

    assert_eq!(error, SwitchError::NoBridge { bridge: "br7".to_owned() });
}

#[tokio::test]
async fn vlans_are_changed_in_place() {
    let server = server_with_bridge();
    let (ovs, id) = (connect(&server), Uuid::new_v4());
    let trunk = Vlan::Trunk([7, 9].map(|id| VlanId::try_from(id).unwrap()).into());
    ovs.plug(Plug { vlan: Vlan::Every, purpose: Purpose::Uplink, ..plug("br0", "eth9", id) }).await.unwrap();

    for wanted in [trunk, vlan(5), Vlan::Every] {
        ovs.set_vlan(&name("eth9"), id, wanted.clone()).await.unwrap();
        assert_eq!(ovs.port(&name("eth9")).unwrap().vlan, Some(wanted));
    }

    let other = ovs.set_vlan(&name("eth9"), Uuid::new_v4(), vlan(5)).await.unwrap_err();
    let missing = ovs.set_vlan(&name("eth8"), id, vlan(5)).await.unwrap_err();
    assert!(matches!(other, SwitchError::PortTaken { .. }), "{other}");
    assert_eq!(missing, SwitchError::NoPort { port: "eth8".to_owned() });
    assert_eq!(server.find("Port", "tag,trunks,vlan_mode", "name=eth9"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn plugs_at_the_same_time_share_transactions_and_only_the_guilty_one_fails() {
    let server = server_with_bridge();
    server.vsctl(&["add-port", "br0", "pw13"]);
    let ovs = connect(&server);
    ovs.synced().await.unwrap();
    let before: u32 = server.vsctl(&["get", "Open_vSwitch", ".", "next_cfg"]).trim().parse().unwrap();

    let plugs = (0..50).map(|n| {
        let ovs = ovs.clone();
        tokio::spawn(async move { ovs.plug(plug("br0", &format!("pw{n}"), Uuid::new_v4())).await })
    });
    let mut failures = Vec::new();
    for task in plugs.collect::<Vec<_>>() {
        failures.extend(task.await.unwrap().err());
    }

    let after: u32 = server.vsctl(&["get", "Open_vSwitch", ".", "next_cfg"]).trim().parse().unwrap();
    assert!(matches!(&failures[..], [SwitchError::PortTaken { port, .. }] if port == "pw13"), "{failures:?}");
    assert_eq!(ovs.ours().len(), 49);
    // How many share one depends on how busy the machine is; one each would be 50.
    assert!(after - before <= 25, "{} transactions", after - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_want_one_port_at_the_same_time_one_gets_it_and_the_other_is_told() {
    let server = server_with_bridge();
    let (one, other) = (connect(&server), connect(&server));
    one.synced().await.unwrap();
    other.synced().await.unwrap();

    for round in 0..30 {
        let port = format!("pw{round}");
        let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
        let outcomes =
            tokio::join!(one.plug(plug("br0", &port, first)), other.plug(plug("br0", &port, second)),);

        let (winner, error) = match outcomes {
            (Ok(()), Err(error)) => (first, error),
            (Err(error), Ok(())) => (second, error),
            both => panic!("{both:?}"),
        };
        let taken = format!("port {port} exists in bridge br0 and belongs to attachment {winner}");
        assert_eq!(error.to_string(), taken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_does_not_exist_is_reported_in_the_words_of_open_vswitch() {
    let server = OvsServer::start_with_switch();
    let (ovs, id) = (connect(&server), Uuid::new_v4());
    ovs.ensure_bridge(&name("br0"), None).await.unwrap();
    ovs.plug(plug("br0", "pwa", id)).await.unwrap();

    let error = ovs.realised(&name("pwa"), id, soon()).await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "Open vSwitch cannot use pwa: could not open network device pwa (No such device)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_waits_for_ovs_vswitchd_to_come_back() {
    let mut server = OvsServer::start_with_switch();
    let (ovs, id) = (connect(&server), Uuid::new_v4());
    server.add_link("pwa");
    ovs.ensure_bridge(&name("br0"), None).await.unwrap();
    server.kill_switch();

    ovs.plug(plug("br0", "pwa", id)).await.unwrap();
    let deadline = Instant::now() + Duration::from_millis(300);
    let error = ovs.realised(&name("pwa"), id, deadline).await.unwrap_err();
    assert!(matches!(error, SwitchError::NotRealised { .. }), "{error}");

    server.start_switch();
    assert!(ovs.realised(&name("pwa"), id, soon()).await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_vlan_is_not_realised_because_the_port_was() {
    let mut server = OvsServer::start_with_switch();
    let (ovs, id) = (connect(&server), Uuid::new_v4());
    server.add_link("pwa");
    ovs.ensure_bridge(&name("br0"), None).await.unwrap();
    ovs.plug(plug("br0", "pwa", id)).await.unwrap();
    ovs.realised(&name("pwa"), id, soon()).await.unwrap();
    server.kill_switch();

    ovs.set_vlan(&name("pwa"), id, vlan(43)).await.unwrap();
    let deadline = Instant::now() + Duration::from_millis(300);
    let error = ovs.realised(&name("pwa"), id, deadline).await.unwrap_err();

    assert!(matches!(error, SwitchError::NotRealised { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_ovs_vswitchd_cannot_make_is_taken_out_again() {
    let server = OvsServer::start_with_switch();
    let ovs = Ovs::new(server.endpoint().parse().unwrap(), Datapath::System);

    let error = ovs.ensure_bridge(&name("br0"), None).await.unwrap_err();

    assert!(matches!(&error, SwitchError::PortError { port, .. } if port == "br0"), "{error}");
    assert_eq!(server.vsctl(&["list-br"]), "");
}
