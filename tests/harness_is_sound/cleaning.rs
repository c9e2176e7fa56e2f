//! However a lab ends, nothing of it stays on the machine.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pipewright_tests::undertaker::{MARK, Run};
use pipewright_tests::{Lab, needs, process};

/// Everything on the machine that has this name in it or, for processes, carries this run's mark.
fn traces(name: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in [PathBuf::from("/run/netns"), std::env::temp_dir()] {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?.file_name().to_string_lossy().into_owned();
            if entry == name || entry.starts_with(&format!("{name}-")) {
                found.push(format!("{}/{entry}", folder.display()));
            }
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    found.extend(mounts.lines().filter(|line| line.contains(&format!("/{name}/"))).map(str::to_owned));
    let mark = format!("{MARK}={name}").into_bytes();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        // Only processes have an environment, and one that ends meanwhile is no trace.
        let Ok(environment) = std::fs::read(path.join("environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark) {
            let said = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
            found.push(format!("{} {}", path.display(), said.replace('\0', " ")));
        }
    }
    Ok(found)
}

#[test]
fn a_dropped_lab_leaves_no_namespace_process_or_folder() -> Result<()> {
    needs!(Root, Ovs);
    let lab = Lab::new()?;
    let (name, dir) = (lab.name().to_owned(), lab.dir().to_owned());
    let host = lab.host("a")?;
    let ovs = host.ovs()?;
    let pids =
        [ovs.pid(pipewright_tests::ovs::Daemon::Switch), ovs.pid(pipewright_tests::ovs::Daemon::Database)];
    let guest = host.process_guest("job")?;
    let job = guest.reference().trim_start_matches("pid:").parse()?;
    assert!(!traces(&name)?.is_empty());

    drop((guest, host));
    lab.finish()?;

    assert_eq!(traces(&name)?, Vec::<String>::new());
    assert!(!dir.exists());
    for pid in pids.into_iter().flatten().chain([job]) {
        // One that has ended and that init has not reaped yet has no command line any more.
        let said = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(said.is_empty(), "process {pid} is left: {said}");
    }
    Ok(())
}

#[test]
fn a_lab_whose_story_panics_leaves_nothing() -> Result<()> {
    needs!(Root);
    let (sender, receiver) = std::sync::mpsc::channel();
    let story = std::thread::spawn(move || -> Result<()> {
        let lab = Lab::new()?;
        let _guest = lab.host("a")?.guest("web")?;
        sender.send(lab.name().to_owned())?;
        panic!("on purpose");
    });
    let name = receiver.recv()?;
    assert!(story.join().is_err());

    assert_eq!(traces(&name)?, Vec::<String>::new());
    Ok(())
}

/// Run by the test below in a process of its own, which it then kills. By itself it does nothing.
#[test]
fn victim() -> Result<()> {
    if std::env::var_os("PIPEWRIGHT_VICTIM").is_none() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let host = lab.host("a")?;
    host.ovs()?;
    host.process_guest("job")?;
    if pipewright_tests::Need::Docker.unmet().is_none() {
        host.container("web")?;
    }
    println!("lab of {} is there", Run::get()?.name());
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_test_program_leaves_nothing() -> Result<()> {
    needs!(Root, Ovs);
    let mut victim = process::Process::spawn(
        "victim",
        process::command(std::env::current_exe()?)?
            .args(["--exact", "cleaning::victim", "--nocapture"])
            .env("PIPEWRIGHT_VICTIM", "1"),
    )?;
    let line = victim.wait_line(|line| line.ends_with("is there"), Duration::from_secs(60))?;
    let name = line.split(' ').nth(2).context("a name")?.to_owned();
    assert!(!traces(&name)?.is_empty());

    victim.kill9()?;

    let end = Instant::now() + Duration::from_secs(30);
    let mut left = traces(&name)?;
    while !left.is_empty() && Instant::now() < end {
        process::output(process::command("sleep")?.arg("0.1")).context("sleep")?;
        left = traces(&name)?;
    }
    assert_eq!(left, Vec::<String>::new());
    Ok(())
}
