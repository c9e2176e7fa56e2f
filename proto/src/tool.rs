//! Programs of iproute2 that run in a guest's network namespace, and the lines that they may be given.
//!
//! They run as root with the host's files, so a line must not be able to name one: `-batch FILE`, a BPF object, a plug-in
//! of tc's. What is allowed is listed; what iproute2 learns next is refused until somebody has looked at it.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Most words of a line.
pub const WORDS_MAX: usize = 128;
/// Longest word, in bytes.
pub const WORD_MAX: usize = 255;

/// A program of iproute2, with the object for `ip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tool {
    /// `ip route`.
    Route,
    /// `ip rule`.
    Rule,
    /// `tc`.
    Tc,
}

impl Tool {
    /// Every tool.
    pub const ALL: [Self; 3] = [Self::Route, Self::Rule, Self::Tc];

    /// The program's name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Route | Self::Rule => "ip",
            Self::Tc => "tc",
        }
    }

    /// Options that choose a family or how to print; they come before the verb.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Route | Self::Rule => &[
                "-4",
                "-6",
                "-d",
                "-details",
                "-s",
                "-stats",
                "-statistics",
                "-j",
                "-json",
                "-p",
                "-pretty",
                "-o",
                "-oneline",
                "-N",
                "-Numeric",
            ],
            Self::Tc => &[
                "-d",
                "-details",
                "-s",
                "-stats",
                "-statistics",
                "-j",
                "-json",
                "-p",
                "-pretty",
                "-o",
                "-oneline",
                "-N",
                "-Numeric",
                "-r",
                "-raw",
                "-iec",
                "-g",
                "-graph",
            ],
        }
    }

    /// The first word after the options, which iproute2 also takes shortened: verbs of `ip`, objects of `tc`.
    fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::Route => &[
                "list", "show", "lst", "get", "add", "change", "chg", "replace", "prepend", "append", "test",
                "delete", "flush", "help",
            ],
            Self::Rule => &["list", "show", "lst", "add", "delete", "flush", "help"],
            Self::Tc => &["qdisc", "class", "filter", "chain", "actions", "help"],
        }
    }
}

/// Verbs that only print.
const READING: [&str; 6] = ["list", "show", "lst", "ls", "get", "help"];

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Route => "route",
            Self::Rule => "rule",
            Self::Tc => "tc",
        })
    }
}

/// What became of a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// The program's own; 128 and the signal's number when a signal ended it.
    pub exit_code: i32,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: Vec<u8>,
}

/// Words anywhere in a line after which iproute2 reads a file or loads a library.
const FORBIDDEN: [&str; 11] = [
    "bpf",
    "obj",
    "object-file",
    "object-pinned",
    "pinned",
    "bytecode-file",
    "export",
    "exec",
    "xt",
    "ipt",
    "monitor",
];

/// A line for a tool that can do nothing but look at and change routes, rules and queues of one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolLine {
    tool: Tool,
    words: Vec<String>,
}

/// Why a line is refused: which word, by its number from 0, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct LineError {
    /// `None`: the line as a whole.
    pub word: Option<usize>,
    why: String,
}

impl ToolLine {
    /// Checks the words that follow the program's name.
    ///
    /// # Errors
    /// [`LineError`]: the first word that may not be there.
    pub fn new(tool: Tool, words: Vec<String>) -> Result<Self, LineError> {
        let whole = |why: String| LineError { word: None, why };
        if words.is_empty() || words.len() > WORDS_MAX {
            return Err(whole(format!("give {tool} 1 to {WORDS_MAX} words, such as `{tool} GUEST show`")));
        }
        let mut is_option = true;
        for (number, word) in words.iter().enumerate() {
            let refuse = |why: String| LineError { word: Some(number), why };
            check_text(word).map_err(|why| refuse(format!("\"{}\": {why}", word.escape_debug())))?;
            if is_option && word.starts_with('-') {
                check_option(tool, word).map_err(refuse)?;
            } else if is_option {
                is_option = false;
                check_verb(tool, word).map_err(refuse)?;
            } else {
                check_word(word).map_err(refuse)?;
            }
        }
        match is_option {
            true => Err(whole(format!("{tool}: a verb is missing after the options, such as show"))),
            false => Ok(Self { tool, words }),
        }
    }

    /// Which tool.
    pub fn tool(&self) -> Tool {
        self.tool
    }

