//! One VLAN segment over two hosts, as an operator makes it: a fleet file, `pwctl fleet apply`, and who reaches whom.
//! The hosts are network namespaces, each with a real Open vSwitch, an agent and real Docker containers. Exits with 0 only
//! if everything was as it should be and nothing is left.

mod interrupt;
mod scene;
mod shell;
mod talk;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pipewright_tests::Snapshot;
use pipewright_tests::undertaker::Run;

use crate::interrupt::{Interrupted, Interrupts};
use crate::scene::Scene;

/// Two hosts, four containers, two VLANs: who reaches whom. Leaves nothing behind.
#[derive(Debug, Parser)]
struct Arguments {
    /// Make the two hosts, then give a shell to try things in.
    #[arg(long)]
    shell: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = Interrupts::watch().and_then(|interrupts| match arguments.shell {
        true => shell::open(&interrupts),
        false => tell(&interrupts),
    });
    // Docker serves to the end of the program and is removed here rather than behind the operator's back.
    if let Ok(run) = Run::get() {
        run.bury();
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => ExitCode::from(130),
        Err(error) => {
            eprintln!("\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tell(interrupts: &Interrupts) -> Result<()> {
    let scene = Scene::set(interrupts)?;
    match story(&scene, interrupts) {
        // Whatever it was that failed, Ctrl-C is why, and nobody wants the logs.
        _ if interrupts.any() => {
            scene.leave();
            Err(Interrupted.into())
        }
        Ok(()) => {
            scene.strike()?;
            println!(
                "\nas promised: each VLAN reaches itself, also across hosts, and never the other; nothing is left"
            );
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn story(scene: &Scene, interrupts: &Interrupts) -> Result<()> {
    let before = scene.snapshots()?;

    interrupts.heading("one file says what is wanted on both hosts")?;
    print!("{}", std::fs::read_to_string(&scene.fleet)?);
    scene.pwctl("fleet apply -f FILE --yes")?;

    interrupts.heading("who reaches whom: VLANs join over hosts and keep apart on one")?;
    let wrong = talk::table(scene)?;
    ensure!(wrong.is_empty(), "not as it should be:\n{}", wrong.join("\n"));

    interrupts.heading("applied again, nothing changes")?;
    let applied = scene.snapshots()?;
    scene.pwctl("fleet plan -f FILE --exit-code")?;
    scene.pwctl("fleet apply -f FILE --yes")?;
    same(&applied, &scene.snapshots()?).context("the second apply changed a host")?;

    interrupts.heading("destroyed, every host is as it was before")?;
    scene.pwctl("fleet destroy -f FILE --yes")?;
    scene.wait_same(&before)
}

fn same(before: &[Snapshot], now: &[Snapshot]) -> Result<()> {
    let diffs: String = before.iter().zip(now).map(|(before, now)| before.diff(now)).collect();
    ensure!(diffs.is_empty(), "{diffs}");
    Ok(())
}
