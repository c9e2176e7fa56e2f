//! The switch while ovsdb-server is away, frozen or dying, and after.
#![allow(clippy::unwrap_used)]

mod ovs_server;

use std::time::Duration;

use ovs_server::proxy::{Proxy, Replies};
use ovs_server::switch::{connect, impatient, name, plug, server_with_bridge, vlan};
use pipewright_agent::switches::ovs::{Datapath, Ovs, Patience, SwitchError, Unplugged};
use uuid::Uuid;

#[tokio::test]
async fn without_a_server_every_call_says_so_and_names_the_endpoint() {
    let ovs = Ovs::new("unix:/nonexistent/db.sock".parse().unwrap(), Datapath::Auto);

    let error = ovs.plug(plug("br0", "pwa", Uuid::new_v4())).await.unwrap_err();

    assert!(
        matches!(&error, SwitchError::Down { cause } if cause.contains("unix:/nonexistent/db.sock")),
        "{error}"
    );
    assert!(matches!(ovs.bridge(&name("br0")).await, Err(SwitchError::Down { .. })));
    assert!(!ovs.facts().is_connected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_that_meets_a_frozen_server_ends_with_exactly_one_row() {
    let server = server_with_bridge();
    let (ovs, id) = (impatient(&server.endpoint()), Uuid::new_v4());
    ovs.synced().await.unwrap();
    server.freeze_database();

    let task = tokio::spawn({
        let ovs = ovs.clone();
        async move { ovs.plug(plug("br0", "pwa", id)).await }
    });
    // By now it was sent, and the connection is given up, which takes longer than one call may.
    ovs.changes().wait_for(|_| !ovs.facts().is_connected).await.unwrap();
    server.thaw_database();

    task.await.unwrap().unwrap();
    assert_eq!(server.find("Port", "name", "name=pwa"), ["pwa"]);
    assert_eq!(ovs.port(&name("pwa")).unwrap().id, Some(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_whose_answer_dies_with_the_server_ends_with_exactly_one_row() {
    let mut server = server_with_bridge();
    let proxy = Proxy::start(server.path("proxy.sock"), &server.socket(), Replies::LostAfter("transact"));
    let (ovs, id) = (impatient(&proxy.endpoint()), Uuid::new_v4());
    ovs.synced().await.unwrap();
    let plugged = tokio::spawn({
        let ovs = ovs.clone();
        async move { ovs.plug(plug("br0", "pwa", id)).await }
    });
    server.vsctl(&["wait-until", "Port", "pwa"]);

    server.kill_database();
    server.start_database();

    plugged.await.unwrap().unwrap();
    assert_eq!(server.find("Port", "name", "name=pwa"), ["pwa"]);
    assert_eq!(ovs.port(&name("pwa")).unwrap().id, Some(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_that_dies_with_the_server_is_made_by_the_next_one() {
    let mut server = server_with_bridge();
    let mut proxy = Proxy::start(server.path("proxy.sock"), &server.socket(), Replies::Split(100));
    let (ovs, id) = (impatient(&proxy.endpoint()), Uuid::new_v4());
    ovs.synced().await.unwrap();
    server.freeze_database();
    let plugged = tokio::spawn({
        let ovs = ovs.clone();
        async move { ovs.plug(plug("br0", "pwa", id)).await }
    });
    proxy.asked("pwa").await;

    server.kill_database();
    server.start_database();

    plugged.await.unwrap().unwrap();
    assert_eq!(server.find("Port", "name", "name=pwa"), ["pwa"]);
    assert_eq!(ovs.port(&name("pwa")).unwrap().id, Some(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plug_whose_outcome_cannot_be_found_out_is_unknown() {
    let server = server_with_bridge();
    let mut patience = Patience { call: Duration::from_millis(200), ..Patience::default() };
    patience.change = Duration::from_millis(700);
    let ovs = Ovs::with_patience(server.endpoint().parse().unwrap(), Datapath::Netdev, patience);
    ovs.synced().await.unwrap();
    let id = Uuid::new_v4();
    server.freeze_database();

    let error = ovs.plug(plug("br0", "pwa", id)).await.unwrap_err();
    assert!(matches!(error, SwitchError::Unknown { .. }), "{error}");

    // It was carried out all the same; asking again finds that, and so does taking it out.
    server.thaw_database();
    ovs.plug(plug("br0", "pwa", id)).await.unwrap();
    assert_eq!(server.find("Port", "name", "name=pwa"), ["pwa"]);
    assert_eq!(ovs.unplug(&name("pwa"), id).await.unwrap(), Unplugged::Yes);
}

#[tokio::test(flavor = "multi_thread")]
async fn unplugging_finds_what_an_unanswered_plug_left_behind() {
    let server = server_with_bridge();
    let mut patience = Patience { call: Duration::from_millis(200), ..Patience::default() };
    patience.change = Duration::from_millis(700);
    let ovs = Ovs::with_patience(server.endpoint().parse().unwrap(), Datapath::Netdev, patience);
    ovs.synced().await.unwrap();
    let id = Uuid::new_v4();
    server.freeze_database();
    ovs.plug(plug("br0", "pwa", id)).await.unwrap_err();

    // The port is not known of when this begins.
    let port = name("pwa");
    let (unplugged, ()) = tokio::join!(ovs.unplug(&port, id), async { server.thaw_database() });

    assert_eq!(unplugged.unwrap(), Unplugged::Yes);
    assert_eq!(server.find("Port", "name", "name=pwa"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_by_others_are_seen_and_seen_again_after_a_restart_of_the_server() {
    let mut server = server_with_bridge();
    let (ovs, id) = (connect(&server), Uuid::new_v4());
    ovs.plug(plug("br0", "pwa", id)).await.unwrap();
    let mut changes = ovs.changes();

    server.vsctl(&["set", "Port", "pwa", "tag=43"]);
    changes.wait_for(|_| ovs.port(&name("pwa")).unwrap().vlan == Some(vlan(43))).await.unwrap();

    server.kill_database();
    changes.wait_for(|_| !ovs.facts().is_connected).await.unwrap();
    server.start_database();
    server.vsctl(&["del-port", "pwa"]);
    changes.wait_for(|_| ovs.facts().is_connected && ovs.port(&name("pwa")).is_none()).await.unwrap();
}
