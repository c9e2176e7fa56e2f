//! Kills at random under load: the agent (also while it recovers), ovsdb-server, ovs-vswitchd, dockerd and guests. After each
//! kill what is recorded, what is there and what was answered must agree. Prints what was done, with the seed that does it again
//! (the same choices; what they meet is the machine's). Exits with 0 only if nothing was lost and nothing was left.

mod oracle;
mod victim;
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use fastrand::Rng;
use pipewright_tests::undertaker::Run;

use crate::victim::{Tally, Victim};
use crate::world::World;

/// Random SIGKILLs of agent, Open vSwitch, Docker and guests under load: nothing may leak, nothing may be lost.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many kills.
    #[arg(long, env = "N", default_value_t = 200)]
    kills: usize,
    /// Of the random choices; a new one each time.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
}

/// Between two looks at who reaches whom.
const REACH: usize = 25;
/// Between two lines on how it goes.
const PROGRESS: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("chaos: {} kills, seed {seed}", arguments.kills);
    let outcome = run(arguments.kills, seed);
    if let Ok(run) = Run::get() {
        run.bury();
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nseed {seed}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(kills: usize, seed: u64) -> Result<()> {
    let mut rng = Rng::with_seed(seed);
    let mut world = World::new()?;
    let mut tally = Tally::default();
    let (begun, mut told) = (Instant::now(), Instant::now());
    for round in 1..=kills {
        let victim = Victim::choose(&mut rng, &world);
        let mut lives = || -> Result<()> {
            world.round(&mut rng, &victim, &mut tally)?;
            oracle::agrees(&world)?;
            if round % REACH == 0 { oracle::reaches(&world) } else { Ok(()) }
        };
        if let Err(error) = lives() {
            eprintln!("{}", world.shown());
            return Err(error).with_context(|| format!("kill {round}, of {victim}"));
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            println!("{round} kills after {:?}", begun.elapsed());
        }
    }
    let lives = tally.agents + 1;
    world.strike()?;
    println!("{tally}");
    println!("{lives} lives of the agent; 0 leaked, 0 lost; {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}