    /// What the caller wrote.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The program's arguments: `ip` wants its options before the object.
    pub fn arguments(&self) -> Vec<&str> {
        let split = self.words.iter().position(|word| !word.starts_with('-')).unwrap_or_default();
        let (options, rest) = self.words.split_at(split);
        let object = match self.tool {
            Tool::Route => Some("route"),
            Tool::Rule => Some("rule"),
            Tool::Tc => None,
        };
        options.iter().map(String::as_str).chain(object).chain(rest.iter().map(String::as_str)).collect()
    }

    /// Whether it can change something. What is not known to only print can.
    pub fn changes(&self) -> bool {
        let mut words = self.words.iter().filter(|word| !word.starts_with('-'));
        let verb = match self.tool {
            Tool::Route | Tool::Rule => words.next(),
            // An object without a verb is listed.
            Tool::Tc => match words.next().map(String::as_str) {
                Some("help") => return false,
                _ => words.next(),
            },
        };
        verb.is_some_and(|verb| !READING.contains(&verb.as_str()))
    }
}

/// `ip route WORDS`, as an operator would type it.
impl fmt::Display for ToolLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.tool.program(), self.arguments().join(" "))
    }
}

fn check_text(word: &str) -> Result<(), String> {
    match !word.is_empty() && word.len() <= WORD_MAX && word.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(format!("use 1 to {WORD_MAX} printable ASCII characters without blanks for each word")),
    }
}

fn check_option(tool: Tool, word: &str) -> Result<(), String> {
    match tool.options().contains(&word) {
        true => Ok(()),
        false => Err(format!(
            "{word}: this option is not passed on, since options of {} can read files and leave the guest; it takes {}",
            tool.program(),
            tool.options().join(" ")
        )),
    }
}

/// iproute2 takes the first verb that begins with the word; those that are refused come last in its order.
fn check_verb(tool: Tool, word: &str) -> Result<(), String> {
    match tool.verbs().iter().any(|verb| verb.starts_with(word)) || (word == "ls" && tool != Tool::Tc) {
        true => Ok(()),
        false => Err(format!("{word}: {tool} takes {}", tool.verbs().join(", "))),
    }
}

fn check_word(word: &str) -> Result<(), String> {
    if FORBIDDEN.contains(&word) {
        return Err(format!(
            "{word}: what reads files or loads programs is not passed on to the host's iproute2"
        ));
    }
    let is_number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    if word.strip_prefix('-').is_some_and(|rest| !is_number(rest)) {
        return Err(format!("{word}: options come before the verb"));
    }
    if word.contains('/') && !is_slashed_number(word) {
        return Err(format!("{word}: a path is not passed on to the host's iproute2"));
    }
    Ok(())
}

