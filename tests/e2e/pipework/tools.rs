//! `route`, `rule` and `tc` in a guest.

use anyhow::Result;
use pipewright_api::reason::Reason;
use pipewright_api::spec::GuestRef;
use pipewright_api::tool::{Tool, ToolLine};
use pipewright_tests::agent::program;
use pipewright_tests::{AgentOptions, Lab, Reach, needs, process, reach};
use uuid::Uuid;

use super::{Stage, routes};
use crate::scene::{asking, refused};

#[test]
fn routes_and_rules_are_the_guests() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;
    stage.pipework("br1 $web 192.0.2.1/24")?;
    let host = (stage.host.inside().ip("-4 route show table all")?, stage.host.inside().ip("rule show")?);

    // README, "Control routes".
    stage.pipework("route $web add 198.51.100.0/24 dev eth1")?;
    stage.pipework("route $web add table 7 203.0.113.0/24 via 192.0.2.9")?;
    stage.pipework("rule $web add from 192.0.2.1/32 table 7")?;

    assert_eq!(routes(&web)?, ["198.51.100.0/24 dev eth1 scope link"]);
    assert!(web.ip("route show table 7")?.contains("203.0.113.0/24 via 192.0.2.9 dev eth1"));
    assert!(web.ip("rule show")?.contains("from 192.0.2.1 lookup 7"));
    assert_eq!(stage.run("route $web show table 7")?.ok()?.stdout, web.ip("route show table 7")?);
    // By prefix, as in pipework.
    assert_eq!(stage.run("routeXYZ $web show")?.ok()?.stdout, web.ip("route show")?);
    let now = (stage.host.inside().ip("-4 route show table all")?, stage.host.inside().ip("rule show")?);
    assert_eq!(now, host);
    stage.end()
}

#[test]
fn queues_are_the_guests() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    stage.host.container("web")?;
    stage.pipework("br1 $web 192.0.2.1/24")?;

    // README's example is netem, which not every kernel has.
    stage.pipework("tc $web qdisc add dev eth1 root pfifo limit 7")?;

    let shown = stage.run("tc $web qdisc show dev eth1")?.ok()?.stdout;
    assert!(shown.starts_with("qdisc pfifo ") && shown.contains("limit 7p"), "{shown}");
    stage.end()
}

#[test]
fn packets_are_lost_and_held_back_as_netem_is_told() -> Result<()> {
    needs!(Root, Netem);
    let stage = Stage::plain_without_docker()?;
    let (web, other) = (stage.host.guest("web")?, stage.host.guest("other")?);
    let name = web.reference();
    stage.pipework(&format!("br1 {name} 192.0.2.1/24"))?;
    stage.pipework(&format!("br1 {} 192.0.2.2/24", other.reference()))?;
    let reaches = || reach(&web.inside()?, &other.inside()?, "192.0.2.2".parse()?);

    // README, "Control tc"; by both names of the command.
    stage.pipework(&format!("tc {name} qdisc add dev eth1 root netem loss 30%"))?;
    let shown = stage.run(&format!("tc {name} qdisc show dev eth1"))?.ok()?.stdout;
    stage.agent.ctl(&format!("tc {name} qdisc replace dev eth1 root netem loss 100%"))?.ok()?;
    let (lossy, during) = (shown.contains("netem") && shown.contains("loss 30%"), reaches()?);
    stage.agent.ctl(&format!("tc {name} qdisc replace dev eth1 root netem delay 20ms 5ms"))?.ok()?;
    let slow = reaches()?;
    stage.agent.ctl(&format!("tc {name} qdisc del dev eth1 root"))?.ok()?;

    assert!(lossy, "{shown}");
    assert_eq!((during, slow, reaches()?), (Reach::NEITHER, Reach::BOTH, Reach::BOTH));
    stage.end()
}

#[test]
fn a_tool_that_fails_ends_with_its_own_code_and_words() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;

    let unreachable = stage.run("route $web add 198.51.100.0/24 via 203.0.113.9")?;
    let garbage = stage.run("route $web add what")?;
    let by_pwctl = stage.agent.ctl(&format!("route {} add what", web.reference()))?;

    assert_eq!((unreachable.code, unreachable.stdout.as_str()), (2, ""));
    assert!(unreachable.stderr.contains("Nexthop has invalid gateway"), "{}", unreachable.stderr);
    assert_eq!((garbage.code, by_pwctl.code), (1, 1));
    assert!(garbage.stderr.contains("prefix is expected"), "{}", garbage.stderr);
    assert_eq!(garbage.stderr, by_pwctl.stderr);
    stage.end()
}

#[test]
fn a_change_is_made_once_for_its_request() -> Result<()> {
    needs!(Root);
    let stage = Stage::plain_without_docker()?;
    let web = stage.host.guest("web")?;
    let guest: GuestRef = web.reference().parse()?;
    let line = |words: &str| ToolLine::new(Tool::Rule, words.split(' ').map(str::to_owned).collect());
    let add = line("add from 192.0.2.1/32 table 7")?;
    let id = Uuid::new_v4();

    let (first, again, other) = asking(async {
        let client = stage.agent.client()?;
        let first = client.run_tool(id, &guest, &add).await?;
        let again = client.run_tool(id, &guest, &add).await?;
        Ok((first, again, client.run_tool(id, &guest, &line("flush")?).await))
    })?;

    assert_eq!((first.exit_code, &first), (0, &again));
    assert_eq!(web.ip("rule show")?.matches("from 192.0.2.1").count(), 1);
    refused(other, Reason::SpecDiffers);
    stage.lab.finish()
}

#[test]
fn tools_run_for_callers_on_the_unix_socket_only() -> Result<()> {
    needs!(Root);
    let lab = Lab::new()?;
    let host = lab.host("a")?;
    let options = AgentOptions::default().argument("--listen=tcp:127.0.0.1:7443").argument("--insecure");
    let _agent = host.agent(options)?;
    let web = host.guest("web")?;

    let mut remote = host.inside().command(program("pwctl")?)?;
    remote.args(["--endpoint", "http://127.0.0.1:7443", "route", web.reference(), "show"]);
    let ended = process::run(&mut remote)?;

    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("on the agent's unix socket only") && ended.stderr.contains("[NOT_GRANTED]"),
        "{}",
        ended.stderr
    );
    lab.finish()
}

#[test]
fn what_reaches_beyond_the_guest_is_refused_before_anything_runs() -> Result<()> {
    needs!(Root, Docker);
    let stage = Stage::plain()?;
    let web = stage.host.container("web")?;

    for (words, said) in [
        ("route $web -batch /etc/hostname", "-batch: this option is not passed on"),
        ("route $web -n other show", "-n: this option is not passed on"),
        ("tc $web exec bpf dbg", "exec: tc takes qdisc"),
        ("tc $web filter add dev eth1 bpf obj x.o", "bpf: what reads files"),
        ("route nobody show", "guest \"nobody\" not found"),
        ("route pid:2 show", "pid:2"),
    ] {
        let answer = stage.run(words)?;

        assert_eq!((answer.code, answer.stdout.as_str()), (1, ""), "{words}");
        assert!(answer.stderr.contains(said), "{words}: {}", answer.stderr);
    }
    assert_eq!(web.ip("route show")?, "");
    stage.end()
}
