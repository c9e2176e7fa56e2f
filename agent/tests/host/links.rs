//! Links made, read back and deleted.

use pipewright_agent::host::link::Operstate;
use pipewright_agent::host::mark;
use pipewright_agent::host::netns::Netns;
use pipewright_agent::step::{Step, StepError};
use pipewright_api::spec::SwitchKind;

use crate::lab::{EVERYTHING, Space, delete, errno, name, on_a_host, plan, run, veth};

#[test]
fn a_plan_gives_the_guest_its_link_with_addresses_and_routes() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        host.bridge("br0").await;
        let veth = veth(1, Some("br0"));

        host.take(&guest, plan(&veth, &["192.0.2.10/24", "2001:db8::10/64"], Some("192.0.2.1")))
            .await
            .unwrap();

        let end = guest.link("eth1");
        assert_eq!((&end["address"], &end["mtu"]), (&veth.guest_mac.to_string().into(), &1500.into()));
        assert_eq!((&end["num_tx_queues"], &end["num_rx_queues"]), (&1.into(), &1.into()));
        let addresses = guest.ip("-o addr show dev eth1");
        assert!(addresses.contains("192.0.2.10/24 brd 192.0.2.255"), "{addresses}");
        assert!(addresses.contains("2001:db8::10/64 scope global nodad"), "{addresses}");
        assert_eq!(guest.ip("route show default").trim(), "default via 192.0.2.1 dev eth1");
        let host_end = host.kernel.link(&veth.host_end).await.unwrap().unwrap();
        let bridge = host.kernel.link(&name("br0")).await.unwrap().unwrap();
        assert_eq!((host_end.master, host_end.group), (Some(bridge.index), mark::group(veth.id)));
        assert_eq!((host_end.operstate, host_end.kind.as_str(), host_end.mtu), (Operstate::Up, "veth", 1500));
        // A thousand ports with link-local addresses would slow down each other.
        assert_eq!(host.space.ip(&format!("-6 addr show dev {}", veth.host_end)), "");
    });
}

#[test]
fn a_name_taken_in_the_guest_is_refused_and_leaves_nothing() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        guest.ip("link add eth1 type bridge");
        let veth = veth(2, None);

        let refused = host.take(&guest, plan(&veth, &[], None)).await.unwrap_err();

        assert_eq!(errno(&refused), (libc::EEXIST, "link eth1 exists in the guest".to_owned()));
        assert_eq!(refused.index, 0);
        assert_eq!((host.space.links(), guest.links()), (vec![], vec!["eth1".to_owned()]));
        assert!(
            host.kernel
                .guest(&guest.open(), &name("eth1"), Some(&name("br0")), EVERYTHING)
                .await
                .unwrap()
                .ifname_taken
        );
    });
}

#[test]
fn a_name_taken_in_the_host_is_refused_and_leaves_nothing() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        let veth = veth(3, None);
        host.space.ip(&format!("link add {} type bridge", veth.host_end));

        let refused = host.take(&guest, plan(&veth, &[], None)).await.unwrap_err();

        assert_eq!(errno(&refused), (libc::EEXIST, format!("link {} exists in the host", veth.host_end)));
        assert_eq!(guest.links(), Vec::<String>::new());
    });
}

#[test]
fn a_missing_bridge_is_named() {
    on_a_host(async |host| {
        let guest = Space::new("g");

        let refused = host.take(&guest, plan(&veth(4, Some("br9")), &[], None)).await.unwrap_err();

        assert_eq!(errno(&refused), (libc::ENODEV, "link br9 does not exist".to_owned()));
    });
}

#[test]
fn a_link_is_deleted_once_and_deleting_it_again_is_fine() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        let veth = veth(5, None);
        host.take(&guest, plan(&veth, &["192.0.2.10/24"], None)).await.unwrap();

        host.take(&guest, delete(&veth)).await.unwrap();
        // The name is free at the kernel's notice, before its acknowledgement.
        host.take(&guest, plan(&veth, &["192.0.2.10/24"], None)).await.unwrap();
        host.take(&guest, delete(&veth)).await.unwrap();
        host.take(&guest, delete(&veth)).await.unwrap();

        assert_eq!((host.space.links(), guest.links()), (vec![], vec![]));
    });
}

#[test]
fn a_link_of_somebody_else_with_our_name_is_left_alone() {
    on_a_host(async |host| {
        let veth = veth(6, None);
        host.space.ip(&format!("link add {} group 77 type bridge", veth.host_end));

        host.kernel.take(None, delete(&veth)).await.unwrap();

        assert_eq!(host.space.links(), vec![veth.host_end.to_string()]);
    });
}

