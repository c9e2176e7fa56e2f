//! Many at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pipewright_agent::host::link::LinkFacts;
use pipewright_agent::host::watch::LinkChange;
use pipewright_agent::host::{kernel::Kernel, mark};
use pipewright_agent::step::Step;
use uuid::Uuid;

use crate::lab::{Space, delete, name, on_a_host, plan, veth};

/// A pair whose end in the guest has a name of its own.
fn numbered(number: u128) -> pipewright_agent::step::Veth {
    let mut veth = veth(number, Some("br0"));
    veth.guest_end = name(&format!("eth{number}"));
    veth
}

fn create(number: u128) -> Vec<Step> {
    let veth = numbered(number);
    vec![Step::CreateVeth(veth.clone()), Step::SetUp { ifname: veth.guest_end }]
}

#[test]
fn two_hundred_deletions_at_once_take_those_links_and_no_other_while_others_are_made() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        host.bridge("br0").await;
        for number in 0..200 {
            host.take(&guest, create(number)).await.unwrap();
        }
        let began = Instant::now();

        let deletions = (0..200).map(|number| host.kernel.take(None, delete(&numbered(number))));
        let creations = async {
            let mut longest = Duration::ZERO;
            for number in 200..260 {
                let began = Instant::now();
                host.take(&guest, create(number)).await.unwrap();
                longest = longest.max(began.elapsed());
            }
            longest
        };
        let (deleted, longest) = tokio::join!(futures_util::future::join_all(deletions), creations);

        println!("200 deletions in {:?}; longest attach beside them {longest:?}", began.elapsed());
        assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
        let left: BTreeSet<String> =
            host.kernel.links().await.unwrap().into_iter().map(|link| link.name).collect();
        let made = (200..260).map(|number| mark::host_end(Uuid::from_u128(number)).to_string());
        assert_eq!(left, made.chain(["br0".to_owned(), "lo".to_owned()]).collect());
    });
}

#[test]
fn links_that_an_agent_was_deleting_when_it_died_are_deleted_at_the_start() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        host.bridge("br0").await;
        host.take(&guest, create(1)).await.unwrap();
        let doomed = numbered(1).host_end;
        host.space.ip(&format!("link set {doomed} group {}", mark::doomed(7)));

        let _next_agent = Kernel::start().unwrap();

        assert_eq!(host.space.links(), vec!["br0".to_owned()]);
    });
}

#[test]
fn the_same_link_deleted_by_many_is_gone_for_all() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        host.bridge("br0").await;
        host.take(&guest, create(1)).await.unwrap();

        let all = (0..32).map(|_| host.kernel.take(None, delete(&numbered(1))));

        assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
        let is_gone = |link: &LinkFacts| link.name != numbered(1).host_end.as_str();
        assert!(host.kernel.links().await.unwrap().iter().all(is_gone));
    });
}

#[test]
fn lists_are_whole_while_links_come_and_go() {
    on_a_host(async |host| {
        let guest = Space::new("g");
        host.bridge("br0").await;
        for number in 0..100 {
            host.take(&guest, create(number)).await.unwrap();
        }
        let churn = async {
            for _ in 0..50 {
                host.take(&guest, create(1000)).await.unwrap();
                host.kernel.take(None, delete(&numbered(1000))).await.unwrap();
            }
        };
        let lists = async {
            for _ in 0..200 {
                let links = match host.kernel.links().await {
                    Ok(links) => links,
                    // Said to be half, which is what matters.
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(error) => panic!("{error}"),
                };
                let ours = links.iter().filter(|link| link.kind == "veth" && link.name != churned()).count();
                assert_eq!(ours, 100);
            }
        };

        tokio::join!(churn, lists);
    });
}

fn churned() -> String {
    numbered(1000).host_end.to_string()
}

#[test]
fn nothing_holds_a_guest_after_attach_and_detach() {
    on_a_host(async |host| {
        host.bridge("br0").await;
        let mut events = host.kernel.host_events();
        for number in 0..20 {
            let guest = Space::new("g");
            // A link of somebody else ends with the guest's namespace, and tells us so.
            host.space.ip(&format!("link add end{number} type veth peer name end netns {}", guest.name));
            let veth = veth(number, Some("br0"));
            host.take(&guest, plan(&veth, &["192.0.2.10/24"], None)).await.unwrap();
            host.kernel.link_state(&guest.open(), &veth.guest_end).await.unwrap();
            host.take(&guest, delete(&veth)).await.unwrap();
        }

        let ended = async {
            let mut count = 0;
            while count < 20 {
                let event = events.recv().await.unwrap();
                count += u32::from(event.kind == LinkChange::Deleted && event.name.starts_with("end"));
            }
        };
        tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap();
    });
}
