//! Names that a fleet file gives to hosts and segments.

use std::fmt;
use std::str::FromStr;

use pipewright_api::net::ParseError;
use serde::{Deserialize, Serialize};

/// The name of a host or of a segment: 1 to 63 letters, digits, '_', '.' and '-', beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        match begins && text.len() <= 63 && text.chars().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseError::new(
                text,
                "a name",
                "use 1 to 63 letters, digits, '_', '.' and '-', beginning with a letter or digit",
            )),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