#[test]
fn a_bridge_is_made_once_and_deleted_with_its_last_port() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        host.bridge("br0").await;
        host.bridge("br0").await;
        let veth = veth(7, Some("br0"));
        host.take(&guest, plan(&veth, &[], None)).await.unwrap();
        let release = || vec![Step::ReleaseBridge { bridge: name("br0"), kind: SwitchKind::LinuxBridge }];

        host.kernel.take(None, release()).await.unwrap();
        assert_eq!(host.kernel.ports_of(&name("br0")).await.unwrap().len(), 1);
        host.kernel.take(None, delete(&veth)).await.unwrap();
        host.kernel.take(None, release()).await.unwrap();
        host.kernel.take(None, release()).await.unwrap();

        assert_eq!(host.space.links(), Vec::<String>::new());
    });
}

#[test]
fn a_bridge_of_somebody_else_is_used_as_it_is_and_kept() {
    on_a_host(async |host| {
        host.space.ip("link add br0 address 02:00:5e:00:00:09 type bridge");
        host.bridge("br0").await;

        host.kernel
            .take(None, vec![Step::ReleaseBridge { bridge: name("br0"), kind: SwitchKind::LinuxBridge }])
            .await
            .unwrap();

        let bridge = host.kernel.link(&name("br0")).await.unwrap().unwrap();
        assert_eq!((bridge.group, bridge.up), (0, false));
        assert_eq!(bridge.mac, Some("02:00:5e:00:00:09".parse().unwrap()));
    });
}

#[test]
fn a_link_with_the_name_of_a_bridge_is_said_to_be_what_it_is() {
    on_a_host(async |host| {
        host.space.ip("link add br0 type veth peer name other");
        let mac = "02:00:5e:10:00:fe".parse().unwrap();
        let ensure = Step::EnsureBridge { bridge: name("br0"), kind: SwitchKind::LinuxBridge, mac };

        let refused = host.kernel.take(None, vec![ensure]).await.unwrap_err();

        assert_eq!(errno(&refused), (libc::EEXIST, "br0 exists and is a veth, not a bridge".to_owned()));
    });
}

#[test]
fn a_link_in_another_bridge_is_not_taken_from_it() {
    on_a_host(async |host| {
        host.space.ip("link add br0 type bridge");
        host.space.ip("link add br1 type bridge");
        host.space.ip("link add eth0 type veth peer name far");
        let (link, bridge) = (name("eth0"), name("br0"));
        let enslave = |bridge| Step::EnslaveLink { link: name("eth0"), bridge };

        host.kernel.take(None, vec![enslave(bridge.clone())]).await.unwrap();
        let refused = host.kernel.take(None, vec![enslave(name("br1"))]).await.unwrap_err();
        host.kernel
            .take(None, vec![Step::FreeLink { link: link.clone(), bridge: name("br1") }])
            .await
            .unwrap();
        assert_eq!(errno(&refused), (libc::EBUSY, "eth0 is in br0 already".to_owned()));
        assert_eq!(host.kernel.ports_of(&bridge).await.unwrap().len(), 1);

        host.kernel.take(None, vec![Step::FreeLink { link, bridge: bridge.clone() }]).await.unwrap();
        assert_eq!(host.kernel.ports_of(&bridge).await.unwrap(), vec![]);
    });
}

#[test]
fn a_link_without_its_other_end_is_not_forwarding() {
    on_a_host(async |host| {
        let absent = Step::AwaitForwarding { host_end: name("nowhere") };

        let refused = host.kernel.take(None, vec![absent]).await.unwrap_err();

        assert!(matches!(refused.error, StepError::NotForwarding { .. }), "{}", refused.error);
    });
}

#[test]
fn a_change_behind_our_back_is_found_when_reading_back() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        let veth = veth(8, None);
        let steps = plan(&veth, &["192.0.2.10/24"], Some("192.0.2.1"));
        host.take(&guest, steps.clone()).await.unwrap();
        let verify: Vec<Step> = steps.into_iter().filter(|step| matches!(step, Step::Verify(_))).collect();

        host.take(&guest, verify.clone()).await.unwrap();
        for (change, back) in [
            ("link set eth1 mtu 1400", "link set eth1 mtu 1500"),
            ("route del default", "route add default via 192.0.2.1 dev eth1"),
            ("addr del 192.0.2.10/24 dev eth1", "addr add 192.0.2.10/24 dev eth1"),
        ] {
            guest.ip(change);
            let refused = host.take(&guest, verify.clone()).await.unwrap_err();
            assert!(matches!(refused.error, StepError::NotAsAsked { .. }), "{change}: {}", refused.error);
            guest.ip(back);
        }
    });
}

