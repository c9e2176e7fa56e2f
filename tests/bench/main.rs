//! `make bench`: what the agent adds to what the kernel takes.
//!
//! The agent of this build in a host of its own, against a floor in another: a warm process that sends the fewest messages
//! for the same result. Both take turns round by round, so whatever else the machine does hits both, and the ratio between
//! them is what counts. Nothing here fails for being slow.

mod arena;
mod floor;
mod guests;
mod rows;
mod samples;
mod soak;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pipewright_tests::undertaker::Run;

use rows::{Length, ROWS};

/// Measures the agent against the floor.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rows to measure, separated by commas or blanks; all without any.
    #[arg(env = "BENCH_ROWS", value_delimiter = ',')]
    rows: Vec<String>,
    /// A third of the rounds or fewer: to see whether a change was one.
    #[arg(long)]
    quick: bool,
    /// No row, but so many attaches and detaches, which must leave the agent as it was.
    #[arg(long, value_name = "PAIRS")]
    soak: Option<usize>,
    #[arg(long, hide = true)]
    serve_floor: bool,
    #[arg(long, hide = true)]
    floor_ovsdb: Option<String>,
    #[arg(long, hide = true)]
    serve_grpc: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = if arguments.serve_floor {
        floor::process::serve(arguments.floor_ovsdb.as_deref())
    } else if let Some(path) = &arguments.serve_grpc {
        floor::grpc::serve(path)
    } else {
        let measured = match arguments.soak {
            Some(pairs) => soak::run(pairs),
            None => measure(&arguments),
        };
        if let Ok(run) = Run::get() {
            run.bury();
        }
        measured
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let names = ROWS.map(|(name, _)| name);
    for row in &arguments.rows {
        ensure!(names.contains(&row.as_str()), "there is no row {row}; there are {}", names.join(", "));
    }
    let length = if arguments.quick { Length::Quick } else { Length::Full };
    let mut lines = Vec::new();
    for (name, measure) in ROWS {
        if arguments.rows.is_empty() || arguments.rows.iter().any(|row| row == name) {
            eprintln!("measuring {name}");
            lines.extend(measure(length).with_context(|| format!("row {name}"))?);
        }
    }
    table::print(lines);
    Ok(())
}
