//! pwctl as a user meets it: exit codes, JSON, which agent is asked, and what is said when something is wrong.

use std::time::Duration;

use anyhow::{Context as _, Result};
use pipewright_tests::agent::program;
use pipewright_tests::ctl::{Answer, pwctl};
use pipewright_tests::{Agent, AgentOptions, Host, Lab, Snapshot, needs, process};
use rustix::process::Signal;
use serde_json::Value;

use crate::ask;

fn linux() -> Result<(Lab, std::sync::Arc<Host>, std::sync::Arc<Agent>)> {
    let lab = Lab::new()?;
    let host = lab.host("a")?;
    let agent = host.agent(AgentOptions::default())?;
    Ok((lab, host, agent))
}

/// `pwctl WORDS` with just these variables of its own.
fn pwctl_with(words: &str, variables: &[(&str, &str)]) -> Result<Answer> {
    let mut command = process::command(program("pwctl")?)?;
    command.args(words.split_whitespace());
    command.env_remove("PWCTL_HOST").env_remove("PWCTL_ENDPOINT").env("PWCTL_CONFIG", "/dev/null");
    let ended = process::run(command.envs(variables.iter().copied()))?;
    Ok(Answer {
        line: format!("pwctl {words}"),
        code: ended.status.code().unwrap_or(-1),
        stdout: ended.stdout,
        stderr: ended.stderr,
    })
}

#[test]
fn done_is_zero_failed_is_one_and_wrong_usage_is_two() -> Result<()> {
    needs!(Root);
    let (lab, host, agent) = linux()?;
    let guest = host.guest("web")?;
    let to = guest.reference();

    assert_eq!(agent.ctl("list")?.code, 0);
    assert_eq!(agent.ctl(&format!("attach br0 {to} --ip 192.0.2.10/24"))?.code, 0);
    assert_eq!(agent.ctl(&format!("attach br0 {to} --ip 192.0.2.11/24"))?.code, 1);
    assert_eq!(agent.ctl(&format!("detach {to}"))?.code, 0);

    ask::misused(agent.ctl(&format!("attach br0 {to}"))?, &["--ip CIDR", "--no-ip"]);
    ask::misused(agent.ctl(&format!("attach br0 {to} --ip 192.0.2.10"))?, &["192.0.2.10/24"]);
    ask::misused(agent.ctl("attach br0")?, &["<GUEST>"]);
    ask::misused(agent.ctl("plug br0")?, &["plug"]);
    ask::misused(agent.ctl("--host a list")?, &["--host", "--endpoint"]);
    ask::misused(agent.ctl("fleet validate -f /dev/null")?, &["leave out --host and --endpoint"]);
    lab.finish()
}

#[test]
fn json_has_the_names_and_shapes_that_scripts_hold_on_to() -> Result<()> {
    needs!(Root);
    let (lab, host, agent) = linux()?;
    let guest = host.guest("web")?;
    let to = guest.reference();
    assert_eq!(agent.ctl("-o json list")?.json()?["attachments"], serde_json::json!([]));

    let attached = agent
        .ctl(&format!("-o json attach br0 {to} --ip 192.0.2.10/24 --ip 2001:db8::10/64 --ifname net0"))?
        .json()?;
    let again = agent
        .ctl(&format!("-o json attach br0 {to} --ip 192.0.2.10/24 --ip 2001:db8::10/64 --ifname net0"))?
        .json()?;
    let listed = agent.ctl("-o json list")?.json()?;

    assert_eq!((&attached["created"], &again["created"]), (&Value::from(true), &Value::from(false)));
    let attachments = listed["attachments"].as_array().context("a list")?;
    assert_eq!(attachments.len(), 1);
    let one = &attachments[0];
    assert_eq!(one["id"], attached["attachment"]["id"]);
    assert_eq!(one["spec"]["guest"], to);
    assert_eq!(one["spec"]["ifname"], "net0");
    assert_eq!(one["spec"]["uplink"], "br0");
    assert!(one["host_ifname"].as_str().is_some_and(|name| name.starts_with("pw")), "{one}");
    assert!(one["mac"].as_str().is_some_and(|mac| mac.len() == 17), "{one}");
    // What was said to be there is there.
    assert!(host.inside().has_link(one["host_ifname"].as_str().unwrap_or_default())?);

    let yaml = agent.ctl("-o yaml list")?.ok()?.stdout;
    assert!(yaml.contains("attachments:") && yaml.contains("ifname: net0"), "{yaml}");
    let table = agent.ctl("list")?.ok()?.stdout;
    assert!(table.starts_with("ID") && table.contains("2001:db8::10/64"), "{table}");

    let gone = agent.ctl(&format!("-o json detach {to}"))?.json()?;
    assert_eq!(gone["attachments"].as_array().map(Vec::len), Some(1), "{gone}");
    let shown = agent.ctl("-o json host show")?.json()?;
    for key in ["hostname", "kernel", "agent_version", "capabilities", "bridges", "links"] {
        assert!(!shown[key].is_null(), "{key}: {shown}");
    }
    lab.finish()
}

