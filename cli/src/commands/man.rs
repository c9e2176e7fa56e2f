//! `pwctl man`.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use crate::args::Cli;
use crate::explain::Failed;
use crate::output;

/// Print the manual page, or write one for each command
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pwctl man | man -l -
  pwctl man --dir /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Write pwctl.1, pwctl-attach.1 … into this folder
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let cannot = |why: std::io::Error| Failed::Because(format!("cannot write the manual: {why}"));
        match self.dir {
            Some(folder) => clap_mangen::generate_to(Cli::command(), folder).map_err(cannot),
            None => {
                let mut page = Vec::new();
                Page::new(Cli::command()).render(&mut page).map_err(cannot)?;
                output::print(&String::from_utf8_lossy(&page))
            }
        }
    }
}
