//! What a script sees of pwctl: exit codes, and what goes where. No agent listens here.

#![allow(clippy::panic, clippy::unwrap_used, reason = "that is how a test fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs pwctl with an environment of its own.
fn pwctl(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pwctl"));
    command.args(arguments).env_clear().env("HOME", folder).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const FLEET: &str = "
fleet: lab
hosts: { a: { endpoint: \"unix:/nowhere/a.sock\" } }
switches: { br0: { kind: linux, hosts: [a] } }
segments: { red: { switch: br0, subnet: 192.0.2.0/24 } }
attachments: [{ host: a, guest: web, segment: red, ip: 192.0.2.1/24 }]
";

#[test]
fn wrong_usage_is_2_and_says_what_is_wrong_without_asking_anybody() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.yaml");
    std::fs::write(&file, FLEET).unwrap();
    let file = file.to_str().unwrap();
    let cases: [(&[&str], &str); 12] = [
        (&["attach", "br0", "web"], "give an address with --ip CIDR, have one given with --dhcp"),
        (&["attach", "br0", "web", "--ip", "192.0.2.1"], "perhaps 192.0.2.1/24"),
        (
            &["attach", "br0", "web", "--ip", "192.0.2.2/24", "--gateway", "192.0.2.2"],
            "--gateway: 192.0.2.2 is",
        ),
        (&["attach", "br0", "web", "--no-ip", "--request-id", "7"], "--request-id"),
        (&["--host", "a", "list"], "host a is not known"),
        (&["--endpoint", "https://192.0.2.1:7443", "list"], "TLS is not built yet"),
        (&["detach", "0198c0de-0000-7000-8000-000000000001", "--ifname", "eth1"], "leave out --ifname"),
        (&["wait", "web", "--for", "ready"], "use up, carrier, address or gateway"),
        (&["wait", "web", "--timeout", "2h"], "one hour at most"),
        (&["fleet", "apply", "-f", file], "add --yes"),
        (&["fleet", "destroy", "-f", file], "add --yes"),
        (&["fleet", "plan", "-f", file, "--host", "a"], "the fleet file names the hosts"),
    ];
    for (arguments, said) in cases {
        let output = pwctl(folder.path(), arguments);

        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(said), "{arguments:?}: {error}");
        assert_eq!(out, "", "{arguments:?}");
    }
}

#[test]
fn an_agent_that_is_not_there_is_1_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let endpoint = format!("unix:{}", socket.display());
    let cases: [&[&str]; 7] = [
        &["list"],
        &["attach", "br0", "web", "--no-ip"],
        &["detach", "web"],
        &["wait", "web"],
        &["watch"],
        &["host", "show"],
        &["operation", "0198c0de-0000-7000-8000-000000000001"],
    ];
    for arguments in cases {
        let output = command(folder.path(), arguments).env("PWCTL_ENDPOINT", &endpoint).output().unwrap();

        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(
            error.starts_with(&format!("cannot reach the agent at {endpoint}: ")),
            "{arguments:?}: {error}"
        );
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[test]
fn the_configuration_in_the_home_folder_names_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join(".config/pipewright");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("pwctl.yaml"), "hosts: { a: { endpoint: \"unix:/nowhere/a.sock\" } }\n")
        .unwrap();

    let output = pwctl(folder.path(), &["--host", "a", "list"]);

    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot reach the agent at unix:/nowhere/a.sock"));
}

#[test]
fn a_fleet_that_cannot_be_asked_is_1_and_one_that_is_wrong_is_1_with_the_lines() {
    let folder = tempfile::tempdir().unwrap();
    let right = folder.path().join("right.yaml");
    let wrong = folder.path().join("wrong.yaml");
    std::fs::write(&right, FLEET).unwrap();
    std::fs::write(&wrong, FLEET.replace("192.0.2.1/24", "198.51.100.1/24")).unwrap();
    let (right, wrong) = (right.to_str().unwrap(), wrong.to_str().unwrap());

    for command in ["plan", "apply", "status", "destroy"] {
        let mut arguments = vec!["fleet", command, "-f", right, "-o", "json"];
        arguments.extend(["apply", "destroy"].contains(&command).then_some("--yes"));
        let output = pwctl(folder.path(), &arguments);

        assert_eq!(output.status.code(), Some(1), "{command}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let message = json["hosts"][0]["message"].as_str().unwrap();
        assert!(
            message.starts_with("cannot reach the agent at unix:/nowhere/a.sock: "),
            "{command}: {message}"
        );
    }

    assert_eq!(pwctl(folder.path(), &["fleet", "validate", "-f", right]).status.code(), Some(0));
    let output = pwctl(folder.path(), &["fleet", "validate", "-f", wrong]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        format!("{wrong}:6:56: attachments[0].ip: 198.51.100.1 is outside the subnet 192.0.2.0/24\n")
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path(), &["fleet", "schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before anything is read.
    drop(child.stdout.take());

    let output = child.wait_with_output().unwrap();

    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_link_named_pipework_speaks_as_pipework() {
    let folder = tempfile::tempdir().unwrap();
    let pipework = folder.path().join("pipework");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pwctl"), &pipework).unwrap();
    let run = |arguments: &[&str]| Command::new(&pipework).args(arguments).env_clear().output().unwrap();

    for arguments in [&[] as &[&str], &["br1"], &["br1", "web"], &["route", "web"]] {
        for output in [run(arguments), pwctl(folder.path(), &[&["pipework"], arguments].concat())] {
            let out = text(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
            assert!(out.starts_with("Syntax:\npipework <hostinterface> "), "{arguments:?}: {out}");
            assert_eq!((out.lines().count(), text(&output.stderr).as_str()), (9, ""), "{arguments:?}");
        }
    }

    for arguments in [&["br1", "web", "192.0.2.1"] as &[&str], &["--direct-phys", "eth1", "web", "192.0.2.1"]]
    {
        for output in [run(arguments), pwctl(folder.path(), &[&["pipework"], arguments].concat())] {
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
            assert!(error.contains("Maybe you meant 192.0.2.1/24 ?"), "{arguments:?}: {error}");
            assert_eq!(text(&output.stdout), "", "{arguments:?}");
        }
    }
}

#[test]
fn manual_and_completions_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    std::fs::create_dir(&pages).unwrap();

    let man = pwctl(folder.path(), &["man", "--dir", pages.to_str().unwrap()]);
    let bash = text(&pwctl(folder.path(), &["completions", "bash"]).stdout);

    assert_eq!(man.status.code(), Some(0));
    for command in [
        "attach",
        "detach",
        "list",
        "wait",
        "watch",
        "operation",
        "host",
        "fleet",
        "pipework",
        "completions",
        "man",
    ] {
        assert!(pages.join(format!("pwctl-{command}.1")).exists(), "{command}");
        assert!(bash.contains(&format!("pwctl,{command})")), "{command}");
    }
}
