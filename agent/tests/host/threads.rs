//! Threads that go into guests, and are home before they do anything else.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipewright_agent::step::Step;
use tokio::sync::{Barrier, oneshot};

use crate::lab::{EVERYTHING, Host, Space, delete, name, on_a_host, plan, veth};

/// Longer than any of this takes.
const END: Duration = Duration::from_secs(20);

/// Where the calling thread is.
fn place() -> PathBuf {
    fs::read_link("/proc/thread-self/ns/net").unwrap()
}

/// What an operation has to say, carried by a thread of the host.
async fn carried<T: Send + 'static>(host: &Host, operation: impl Future<Output = T> + Send + 'static) -> T {
    let (answer, answered) = oneshot::channel();
    host.kernel.carry(async move {
        // A receiver that is gone fails the test by itself.
        let _heard = answer.send(operation.await);
    });
    answered.await.unwrap()
}

/// Threads of this process that were made to go into guests.
fn standing() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // One that ended since the folder was listed has no name any more.
    let named = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    named.filter(|comm| comm.trim_end() == "netns").count()
}

#[test]
fn who_carries_an_operation_is_home_between_its_visits_and_goes_by_itself() {
    on_a_host(async |host| {
        host.bridge("br0").await;
        let (guest, home) = (Space::new("g"), place());
        let (kernel, netns, inside) = (host.kernel.clone(), guest.open(), guest.inside(place));
        let steps = plan(&veth(1, Some("br0")), &["192.0.2.10/24"], None);

        let seen = carried(&host, async move {
            let thread = std::thread::current().id();
            let facts = kernel.guest(&netns, &name("eth1"), None, EVERYTHING).await.unwrap();
            let between = (place(), std::thread::current().id() == thread);
            kernel.take(Some(&netns), steps).await.unwrap();
            let (_, is_host) = kernel.identify(&netns).await.unwrap();
            (facts.is_host, is_host, between, place())
        })
        .await;

        assert_ne!(inside, home);
        assert_eq!(seen, (false, false, (home.clone(), true), home));
        assert_eq!(guest.links(), ["eth1"]);
        host.kernel.take(None, delete(&veth(1, Some("br0")))).await.unwrap();
    });
}

#[test]
fn a_defect_in_one_operation_is_its_own_and_the_next_one_is_carried() {
    on_a_host(async |host| {
        let (guest, home) = (Space::new("g"), place());
        let (defect, died) = oneshot::channel::<()>();
        let (kernel, netns) = (host.kernel.clone(), guest.open());
        host.kernel.carry(async move {
            let _told_by_its_end = defect;
            kernel.cookie(&netns).await.unwrap();
            panic!("a defect that a test wants");
        });
        assert!(died.await.is_err());

        let (kernel, netns) = (host.kernel.clone(), guest.open());
        let seen = carried(&host, async move { (kernel.cookie(&netns).await.is_ok(), place()) }).await;

        assert_eq!(seen, (true, home));
    });
}

#[test]
fn a_step_with_a_defect_is_refused_so_that_what_was_done_before_it_can_be_taken_back() {
    on_a_host(async |host| {
        let (guest, home) = (Space::new("g"), place());
        let (kernel, netns) = (host.kernel.clone(), guest.open());
        // It is no step of the kernel's, which a debug build of the agent asserts in the guest.
        let strange = Step::UnplugPort { id: uuid::Uuid::from_u128(1), port: name("eth1") };

        let seen = carried(&host, async move {
            let refused = kernel.take(Some(&netns), vec![strange]).await.unwrap_err();
            (refused.error.to_string(), place(), kernel.cookie(&netns).await.is_ok())
        })
        .await;

        assert!(seen.0.contains("defect"), "{}", seen.0);
        assert_eq!((seen.1, seen.2), (home, true));
    });
}

#[test]
fn a_guest_that_is_gone_before_it_is_entered_costs_no_thread_its_way_home() {
    on_a_host(async |host| {
        let home = place();
        let (kernel, gone) = (host.kernel.clone(), Space::new("g"));
        let netns = gone.open();
        drop(gone);

        let seen = carried(&host, async move {
            let set_up = Step::SetUp { ifname: name("eth1") };
            (kernel.take(Some(&netns), vec![set_up]).await.is_err(), place())
        })
        .await;

        assert_eq!(seen, (true, home));
    });
}

#[test]
fn many_operations_at_once_have_a_thread_each_and_few_of_those_stay() {
    on_a_host(async |host| {
        let guests: Vec<Space> = (0..24).map(|_| Space::new("g")).collect();
        // Nobody goes on before all are there.
        let all = Arc::new(Barrier::new(guests.len()));
        let operations = guests.iter().map(|guest| {
            let (kernel, netns, all) = (host.kernel.clone(), guest.open(), Arc::clone(&all));
            carried(&host, async move {
                let cookie = kernel.cookie(&netns).await.unwrap();
                all.wait().await;
                (cookie, place())
            })
        });
        let seen = futures_util::future::join_all(operations).await;

        let cookies: BTreeSet<u64> = seen.iter().map(|(cookie, _)| *cookie).collect();
        assert_eq!(cookies.len(), guests.len());
        assert!(seen.iter().all(|(_, place)| *place == self::place()));
        // Other tests of this process have threads, too, so only those of many at once are told by their number.
        let until = Instant::now() + END;
        while standing() >= guests.len() && Instant::now() < until {
            tokio::task::yield_now().await;
        }
        assert!(standing() < guests.len());
    });
}
