//! Labels of containers: `pipewright.attach="br0 --ip 192.0.2.10/24"` says what `pwctl attach br0 GUEST --ip 192.0.2.10/24`
//! says of that container.

use clap::Parser;
use pipewright_api::spec::{AttachmentSpec, GuestRef, Uplink};

use crate::link::Link;
use crate::values;

/// Longest line of a label or variable, in bytes.
pub const LINE_MAX: usize = 1024;

#[derive(Debug, Parser)]
#[command(name = "pipewright.attach", no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[arg(value_name = "UPLINK", value_parser = values::checked::<Uplink>)]
    uplink: Uplink,
    #[command(flatten)]
    link: Link,
}

/// What a label asks for its container.
///
/// # Errors
/// The word that is wrong, and why.
pub fn spec(line: &str, guest: GuestRef) -> Result<AttachmentSpec, String> {
    let Line { uplink, link } = Line::try_parse_from(words(line)?).map_err(|error| in_short(&error))?;
    link.spec(uplink, guest)
}

/// Words as a shell makes them of a line, with its quotes and without anything else of it.
///
/// # Errors
/// It is too long, a quote is left open, or there are control characters in it.
pub fn words(line: &str) -> Result<Vec<String>, String> {
    if line.len() > LINE_MAX {
        return Err(format!("is longer than {LINE_MAX} bytes"));
    }
    if line.chars().any(char::is_control) {
        return Err("has control characters in it: write it on one line".to_owned());
    }
    shlex::split(line).ok_or_else(|| "has a quote that is left open".to_owned())
}

/// The first paragraph: a label has no usage to be shown.
fn in_short(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(line: &str) -> Result<AttachmentSpec, String> {
        spec(line, GuestRef::Docker("web".to_owned()))
    }

    #[test]
    fn a_line_says_what_the_command_says() {
        let spec = asked("br0 --ip 192.0.2.10/24 --gateway=192.0.2.1 --vlan 100 --label 'a.b=c d'").unwrap();

        assert_eq!(spec.guest.to_string(), "docker:web");
        assert_eq!((spec.uplink.to_string().as_str(), spec.ifname.as_str()), ("br0", "eth1"));
        assert_eq!((spec.gateways.len(), spec.labels.iter().next()), (1, Some(("a.b", "c d"))));
    }

    #[test]
    fn a_line_that_cannot_be_says_which_word_it_is() {
        for (line, said) in [
            ("", "UPLINK"),
            ("br0", "--no-ip for a link without one"),
            ("br0 docker:web --no-ip", "unexpected argument 'docker:web'"),
            ("br0 --no-ip --dry-run", "unexpected argument '--dry-run'"),
            ("br0 --no-ip --request-id x", "unexpected argument '--request-id'"),
            ("br0 --help", "unexpected argument '--help'"),
            ("br0 --ip 192.0.2.0/24", "--ip"),
            ("br0 --ip 192.0.2.1/24 --gateway 192.0.2.1", "--gateway: "),
            ("br0 --no-ip 'open", "a quote that is left open"),
            ("br0 --no-ip\n", "control characters"),
            (&format!("br0 --no-ip {}", "x".repeat(LINE_MAX)), "longer than 1024"),
        ] {
            let why = asked(line).unwrap_err();

            assert!(why.contains(said) && !why.contains('\n'), "{line}: {why}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_label_says_it_is_answered(line in "(br0|--[a-z-]{1,12}|[0-9./:]{1,18}|'|\\PC| ){0,12}") {
            let _ = asked(&line);
        }
    }
}
