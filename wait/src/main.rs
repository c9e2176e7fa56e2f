//! `pwwait`: waits for a network link from inside a guest, and may become the program that needs it. One static file, for
//! images that have nothing else in them.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pipewright_api::condition::Condition;
use pipewright_wait::{Asked, args};

/// Waits until a network link is ready, here, where it runs: for use inside a guest
///
/// Each condition includes the ones before it. Exits with 1 when --timeout ran out, and says how far the link had come.
/// Takes no privileges. It is `pwctl wait --local` in one small file, and answers to that line, and to `pipework --wait
/// [-i NAME]`, as well.
#[derive(Debug, Parser)]
#[command(name = "pwwait", version, after_help = AFTER)]
struct Line {
    #[command(flatten)]
    link: args::Link,
    /// How long to wait
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = args::duration)]
    timeout: Duration,
    /// Nothing, since it always is; as `pwctl wait` has it
    #[arg(long, hide = true)]
    local: bool,
    /// Become this program when the link is ready
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const AFTER: &str = "\
Conditions:
  up       the link is there and administratively up
  carrier  it has carrier
  address  it has an address in use, not one still being checked for duplicates
  gateway  a default gateway over it answers

Examples:
  pwwait --for address --timeout 2m && exec ./start
  pwwait --ifname eth2 --for gateway -- /server --port 80    # without a shell
  pipework --wait -i eth2                                    # carrier, for ever

Exit codes: 0 ready, 1 not in time, 2 wrong usage; or those of COMMAND.";

fn main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    if is_pipework(&words) {
        return match pipework(&words[1..]) {
            Ok(asked) => wait(&asked, None),
            Err(why) => failed(&why),
        };
    }
    // As it is typed for pwctl, whatever name this file has.
    if words.get(1).is_some_and(|word| word == "wait") {
        words.remove(1);
    }
    let line = Line::parse_from(words);
    let args::Link { ifname, condition } = line.link;
    wait(&Asked { ifname, condition, timeout: Some(line.timeout) }, Some(&line.command))
}

/// Waits; then says so and ends, or becomes the program. `None`: says nothing, as pipework does.
fn wait(asked: &Asked, then: Option<&[OsString]>) -> ExitCode {
    let state = match pipewright_wait::wait(asked) {
        Ok(state) => state,
        Err(why) => return failed(&why.to_string()),
    };
    match then {
        None => {}
        Some([]) => println!("{}", pipewright_wait::ready(asked, &state)),
        Some(command) => return failed(&args::become_program(command)),
    }
    ExitCode::SUCCESS
}

fn failed(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

/// Whether the file is called `pipework`, or the line begins as that script's.
fn is_pipework(words: &[OsString]) -> bool {
    let is_named = words.first().and_then(|name| Path::new(name).file_name()) == Some(OsStr::new("pipework"));
    is_named || words.get(1).is_some_and(|word| word == "--wait")
}

/// `--wait [-i NAME]`: until it is up and has carrier, for ever.
fn pipework(words: &[OsString]) -> Result<Asked, String> {
    let asked = |ifname: &str| {
        let ifname = ifname.parse().map_err(|why| format!("-i: {why}"))?;
        Ok(Asked { ifname, condition: Condition::Carrier, timeout: None })
    };
    let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    match words[..] {
        ["--wait"] => asked("eth1"),
        ["--wait", "-i", ifname] | ["-i", ifname, "--wait"] => asked(ifname),
        _ => {
            Err("this file only waits: write `pipework --wait [-i NAME]`; pwctl knows pipework's other forms"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn pipeworks_words_are_known_and_its_other_forms_are_not() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (line, ifname) in [("--wait", "eth1"), ("--wait -i ib0", "ib0"), ("-i eth0 --wait", "eth0")] {
            assert_eq!(
                pipework(&words(line)).map(|asked| asked.ifname.to_string()),
                Ok(ifname.to_owned()),
                "{line}"
            );
        }
        for line in ["br1 web 192.0.2.1/24", "--wait eth0", "--wait -i", "--wait -i a/b"] {
            assert!(pipework(&words(line)).is_err(), "{line}");
        }
        assert!(is_pipework(&words("/usr/bin/pipework br1")) && is_pipework(&words("pwwait --wait")));
        assert!(!is_pipework(&words("pwwait --for up")));
    }
}