/// A prefix, or a number with a mask or a cell size: `0x1/0xff`, `10k/8`.
fn is_slashed_number(word: &str) -> bool {
    let is_number = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
    };
    let is_prefix = || word.parse::<IpNet>().is_ok();
    word.split_once('/').is_some_and(|(left, right)| {
        is_prefix() || ((is_number(left) || left.parse::<IpAddr>().is_ok()) && is_number(right))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tool: Tool, text: &str) -> Result<ToolLine, LineError> {
        ToolLine::new(tool, text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect())
    }

    #[test]
    fn what_operators_type_is_passed_on_as_it_is() {
        for (tool, text, argv) in [
            (Tool::Route, "show", "ip route show"),
            (
                Tool::Route,
                "add 198.51.100.0/24 via 192.0.2.1 dev eth1 metric 5",
                "ip route add 198.51.100.0/24 via 192.0.2.1 dev eth1 metric 5",
            ),
            (Tool::Route, "add default via fe80::1 dev eth1", "ip route add default via fe80::1 dev eth1"),
            (Tool::Route, "-6 -j show table all", "ip -6 -j route show table all"),
            (Tool::Route, "del 2001:db8::/32", "ip route del 2001:db8::/32"),
            (Tool::Route, "get 192.0.2.1", "ip route get 192.0.2.1"),
            (Tool::Route, "ls", "ip route ls"),
            (Tool::Route, "r 10.0.0.0/8 dev eth1", "ip route r 10.0.0.0/8 dev eth1"),
            (Tool::Rule, "add fwmark 0x1/0xff table 7", "ip rule add fwmark 0x1/0xff table 7"),
            (
                Tool::Rule,
                "add from 192.0.2.0/24 table 7 pref 100",
                "ip rule add from 192.0.2.0/24 table 7 pref 100",
            ),
            (Tool::Tc, "qdisc add dev eth1 root netem loss 30%", "tc qdisc add dev eth1 root netem loss 30%"),
            (Tool::Tc, "-s qdisc show dev eth1", "tc -s qdisc show dev eth1"),
            (
                Tool::Tc,
                "qdisc add dev eth1 root handle 1: tbf rate 1mbit burst 10k/8 latency 50ms",
                "tc qdisc add dev eth1 root handle 1: tbf rate 1mbit burst 10k/8 latency 50ms",
            ),
            (
                Tool::Tc,
                "filter add dev eth1 parent 1: u32 match ip dst 192.0.2.0/24 at -14 flowid 1:1",
                "tc filter add dev eth1 parent 1: u32 match ip dst 192.0.2.0/24 at -14 flowid 1:1",
            ),
        ] {
            assert_eq!(line(tool, text).unwrap().to_string(), argv);
        }
    }

    #[test]
    fn what_could_reach_beyond_the_guest_is_refused() {
        for (tool, text, said) in [
            (Tool::Route, "-batch /etc/shadow", "-batch: this option is not passed on"),
            (Tool::Route, "-b /etc/shadow show", "-b: "),
            (Tool::Route, "-force show", "-force: "),
            (Tool::Route, "-n other show", "-n: "),
            (Tool::Route, "-netns other show", "-netns: "),
            (Tool::Route, "-all show", "-all: "),
            (Tool::Route, "restore", "restore: route takes list, show"),
            (Tool::Route, "save", "save: "),
            (Tool::Route, "showdump", "showdump: "),
            (Tool::Route, "show -batch x", "-batch: options come before the verb"),
            (Tool::Route, "add 192.0.2.0/24 encap bpf in obj x dev eth1", "bpf: what reads files"),
            (Tool::Rule, "restore", "restore: rule takes"),
            (Tool::Tc, "exec bpf import /tmp/x run sh", "exec: tc takes qdisc"),
            (Tool::Tc, "monitor", "monitor: "),
            (Tool::Tc, "-batch - qdisc show", "-batch: "),
            (Tool::Tc, "-cf /etc/x qdisc show", "-cf: "),
            (Tool::Tc, "-nm qdisc show", "-nm: "),
            (Tool::Tc, "-n x qdisc show", "-n: "),
            (Tool::Tc, "filter add dev eth1 bpf obj x.o", "bpf: "),
            (Tool::Tc, "filter add dev eth1 u32 action xt -j MARK", "xt: "),
            (Tool::Tc, "qdisc add dev eth1 root ../../tmp/x", "../../tmp/x: a path"),
            (Tool::Tc, "qdisc add dev eth1 root netem delay 1ms 1ms distribution ../../x", "../../x: a path"),
            (Tool::Tc, "qdisc add dev eth1 root /tmp/x", "/tmp/x: a path"),
            (Tool::Tc, "qdisc add dev eth1 root 1/../x", "1/../x: a path"),
            (Tool::Tc, "-s", "a verb is missing"),
            (Tool::Route, "", "1 to 128 words"),
        ] {
            let why = line(tool, text).unwrap_err().to_string();

            assert!(why.contains(said), "{tool} {text}: {why}");
        }
        for word in ["a b", "", "a\n", "\u{e4}", &"x".repeat(256)] {
            assert!(ToolLine::new(Tool::Route, vec!["add".to_owned(), word.to_owned()]).is_err(), "{word:?}");
        }
    }

    #[test]
    fn only_what_is_known_to_print_changes_nothing() {
        for (tool, text, changes) in [
            (Tool::Route, "show", false),
            (Tool::Route, "-6 ls", false),
            (Tool::Route, "get 192.0.2.1", false),
            (Tool::Route, "s", true),
            (Tool::Route, "flush table 7", true),
            (Tool::Tc, "-s qdisc", false),
            (Tool::Tc, "qdisc show dev eth1", false),
            (Tool::Tc, "qdisc add dev eth1 root sfq", true),
            (Tool::Tc, "help", false),
        ] {
            assert_eq!(line(tool, text).unwrap().changes(), changes, "{tool} {text}");
        }
    }
}