#[test]
fn an_argument_goes_before_the_environment_and_hosts_are_found_in_the_configuration() -> Result<()> {
    needs!(Root);
    let lab = Lab::new()?;
    let mut agents = Vec::new();
    for name in ["a", "b"] {
        agents.push(lab.host(name)?.agent(AgentOptions::default())?);
    }
    let [a, b] = &agents[..] else { unreachable!("two names") };
    let config = lab.dir().join("pwctl.yaml");
    let hosts = format!(
        "hosts:\n  a: {{ endpoint: \"{}\" }}\n  b: {{ endpoint: \"{}\" }}\n",
        a.endpoint(),
        b.endpoint()
    );
    std::fs::write(&config, hosts)?;
    let config = config.display().to_string();
    // Which host answered, by what only it has.
    let on_b = |words: &str, variables: &[(&str, &str)]| -> Result<bool> {
        let mut all = vec![("PWCTL_CONFIG", config.as_str())];
        all.extend_from_slice(variables);
        let answer = pwctl_with(&format!("{words} -o json list"), &all)?.json()?;
        Ok(!answer["attachments"].as_array().context("a list")?.is_empty())
    };
    let probe = lab.host("c")?.guest("probe")?;
    b.ctl(&format!("attach br0 {} --no-ip", probe.reference()))?.ok()?;
    let (at_a, at_b) = (a.endpoint(), b.endpoint());

    assert!(on_b("--host b", &[])?);
    assert!(!on_b("--host a", &[("PWCTL_HOST", "b")])?);
    assert!(on_b("", &[("PWCTL_HOST", "b")])?);
    assert!(on_b("", &[("PWCTL_ENDPOINT", &at_b)])?);
    assert!(!on_b(&format!("--endpoint {at_a}"), &[("PWCTL_HOST", "b"), ("PWCTL_ENDPOINT", &at_b)])?);
    let variables = [("PWCTL_HOST", "a"), ("PWCTL_ENDPOINT", at_b.as_str()), ("PWCTL_CONFIG", &config)];
    ask::misused(pwctl_with("list", &variables)?, &["PWCTL_ENDPOINT", "PWCTL_HOST", "unset one"]);
    let unknown = pwctl_with("--host z list", &[("PWCTL_CONFIG", &config)])?;
    ask::misused(unknown, &["host z", &config, "a, b"]);

    b.ctl(&format!("detach {}", probe.reference()))?.ok()?;
    lab.finish()
}

#[test]
fn an_agent_that_is_not_there_is_said_to_be_unreachable_and_nothing_is_unknown() -> Result<()> {
    needs!(Root);
    let lab = Lab::new()?;
    let nowhere = format!("unix:{}", lab.dir().join("nobody.sock").display());

    for command in ["list", "attach br0 web --no-ip", "detach web"] {
        let answer = pwctl(&format!("--endpoint {nowhere} {command}"))?;

        assert_eq!(answer.code, 1, "{answer:?}");
        assert!(answer.stderr.contains("nobody.sock"), "{answer:?}");
        assert!(!answer.stderr.contains("unknown"), "{answer:?}");
    }
    lab.finish()
}

