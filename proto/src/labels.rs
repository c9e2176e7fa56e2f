//! Notes that a caller puts on an attachment: who it is for, what made it. They go where others read them too, so they
//! are checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::net::ParseError;

/// Most labels of one attachment.
pub const LABELS_MAX: usize = 32;
/// Longest key, in bytes.
pub const KEY_MAX: usize = 63;
/// Longest value, in bytes.
pub const VALUE_MAX: usize = 255;
/// Most bytes of all keys and values.
pub const TOTAL_MAX: usize = 4096;
/// How our own marks begin.
const RESERVED: &str = "pipewright";

/// Keys and values, in order of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each key with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = ParseError;

    /// # Errors
    /// The first label that cannot be, or that there are too many.
    fn try_from(labels: BTreeMap<String, String>) -> Result<Self, ParseError> {
        if labels.len() > LABELS_MAX {
            let why = format!("use at most {LABELS_MAX}");
            return Err(ParseError::new(&labels.len().to_string(), "a number of labels", why));
        }
        for (key, value) in &labels {
            check_key(key)?;
            if value.len() > VALUE_MAX || !value.chars().all(is_printable) {
                let why = format!("use at most {VALUE_MAX} printable ASCII characters");
                return Err(ParseError::new(value, "a label's value", why));
            }
        }
        let total: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        if total > TOTAL_MAX {
            let why = format!("use at most {TOTAL_MAX} bytes for all of them");
            return Err(ParseError::new(&format!("{total} bytes"), "a size of labels", why));
        }
        Ok(Self(labels))
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

fn is_printable(c: char) -> bool {
    c.is_ascii_graphic() || c == ' '
}

/// Open vSwitch and OVN read keys of `external_ids` such as `iface-id` and act on them; none has a dot.
fn check_key(key: &str) -> Result<(), ParseError> {
    let refuse = |why: &str| Err(ParseError::new(key, "a label's key", why));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if key.len() > KEY_MAX || !key.starts_with(|c: char| c.is_ascii_alphabetic()) || !key.chars().all(allowed)
    {
        return refuse("use 1 to 63 letters, digits and '.', '_', '-', beginning with a letter");
    }
    if !key.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && !rest.is_empty()) {
        return refuse(
            "put a dot into it, as in example.owner: keys without one belong to Open vSwitch and OVN",
        );
    }
    if key.starts_with(RESERVED) {
        return refuse("keys that begin with \"pipewright\" are the agent's own");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, String> {
        let pairs: BTreeMap<String, String> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Labels::try_from(pairs).map_err(|why| why.to_string())
    }

    #[test]
    fn keys_and_values_that_others_can_read_are_taken() {
        let taken =
            labels(&[("pipework.vlan", ""), ("com.example.Owner-1_a", "a b=c"), ("p.n", "/web")]).unwrap();

        assert_eq!(
            taken.iter().map(|(key, _)| key).collect::<Vec<_>>(),
            ["com.example.Owner-1_a", "p.n", "pipework.vlan"]
        );
    }

    #[test]
    fn keys_that_others_act_on_and_text_that_forges_a_line_are_refused() {
        let long = format!("a.{}", "b".repeat(62));
        for key in [
            "",
            "iface-id",
            "attached-mac",
            "a.",
            ".a",
            "1.a",
            "a b.c",
            "a.\n",
            &long,
            "pipewright-id",
            "pipewright.x",
        ] {
            assert!(labels(&[(key, "v")]).is_err(), "{key:?} was taken");
        }
        for value in ["a\nb", "\u{7f}", "\u{e4}", &"v".repeat(256)] {
            assert!(labels(&[("a.b", value)]).is_err(), "{value:?} was taken");
        }
    }

    #[test]
    fn too_many_and_too_much_are_refused() {
        let many: Vec<String> = (0..33).map(|number| format!("a.b{number}")).collect();
        let pairs: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "v")).collect();
        let big = "v".repeat(255);
        let bigger: Vec<(&str, &str)> =
            many.iter().take(20).map(|key| (key.as_str(), big.as_str())).collect();

        assert!(labels(&pairs).unwrap_err().contains("use at most 32"));
        assert!(labels(&bigger).unwrap_err().contains("4096 bytes"));
    }
}
