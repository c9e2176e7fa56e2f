//! Waiting inside a guest, where no agent can be asked: `pwctl wait --local`, and `pwwait`, which images copy in.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pipewright_tests::agent::program;
use pipewright_tests::process::{self, Ended, Process};
use pipewright_tests::{AgentOptions, Docker, Guest, Lab, needs};

use crate::scene::{Scene, until};

const SOON: Duration = Duration::from_secs(20);
/// One that is still waiting after this time had its time to look.
const A_WHILE: Duration = Duration::from_millis(300);
/// The same work by both programs, the first words of each.
const BOTH: [&[&str]; 2] = [&["pwctl", "wait", "--local"], &["pwwait"]];

/// Starts to wait inside a guest; a line is said with how it ended.
fn start(guest: &Guest, words: &[&str], more: &str) -> Result<Process> {
    let mut command = guest.inside()?.command("sh")?;
    let path = program(words[0])?;
    let line = [&[path.to_str().unwrap_or_default()], &words[1..], &[more, "; echo ended with $?"]].concat();
    command.args(["-c", &line.join(" ")]);
    Process::spawn(words[0], &mut command)
}

fn run(guest: &Guest, words: &[&str], more: &str) -> Result<Ended> {
    let mut command = guest.inside()?.command(program(words[0])?)?;
    process::run(command.args(&words[1..]).args(more.split_whitespace()))
}

fn ends_well(waiting: &Process) -> Result<()> {
    waiting.wait_line(|line| line == "ended with 0", SOON).map(drop)
}

fn still_waits(waiting: &[Process]) -> Result<()> {
    for process in waiting {
        ensure!(process.wait_line(|_| true, A_WHILE).is_err(), "it ended too early:\n{}", process.log());
    }
    Ok(())
}

#[test]
fn each_condition_is_waited_for_until_it_comes() -> Result<()> {
    needs!(Root);
    let lab = Lab::new()?;
    let host = lab.host("a")?;
    let (web, router) = (host.guest("web")?, host.guest("router")?);
    let routers = router.reference().trim_start_matches("netns:").to_owned();
    let begin = |condition: &str| -> Result<Vec<Process>> {
        let waiting = BOTH.map(|words| start(&web, words, &format!("--for {condition} --timeout 1m")));
        let waiting = waiting.into_iter().collect::<Result<Vec<_>>>()?;
        still_waits(&waiting)?;
        Ok(waiting)
    };

    let waiting = begin("up")?;
    web.ip(&format!("link add eth1 type veth peer name own netns {routers}"))?;
    still_waits(&waiting)?;
    web.ip("link set eth1 up")?;
    waiting.iter().try_for_each(ends_well)?;

    let waiting = begin("carrier")?;
    router.ip("link set own up")?;
    waiting.iter().try_for_each(ends_well)?;

    // An IPv6 address is checked for duplicates first (RFC 4862), for a second or two, and one that is somebody else's is not used.
    router.ip("address add 2001:db8::66/64 dev own nodad")?;
    web.ip("address add 2001:db8::66/64 dev eth1")?;
    until("the address is found to be taken", || Ok(web.ip("address show dev eth1")?.contains("dadfailed")))?;
    let waiting = begin("address")?;
    web.ip("address add 2001:db8::10/64 dev eth1")?;
    waiting.iter().try_for_each(ends_well)?;
    assert!(waiting[0].log().contains("eth1 is ready: address, 2001:db8::10/64"), "{}", waiting[0].log());

    for (gateway, at) in
        [("192.0.2.1", "192.0.2.10/24"), ("2001:db8::1", "2001:db8::11/64"), ("fe80::1", "2001:db8::12/64")]
    {
        let family = if gateway.contains(':') { "-6" } else { "-4" };
        web.ip(&format!("address add {at} dev eth1"))?;
        let waiting = begin("gateway")?;
        web.ip(&format!("{family} route add default via {gateway} dev eth1"))?;
        still_waits(&waiting)?;
        let length = at.split('/').nth(1).unwrap_or_default();
        router.ip(&format!("address add {gateway}/{length} dev own"))?;
        waiting.iter().try_for_each(ends_well)?;
        let expected = format!("gateway {gateway} reachable");
        assert!(waiting[1].log().contains(&expected), "{}", waiting[1].log());
        web.ip(&format!("{family} route del default"))?;
    }
    lab.finish()
}

#[test]
fn a_wait_inside_that_runs_out_says_how_far_the_link_had_come() -> Result<()> {
    needs!(Root);
    let lab = Lab::new()?;
    let guest = lab.host("a")?.guest("web")?;

    let stages = [
        ("link set lo up", "up", "there is no such link"),
        ("link add eth1 type veth peer name own", "up", "it is down"),
        ("link set eth1 up", "carrier", "without carrier"),
        ("link set own up", "address", "no address"),
        ("address add 192.0.2.10/24 dev eth1", "gateway", "no gateway"),
        ("route add default via 192.0.2.1", "gateway", "its gateway 192.0.2.1 is"),
    ];
    for (words, condition, said) in stages {
        guest.ip(words)?;
        if words.contains("own up") {
            until("it has carrier", || Ok(guest.ip("link show eth1")?.contains("state UP")))?;
        }
        for program in BOTH {
            let ended = run(&guest, program, &format!("--for {condition} --timeout 300ms"))?;
            assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
            let begins = format!("eth1 did not reach \"{condition}\" within 0.3 s: ");
            assert!(ended.stderr.starts_with(&begins) && ended.stderr.contains(said), "{}", ended.stderr);
        }
    }
    lab.finish()
}