#[test]
fn detach_of_what_is_not_there_is_done() -> Result<()> {
    needs!(Root);
    let (lab, host, agent) = linux()?;
    let before = Snapshot::take(&host)?;
    let guest = host.guest("web")?;
    let targets = [
        guest.reference().to_owned(),
        "netns:never-was".to_owned(),
        "pid:4194303".to_owned(),
        "never-was".to_owned(),
        "0198c0de-0000-7000-8000-000000000001".to_owned(),
        "0198c0de".to_owned(),
    ];
    for target in targets {
        let answer = agent.ctl(&format!("detach {target}"))?.ok()?;
        assert!(answer.stdout.contains("nothing to detach"), "{target}: {answer:?}");
        let json = agent.ctl(&format!("-o json detach {target}"))?.json()?;
        assert_eq!(json["attachments"], serde_json::json!([]), "{target}");
    }
    guest.kill()?;
    before.wait_same(&host)?;
    lab.finish()
}

#[test]
fn what_is_refused_says_which_object_why_and_what_to_do() -> Result<()> {
    needs!(Root);
    let (lab, host, agent) = linux()?;
    let guest = host.guest("web")?;
    let to = guest.reference();
    host.inside().ip("link add dev br9 up type bridge")?;
    guest.ip("link add dev taken type bridge")?;
    let before = Snapshot::take(&host)?;
    let refused = |words: &str, reason: &str, parts: &[&str]| -> Result<()> {
        let said = ask::refused(agent.ctl(words)?, reason, parts);
        let is_plain = !said.contains("failed to") && !said.contains("Status {") && !said.contains("Some(");
        assert!(is_plain, "{said}");
        Ok(())
    };

    refused("attach br9 netns:nobody --no-ip", "GUEST_NOT_FOUND", &["nobody", "ip netns list"])?;
    refused("attach br9 pid:4194303 --no-ip", "GUEST_NOT_FOUND", &["pid:4194303"])?;
    let taken = format!("attach br9 {to} --no-ip --ifname taken");
    refused(&taken, "IFNAME_TAKEN", &[to, "taken", "--ifname"])?;
    refused(&format!("attach lan9 {to} --no-ip"), "NO_UPLINK", &["lan9", "br or ovs"])?;
    let physical = format!("attach eth1 {to} --no-ip --kind linux-bridge");
    refused(&physical, "NOT_SUPPORTED_HERE", &["eth1", "name a bridge"])?;
    refused(&format!("attach br9 {to} --no-ip --mtu 9000"), "INVALID_FIELD", &["br9", "9000", "1500"])?;
    let host_end = format!("attach br9 {to} --no-ip --host-ifname eth1");
    refused(&host_end, "IFNAME_TAKEN", &["eth1", "--host-ifname"])?;
    // The machine's own namespace, in which the tests run.
    refused(&format!("attach br9 pid:{} --no-ip", std::process::id()), "GUEST_IS_HOST", &["left alone"])?;

    before.assert_same(&Snapshot::take(&host)?);
    assert_eq!(agent.list()?.len(), 0);
    lab.finish()
}

#[test]
fn a_wait_that_runs_out_says_how_far_the_link_had_come() -> Result<()> {
    needs!(Root);
    let (lab, host, agent) = linux()?;
    let guest = host.guest("web")?;
    let to = guest.reference();

    let answer = agent.ctl(&format!("wait {to} --for up --timeout 200ms"))?;
    ask::refused(answer, "NOT_READY", &["eth1", to, "--timeout"]);

    agent.ctl(&format!("attach br0 {to} --ip 192.0.2.10/24 --ip 2001:db8::10/64"))?.ok()?;
    for condition in ["up", "carrier", "address"] {
        let ready = agent.ctl(&format!("wait {to} --for {condition} --timeout 10s"))?.ok()?;
        assert!(ready.stdout.contains(&format!("is ready: {condition}")), "{ready:?}");
    }
    let answer = agent.ctl(&format!("wait {to} --for gateway --timeout 200ms"))?;
    ask::refused(answer, "NOT_READY", &["gateway"]);
    agent.ctl(&format!("detach {to}"))?.ok()?;
    lab.finish()
}

