//! Many at once: pipework's calls trip over each other's links under /var/run/netns.

use anyhow::Result;
use pipewright_tests::{needs, process};

use super::{Stage, addresses, id};

const AT_ONCE: usize = 12;

#[test]
fn twelve_calls_at_once_on_one_container_all_succeed() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;
    let id = id(&web)?;

    let answers = std::thread::scope(|scope| {
        let call = |number: usize| {
            let (stage, id) = (&stage, &id);
            scope.spawn(move || stage.run(&format!("br1 -i net{number} {id} 192.0.2.{}/24", number + 1)))
        };
        let calls: Vec<_> = (0..AT_ONCE).map(call).collect();
        calls.into_iter().map(|call| call.join().expect("no thread panics")).collect::<Vec<_>>()
    });

    for answer in answers {
        answer?.ok()?;
    }
    for number in 0..AT_ONCE {
        assert_eq!(addresses(&web, &format!("net{number}"))?, [format!("192.0.2.{}/24", number + 1)]);
    }
    stage.end()
}

#[test]
fn the_same_call_twelve_times_at_once_makes_one_link() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;
    let id = id(&web)?;

    let codes: Vec<i32> = std::thread::scope(|scope| {
        let call = |_| scope.spawn(|| stage.run(&format!("br1 {id} 192.0.2.1/24")).map(|answer| answer.code));
        let calls: Vec<_> = (0..AT_ONCE).map(call).collect();
        calls.into_iter().map(|call| call.join().expect("no thread panics")).collect::<Result<_>>()
    })?;

    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 1).count(), AT_ONCE - 1, "{codes:?}");
    assert_eq!(addresses(&web, "eth1")?, ["192.0.2.1/24"]);
    // Nothing is left where `ip netns` looks.
    let listed = process::output(process::command("ip")?.args(["netns", "list"]))?;
    let pid = super::pid(&web)?;
    assert!(!listed.lines().any(|line| line.split(' ').next() == Some(pid.as_str())), "{listed}");
    stage.end()
}
