//! `pwctl completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::explain::Failed;
use crate::output;

/// Print what a shell needs to complete pwctl's arguments
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pwctl completions bash > /etc/bash_completion.d/pwctl
  pwctl completions zsh > /usr/local/share/zsh/site-functions/_pwctl
  pwctl completions fish > ~/.config/fish/completions/pwctl.fish")]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "pwctl", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}