#[test]
fn tx_checksum_offload_is_off_when_asked() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        let veth = veth(9, None);
        let steps =
            vec![Step::CreateVeth(veth.clone()), Step::DisableTxChecksum { ifname: veth.guest_end.clone() }];

        host.take(&guest, steps).await.unwrap();

        assert!(guest.run("ethtool -k eth1").contains("tx-checksumming: off"));
    });
}

#[test]
fn ipv6_is_switched_on_in_a_guest_without_it() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        guest.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
        let veth = veth(10, None);
        let address = Step::AddAddress {
            ifname: name("eth1"),
            address: "2001:db8::10/64".parse().unwrap(),
            is_checked: false,
        };
        assert!(
            host.kernel
                .guest(&guest.open(), &name("eth1"), Some(&name("br0")), EVERYTHING)
                .await
                .unwrap()
                .ipv6_disabled
        );

        let without = vec![Step::CreateVeth(veth.clone()), address.clone()];
        let refused = host.take(&guest, without).await.unwrap_err();
        assert_eq!(refused.index, 1);
        assert!(refused.error.to_string().contains("IPv6 is disabled on this device"), "{}", refused.error);

        host.take(&guest, vec![Step::EnableIpv6 { ifname: name("eth1") }, address]).await.unwrap();
        assert!(guest.ip("-6 addr show dev eth1").contains("2001:db8::10/64"));
    });
}

#[test]
fn the_hosts_own_namespace_is_no_guest() {
    on_a_host(async |host| {
        let own = host.space.open();
        assert!(host.kernel.is_host(host.kernel.cookie(&own).await.unwrap()));
        // That of the process of the tests, which no test changes.
        let first = Netns::of_process(std::process::id()).unwrap().netns;

        for host_space in [own, first] {
            assert!(
                host.kernel
                    .guest(&host_space, &name("eth1"), Some(&name("br0")), EVERYTHING)
                    .await
                    .unwrap()
                    .is_host
            );
            let steps = plan(&veth(11, None), &["192.0.2.10/24"], None);
            let refused = host.kernel.take(Some(&host_space), steps).await.unwrap_err();
            assert_eq!(errno(&refused).0, libc::EPERM);
        }
        assert_eq!(host.space.links(), Vec::<String>::new());
    });
}

#[test]
fn cookies_tell_namespaces_apart_and_files_are_no_namespaces() {
    on_a_host(async |host| {
        let (one, two) = (Space::new("g"), Space::new("g"));
        let cookie = async |space: &Space| host.kernel.cookie(&space.open()).await.unwrap();
        assert_ne!(cookie(&one).await, cookie(&two).await);
        assert_eq!(cookie(&one).await, cookie(&one).await);
        assert!(!host.kernel.is_host(cookie(&one).await));

        assert!(Netns::at("/etc/hostname".as_ref()).is_err());
        assert!(Netns::at("/proc/self/ns/mnt".as_ref()).is_err());
        assert_eq!(Netns::of_process(u32::MAX / 4).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        let own = Netns::of_process(std::process::id()).unwrap();
        let stat = run("cat", &[&format!("/proc/{}/stat", std::process::id())]);
        assert!(stat.contains(&format!(" {} ", own.started)));
    });
}

#[test]
fn nothing_keeps_a_guest_alive_after_the_steps() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        let veth = veth(12, None);
        host.take(&guest, plan(&veth, &["192.0.2.10/24"], None)).await.unwrap();
        let mut events = host.kernel.host_events();

        run("ip", &["netns", "del", &guest.name]);

        let gone = async {
            while events.recv().await.unwrap().kind != pipewright_agent::host::watch::LinkChange::Deleted {}
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.unwrap();
        assert_eq!(host.kernel.link(&veth.host_end).await.unwrap(), None);
    });
}

#[test]
fn without_its_guest_a_link_is_not_made_and_undo_is_nothing_to_do() {
    on_a_host(async |host| {
        let steps = plan(&veth(13, None), &["192.0.2.10/24"], None);

        let refused = host.kernel.take(None, steps.clone()).await.unwrap_err();
        assert!(matches!(refused.error, StepError::GuestGone));

        let in_guest: Vec<Step> = steps.into_iter().filter(Step::is_in_guest).collect();
        host.kernel.take(None, in_guest).await.unwrap();
    });
}
