//! Ready means that frames pass, and that the neighbours know.

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use pipewright_agent::step::Step;
use pipewright_api::condition::GuestLinkState;

use crate::lab::{Host, Space, delete, name, on_a_host, plan, veth};

/// How long something that must happen may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// A guest on `br0` that the others talk to.
async fn neighbour(host: &Host) -> Space {
    let guest = Space::new("g");
    host.bridge("br0").await;
    host.take(&guest, plan(&veth(1000, Some("br0")), &["192.0.2.1/24", "2001:db8::1/64"], None))
        .await
        .unwrap();
    guest
}

fn udp(space: &Space, address: &'static str) -> UdpSocket {
    let socket = space.inside(|| UdpSocket::bind(address).unwrap());
    // Less than the second after which the kernel asks again for a MAC address: a lost frame is seen.
    socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    socket
}

#[test]
fn no_first_packet_is_lost() {
    on_a_host(async |host| {
        let other = neighbour(&host).await;
        let listener = udp(&other, "192.0.2.1:9");
        let guest = Space::new("g");
        let mut lost = Vec::new();

        for round in 0..100_u32 {
            let veth = veth(round.into(), Some("br0"));
            let sender = udp(&guest, "0.0.0.0:0");
            host.take(&guest, plan(&veth, &["192.0.2.10/24"], None)).await.unwrap();
            sender.send_to(&round.to_be_bytes(), "192.0.2.1:9").unwrap();
            let mut heard = [0; 4];
            match listener.recv(&mut heard) {
                Ok(_) => assert_eq!(u32::from_be_bytes(heard), round),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => lost.push(round),
                Err(error) => panic!("{error}"),
            }
            host.take(&guest, delete(&veth)).await.unwrap();
        }

        assert_eq!(lost, Vec::<u32>::new());
    });
}

#[test]
fn neighbours_learn_the_new_mac_address_at_once() {
    on_a_host(async |host| {
        let other = neighbour(&host).await;
        for address in ["192.0.2.10", "2001:db8::10"] {
            other.ip(&format!("neigh replace {address} lladdr 02:00:5e:00:00:99 dev eth1 nud stale"));
        }
        let guest = Space::new("g");
        let veth = veth(2, Some("br0"));
        let mut changes = host.kernel.guest_changes().unwrap();

        host.take(&guest, plan(&veth, &["192.0.2.10/24", "2001:db8::10/64"], None)).await.unwrap();

        let learnt = async {
            let mac = veth.guest_mac.to_string();
            while other.ip("neigh show").matches(&mac).count() < 2 {
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(DEADLINE, learnt).await.is_err() {
            panic!("the neighbours know: {}", other.ip("neigh show"));
        }
    });
}

#[test]
fn the_state_of_a_link_is_seen_from_inside_and_its_changes_are_heard() {
    on_a_host(async |host| {
        let other = neighbour(&host).await;
        let guest = Space::new("g");
        let eth1 = name("eth1");
        assert_eq!(host.kernel.link_state(&guest.open(), &eth1).await.unwrap(), GuestLinkState::default());
        let mut changes = host.kernel.guest_changes().unwrap();
        changes.mark_unchanged();

        let veth = veth(3, Some("br0"));
        host.take(&guest, plan(&veth, &["192.0.2.10/24"], Some("192.0.2.1"))).await.unwrap();
        tokio::time::timeout(DEADLINE, changes.changed()).await.unwrap().unwrap();
        let state = host.kernel.link_state(&guest.open(), &eth1).await.unwrap();
        assert!(state.exists && state.up && state.carrier);
        assert!(state.addresses.contains(&"192.0.2.10/24".parse().unwrap()));
        assert_eq!(state.gateway, Some("192.0.2.1".parse().unwrap()));

        host.kernel.probe_gateway(&guest.open(), &eth1).await.unwrap();
        let answered = async {
            loop {
                let state = host.kernel.link_state(&guest.open(), &eth1).await.unwrap();
                if state.gateway_state == "reachable" {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(DEADLINE, answered).await.unwrap();
        drop(other);
    });
}

#[test]
fn a_change_in_a_guest_without_a_link_of_ours_is_heard_after_a_look() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        host.kernel.link_state(&guest.open(), &name("eth7")).await.unwrap();
        let mut changes = host.kernel.guest_changes().unwrap();

        guest.ip("link add eth7 type bridge");

        let seen = async {
            while !host.kernel.link_state(&guest.open(), &name("eth7")).await.unwrap().exists {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(DEADLINE, seen).await.unwrap();
    });
}

#[test]
fn an_address_with_duplicate_detection_is_tentative_at_first() {
    on_a_host(async |host| {
        let _other = neighbour(&host).await;
        let guest = Space::new("g");
        let steps = plan(&veth(4, Some("br0")), &["192.0.2.10/24"], None);
        host.take(&guest, steps.into_iter().filter(|step| !matches!(step, Step::Announce { .. })).collect())
            .await
            .unwrap();
        let mut changes = host.kernel.guest_changes().unwrap();

        guest.ip("addr add 2001:db8::10/64 dev eth1");

        let address = "2001:db8::10/64".parse().unwrap();
        let state = host.kernel.link_state(&guest.open(), &name("eth1")).await.unwrap();
        assert!(state.tentative.contains(&address) && !state.addresses.contains(&address), "{state:?}");
        let usable = async {
            loop {
                let state = host.kernel.link_state(&guest.open(), &name("eth1")).await.unwrap();
                if state.addresses.contains(&address) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(DEADLINE, usable).await.unwrap();
    });
}
