//! What `pwctl wait --local` and `pwwait` are given, so that both are given the same.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use pipewright_api::condition::Condition;
use pipewright_api::net::LinkName;

/// Which link, and what it shall be like.
#[derive(Debug, Clone, Args)]
pub struct Link {
    /// Name of the link in the guest
    #[arg(long, default_value = "eth1", value_name = "NAME", value_parser = checked::<LinkName>)]
    pub ifname: LinkName,
    /// What to wait for: up, carrier, address or gateway
    #[arg(long = "for", default_value = "up", value_name = "CONDITION", value_parser = checked::<Condition>)]
    pub condition: Condition,
}

/// Becomes another program, with this one's process id. Comes back only when it cannot.
pub fn become_program(words: &[OsString]) -> String {
    let Some((program, arguments)) = words.split_first() else { return "no command was given".to_owned() };
    let why = Command::new(program).args(arguments).exec();
    format!("cannot run {}: {why}", program.display())
}

/// `30s`, `500ms`, `2m`, `1h`, or seconds without a unit. Above zero.
///
/// # Errors
/// What to write instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || "write it as 30s, 500ms, 2m or 1h".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let millis = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(bad()),
    };
    match millis {
        // A day is longer than anything here takes, and what is added to it does not overflow.
        Some(millis @ 1..=86_400_000) => Ok(Duration::from_millis(millis)),
        _ => Err("use more than zero and at most 24h".to_owned()),
    }
}

/// Any checked value: clap names the argument and quotes the value, so the error need not.
///
/// # Errors
/// What to write instead.
pub fn checked<T>(text: &str) -> Result<T, String>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(unquoted(text))
}

/// Leaves out of `"x" is not a link name: use …` what clap says already.
pub fn unquoted<E: std::fmt::Display>(text: &str) -> impl FnOnce(E) -> String {
    let begins = format!("\"{}\" is ", text.escape_debug());
    move |why| {
        let why = why.to_string();
        why.strip_prefix(&begins).map_or(why.clone(), str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_or_are_seconds() {
        for (text, millis) in
            [("30s", 30_000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("7", 7000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "0",
            "0s",
            "-1s",
            "1.5s",
            "1d",
            "25h",
            "99999999999999999999",
            "1 s",
            "18446744073709551615h",
        ] {
            assert!(duration(text).is_err(), "{text} was taken");
        }
    }
}
