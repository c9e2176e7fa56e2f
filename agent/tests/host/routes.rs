//! Default routes of a guest that ours replace, and that come back to the letter.

use pipewright_agent::host::Refused;
use pipewright_agent::step::{GuestRoute, SavedRoute, Step, undo};

use crate::lab::{EVERYTHING, Host, Space, errno, name, on_a_host, plan, veth};

/// A guest with a network of its own on `eth0`.
fn guest_with_a_network() -> Space {
    let guest = Space::new("g");
    guest.ip("link add eth0 type veth peer name far0");
    guest.ip("link set far0 up");
    guest.ip("link set eth0 up");
    guest.ip("addr add 198.51.100.9/24 dev eth0");
    guest.ip("addr add 2001:db8:1::9/64 dev eth0 nodad");
    guest
}

fn routes(guest: &Space) -> String {
    [guest.ip("-d -4 route show"), guest.ip("-d -6 route show")].concat()
}

async fn replaced(host: &Host, guest: &Space) -> Vec<SavedRoute> {
    host.kernel
        .guest(&guest.open(), &name("eth1"), Some(&name("br0")), EVERYTHING)
        .await
        .unwrap()
        .default_routes
}

/// A plan that replaces what is there.
async fn replacing_plan(host: &Host, guest: &Space, address: &str, gateway: &str) -> Vec<Step> {
    let mut steps = plan(&veth(1, None), &[address], Some(gateway));
    let place = steps.iter().position(|step| matches!(step, Step::AddRoute(_))).unwrap();
    steps.splice(place..place, replaced(host, guest).await.into_iter().map(Step::SetAsideRoute));
    steps
}

async fn replace_and_restore(host: &Host, guest: &Space, address: &str, gateway: &str) {
    let before = routes(guest);
    let steps = replacing_plan(host, guest, address, gateway).await;

    host.take(guest, steps.clone()).await.unwrap();
    assert!(routes(guest).contains(&format!("default via {gateway} dev eth1")), "{}", routes(guest));
    host.take(guest, undo(&steps)).await.unwrap();
    assert_eq!(routes(guest), before);
    // Undo of what is undone changes nothing.
    host.take(guest, undo(&steps)).await.unwrap();
    assert_eq!(routes(guest), before);
}

#[test]
fn a_default_route_comes_back_with_all_its_properties() {
    on_a_host(async |host| {
        let guest = guest_with_a_network();
        guest.ip("route add default via 203.0.113.1 dev eth0 proto static src 198.51.100.9 mtu 1400 onlink");
        assert_eq!(
            replaced(&host, &guest).await[0].text,
            "default via 203.0.113.1 dev eth0 proto static src 198.51.100.9 onlink"
        );

        replace_and_restore(&host, &guest, "192.0.2.10/24", "192.0.2.1").await;
    });
}

#[test]
fn an_ipv6_default_route_comes_back_with_all_its_properties() {
    on_a_host(async |host| {
        let guest = guest_with_a_network();
        guest.ip("-6 route add default via fe80::1 dev eth0 proto static mtu 1400 pref high");

        replace_and_restore(&host, &guest, "2001:db8::10/64", "2001:db8::1").await;
    });
}

#[test]
fn default_routes_without_a_gateway_over_several_or_to_nowhere_come_back() {
    on_a_host(async |host| {
        for route in [
            "default dev eth0 scope link",
            "default nexthop via 198.51.100.1 weight 2 nexthop via 198.51.100.2",
            "unreachable default",
        ] {
            let guest = guest_with_a_network();
            guest.ip(&format!("route add {route}"));

            replace_and_restore(&host, &guest, "192.0.2.10/24", "192.0.2.1").await;
        }
    });
}

#[test]
fn a_default_route_with_a_higher_metric_is_not_in_the_way() {
    on_a_host(async |host| {
        let guest = guest_with_a_network();
        guest.ip("route add default via 198.51.100.1 dev eth0 metric 100");
        guest.ip("-6 route add default via 2001:db8:1::1 dev eth0 metric 2048");

        assert_eq!(replaced(&host, &guest).await, vec![]);
        replace_and_restore(&host, &guest, "192.0.2.10/24", "192.0.2.1").await;
    });
}

#[test]
fn a_default_route_in_the_way_is_not_overwritten() {
    on_a_host(async |host| {
        let guest = guest_with_a_network();
        guest.ip("route add default via 198.51.100.1 dev eth0");

        let steps = plan(&veth(1, None), &["192.0.2.10/24"], Some("192.0.2.1"));
        let refused: Refused = host.take(&guest, steps.clone()).await.unwrap_err();

        assert_eq!((errno(&refused).0, &steps[refused.index]), (libc::EEXIST, &steps[4]));
        assert!(guest.ip("route show default").contains("via 198.51.100.1"));
    });
}

#[test]
fn a_route_whose_link_went_away_need_not_come_back() {
    on_a_host(async |host| {
        for change in ["link del eth0", "link set eth0 down"] {
            let guest = guest_with_a_network();
            guest.ip("route add default via 198.51.100.1 dev eth0");
            let steps = replacing_plan(&host, &guest, "192.0.2.10/24", "192.0.2.1").await;
            host.take(&guest, steps.clone()).await.unwrap();

            guest.ip(change);

            host.take(&guest, undo(&steps)).await.unwrap();
            assert_eq!(guest.ip("route show default"), "");
        }
    });
}

#[test]
fn a_route_that_went_away_meanwhile_is_set_aside_already() {
    on_a_host(async |host| {
        let guest = guest_with_a_network();
        guest.ip("route add default via 198.51.100.1 dev eth0");
        let steps = replacing_plan(&host, &guest, "192.0.2.10/24", "192.0.2.1").await;

        guest.ip("route del default");

        host.take(&guest, steps).await.unwrap();
    });
}

#[test]
fn routes_are_added_and_removed_in_both_families() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        let route = |destination: &str, via: Option<&str>| {
            GuestRoute::new(destination.parse().unwrap(), via.map(|via| via.parse().unwrap()), name("eth1"))
        };
        let mut steps = plan(&veth(2, None), &["192.0.2.10/24", "2001:db8::10/64"], None);
        let place = steps.iter().position(|step| matches!(step, Step::AwaitForwarding { .. })).unwrap();
        let wanted = [
            route("198.51.100.0/24", Some("192.0.2.1")),
            route("203.0.113.0/24", None),
            route("203.0.113.128/25", Some("2001:db8::1")),
            route("2001:db8:2::/48", Some("2001:db8::1")),
            route("2001:db8:3::/48", None),
        ];
        let before = steps.len();
        steps.splice(place..place, wanted.iter().cloned().map(Step::AddRoute));
        for step in &mut steps {
            if let Step::Verify(expected) = step {
                expected.routes = wanted.to_vec();
            }
        }
        assert_eq!(steps.len(), before + wanted.len());

        host.take(&guest, steps).await.unwrap();
        let made = routes(&guest);
        assert!(made.contains("198.51.100.0/24 via 192.0.2.1 dev eth1 proto boot scope global"), "{made}");
        assert!(made.contains("203.0.113.0/24 dev eth1 proto boot scope link"), "{made}");
        assert!(made.contains("203.0.113.128/25 via inet6 2001:db8::1 dev eth1"), "{made}");

        for _ in 0..2 {
            host.take(&guest, wanted.iter().cloned().map(Step::RemoveRoute).collect()).await.unwrap();
        }
        let left = routes(&guest);
        assert!(
            !left.contains("198.51.100.") && !left.contains("203.0.113.") && !left.contains("db8:2"),
            "{left}"
        );
    });
}