#[test]
fn a_lost_answer_is_unknown_and_the_operation_tells_later() -> Result<()> {
    needs!(Root);
    let (lab, host, agent) = linux()?;
    let guest = host.guest("web")?;
    let before = Snapshot::take(&host)?;
    let attach = format!("attach br0 {} --ip 192.0.2.10/24", guest.reference());

    agent.signal(Signal::STOP)?;
    let answer = agent.ctl(&format!("{attach} --timeout 1s"))?;
    agent.signal(Signal::CONT)?;

    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("it is unknown whether the change was made"), "{answer:?}");
    let id = answer.stderr.split("; request ").nth(1).and_then(|rest| rest.lines().next());
    let id = id.with_context(|| format!("a request id: {answer:?}"))?.to_owned();
    assert!(answer.stderr.contains(&format!("operation {id}")), "{answer:?}");
    assert!(answer.stderr.contains(&format!("--request-id {id}")), "{answer:?}");

    // A client that gave up may have taken its request along. Asking again with the id makes it once at most.
    let told = agent.ctl(&format!("operation {id}"))?;
    let again = agent.ctl(&format!("{attach} --request-id {id}"))?.ok()?;
    let later = agent.ctl(&format!("operation {id}"))?.ok()?;
    let running = told.stdout.contains("still being carried out");
    assert!(told.code == 0 || running || told.stderr.contains("[OPERATION_NOT_FOUND]"), "{told:?}");
    assert!(again.stdout.contains("192.0.2.10/24"), "{again:?}");
    assert!(later.stdout.contains("was done:"), "{later:?}");
    assert_eq!(agent.list()?.len(), 1);

    agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
    before.wait_same(&host)?;
    lab.finish()
}

#[test]
fn an_unknown_operation_is_no_success() -> Result<()> {
    needs!(Root);
    let (lab, _host, agent) = linux()?;

    let answer = agent.ctl("operation 0198c0de-0000-7000-8000-000000000001")?;

    ask::refused(answer, "OPERATION_NOT_FOUND", &["0198c0de-0000-7000-8000-000000000001"]);
    lab.finish()
}

#[test]
fn a_watch_shows_an_attach_and_its_detach() -> Result<()> {
    needs!(Root);
    let (lab, host, agent) = linux()?;
    let guest = host.guest("web")?;
    let revision = agent.ctl("-o json list")?.json()?["revision"].as_str().context("a revision")?.to_owned();
    let mut watch = process::command(program("pwctl")?)?;
    watch.args(["--endpoint", &agent.endpoint(), "watch", "--resume", &revision]);
    let watch = process::Process::spawn("pwctl watch", &mut watch)?;

    agent.ctl(&format!("attach br0 {} --no-ip", guest.reference()))?.ok()?;
    let seen = watch.wait_line(|line| line.contains("attached"), Duration::from_secs(10))?;
    assert!(seen.contains(guest.reference()) && seen.contains("eth1"), "{seen}");
    agent.ctl(&format!("detach {}", guest.reference()))?.ok()?;
    watch.wait_line(|line| line.contains("detached"), Duration::from_secs(10))?;
    drop(watch);
    lab.finish()
}

#[test]
fn completions_and_manual_name_every_command() -> Result<()> {
    let commands = ["attach", "detach", "list", "wait", "watch", "operation", "host", "fleet"];
    for shell in ["bash", "zsh", "fish"] {
        let script = pwctl(&format!("completions {shell}"))?.ok()?.stdout;
        for command in commands {
            assert!(script.contains(command), "{shell} does not complete {command}");
        }
    }
    let manual = pwctl("man")?.ok()?.stdout;
    assert!(manual.contains(".TH pwctl 1"), "{}", &manual[..200.min(manual.len())]);
    let help = pwctl("--help")?.ok()?.stdout;
    for command in commands {
        assert!(manual.contains(command) && help.contains(command), "{command}");
    }
    Ok(())
}
