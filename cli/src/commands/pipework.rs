//! `pwctl pipework`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

use crate::args::Global;
use crate::pipework;

/// Carry out a line that was written for the pipework script
///
/// Takes all of its forms, with its options also in another order and place, and gives its exit codes. A link named
/// `pipework` to pwctl does the same.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pwctl pipework br1 web 192.0.2.10/24@192.0.2.1
  pwctl pipework ovs0 -i eth2 web 192.0.2.10/24 @100
  pwctl pipework route web show
  ln -s $(command -v pwctl) /usr/local/bin/pipework

As `pipework`, PWCTL_ENDPOINT or PWCTL_HOST in the environment say which agent
is asked; without them the agent of this host.")]
pub(crate) struct Pipework {
    /// The words that pipework takes; none for the list of its forms
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl Pipework {
    pub(crate) fn run(self, global: &Global) -> ExitCode {
        pipework::run(self.words, global)
    }
}
