//! Labels and variables that say something of links.

use pipewright_api::attachment::Origin;
use pipewright_api::reason::Failure;

use super::{Container, wrong};

/// The label, and with a dot and a name those of several.
const LABEL: &str = "pipewright.attach";
/// All of ours.
const OURS: &str = "pipewright.";
/// What makes a variable one of ours, wherever in its name it is.
const VARIABLE: &str = "pipework_cmd";
/// Most declarations of one container.
const MOST: usize = 16;
/// Longest name of a label or variable that is shown, in bytes.
const KEY_MAX: usize = 80;

/// What a container says of links.
#[derive(Debug, Default)]
pub struct Said {
    /// What it asks for, labels first, in the order of their names.
    pub asked: Vec<Origin>,
    /// What cannot be, by name.
    pub wrong: Vec<(String, Failure)>,
}

/// Whether a label is meant for us, whatever it says.
pub fn is_ours(key: &str) -> bool {
    key.starts_with(OURS)
}

/// Whether it is the name of a label that asks for an attachment.
pub fn is_label(key: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    match key.strip_prefix(LABEL) {
        Some("") => true,
        Some(rest) => key.len() <= KEY_MAX && rest.strip_prefix('.').is_some_and(is_name),
        None => false,
    }
}

impl Container {
    /// What it says of links; of variables only if those count.
    pub fn said(&self, with_variables: bool) -> Said {
        let mut said = Said::default();
        for (key, line) in self.labels.iter().filter(|(key, _)| is_ours(key)) {
            match is_label(key) {
                true => said.asked.push(Origin { key: key.clone(), line: line.clone() }),
                false => {
                    let why = wrong(format!("there is no such label: use {LABEL} or {LABEL}.NAME"));
                    said.wrong.push((shown(key), why));
                }
            }
        }
        if with_variables {
            let of_ours = self.variables.iter().filter_map(|text| text.split_once('='));
            let mut of_ours: Vec<Origin> = of_ours
                .filter(|(name, _)| name.contains(VARIABLE) && name.len() <= KEY_MAX)
                .map(|(name, line)| Origin { key: shown(name), line: line.to_owned() })
                .collect();
            of_ours.sort();
            said.asked.extend(of_ours);
        }
        if said.asked.len() > MOST {
            let more = said.asked.split_off(MOST);
            let why =
                |origin: Origin| (origin.key, wrong(format!("a container can ask for {MOST} links at most")));
            said.wrong.extend(more.into_iter().map(why));
        }
        said.wrong.truncate(MOST);
        said
    }
}

/// Without what a terminal would obey.
fn shown(key: &str) -> String {
    key.chars().take(KEY_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