#[test]
fn a_line_that_cannot_be_ends_with_two_and_says_what_to_write() -> Result<()> {
    needs!(Root);
    let lab = Lab::new()?;
    let guest = lab.host("a")?.guest("web")?;

    for (words, said) in [
        ("--for ready", "use up, carrier, address or gateway"),
        ("--ifname a/b", "not a link name: use"),
        ("--timeout soon", "write it as 30s, 500ms, 2m or 1h"),
        ("--nothing", "--nothing"),
    ] {
        for program in BOTH {
            let ended = run(&guest, program, words)?;
            assert_eq!(
                (ended.status.code(), ended.stdout.as_str()),
                (Some(2), ""),
                "{words}: {}",
                ended.stderr
            );
            assert!(ended.stderr.contains(said), "{words}: {}", ended.stderr);
        }
    }
    lab.finish()
}

#[test]
fn a_program_starts_in_the_waiters_place_when_the_link_is_ready() -> Result<()> {
    needs!(Root);
    let lab = Lab::new()?;
    let guest = lab.host("a")?.guest("web")?;
    guest.ip("link add eth1 up type veth peer name other")?;

    for program in BOTH {
        let done = run(&guest, program, "-- sh -c echo${IFS}started;exit${IFS}7")?;
        let late = run(&guest, program, "--for carrier --timeout 50ms -- echo started")?;
        let missing = run(&guest, program, "-- /nothing/here")?;

        assert_eq!((done.status.code(), done.stdout.as_str()), (Some(7), "started\n"), "{}", done.stderr);
        assert_eq!((late.status.code(), late.stdout.as_str()), (Some(1), ""));
        assert_eq!(missing.status.code(), Some(1));
        assert!(missing.stderr.contains("cannot run /nothing/here: "), "{}", missing.stderr);
    }
    lab.finish()
}

/// An image in which there is nothing but that file.
const IMAGE: &str = "pipewright-wait";

#[test]
fn an_empty_image_waits_for_its_links_with_one_small_file_and_no_privileges() -> Result<()> {
    needs!(Root, Docker);
    let file = program("../pwwait").context("`make wait-static` makes it")?;
    let bytes = std::fs::metadata(&file)?.len();
    assert!(bytes < 5_000_000, "it has {bytes} bytes");
    let scene = Scene::linux_with(AgentOptions::with_docker()?)?;
    let docker = Docker::shared()?;
    let image = scene.host.dir().join("image.tar");
    let folder = file.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    process::output(process::command("tar")?.args(["-C", &folder, "-cf"]).arg(&image).arg("pwwait"))?;
    docker.docker(&["import", &image.display().to_string(), IMAGE])?;
    let name = |name: &str| format!("{IMAGE}-{name}-{}", std::process::id());
    let run = |container: &str, words: &str| -> Result<()> {
        let mut line = vec!["run", "--detach", "--name", container, "--network=none"];
        line.extend(["--user=65534", "--cap-drop=ALL", "--security-opt=no-new-privileges", IMAGE]);
        line.extend(words.split(' '));
        docker.docker(&line).map(drop)
    };
    // Exit code and what was said.
    let ended = |container: &str| -> Result<(String, String)> {
        let code = docker.docker(&["wait", container])?.trim().to_owned();
        let said = docker.docker(&["logs", container])?;
        docker.docker(&["rm", container])?;
        Ok((code, said))
    };

    // One that nobody plugs anything into.
    let late = name("late");
    run(&late, "/pwwait --timeout 300ms")?;
    assert_eq!(ended(&late)?, ("1".to_owned(), String::new()));

    // One that waits for all there is to wait for, and one in pipework's words.
    let (web, old) = (name("web"), name("old"));
    run(&web, "/pwwait wait --local --for gateway --timeout 1m -- /pwwait --for carrier")?;
    run(&old, "/pwwait --wait -i eth2")?;
    scene.ctl(&format!("attach br0 docker:{web} --ip 192.0.2.10/24 --gateway 192.0.2.1"))?;
    scene.ctl(&format!("attach br0 docker:{old} --ifname eth2 --no-ip"))?;
    assert_eq!(ended(&old)?, ("0".to_owned(), String::new()));
    let router = scene.host.guest("router")?;
    scene.ctl(&format!("attach br0 {} --ip 192.0.2.1/24", router.reference()))?;
    assert_eq!(ended(&web)?, ("0".to_owned(), "eth1 is ready: carrier\n".to_owned()));

    docker.docker(&["rmi", IMAGE])?;
    scene.ctl(&format!("detach {}", router.reference()))?;
    scene.lab.finish()
}
