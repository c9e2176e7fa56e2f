//! Where a value stands in a file, and what is wrong there.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

/// A line and a column, both from 1. Ordered as one reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line of the file.
    pub line: u64,
    /// Column of the line, in characters.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it was written. Where an alias stands (`*name`), not where its anchor is: that is the line to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub place: Place,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<T>::deserialize(from)?;
        Ok(Self { value, place: Place { line: referenced.line(), column: referenced.column() } })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// One thing that is wrong in the file. Reads as `12:9: attachments[0].ip: …`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where to change it.
    pub place: Place,
    /// The same place by keys: `segments.red.vlan`.
    pub path: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, path, message } = self;
        write!(f, "{place}: {path}: {message}")
    }
}

/// All that is wrong in the file, in the order of its lines. Never empty. Reads as one problem a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// One by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// One a line, as compilers and editors have it: `fleet.yaml:12:9: …`.
    pub fn in_file(&self, name: &str) -> String {
        self.0.iter().map(|problem| format!("{name}:{problem}")).collect::<Vec<_>>().join("\n")
    }
}

/// Collects problems, so that one does not hide the next.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<Problem>);

impl Notes {
    /// Notes a problem.
    pub(crate) fn add(&mut self, place: Place, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { place, path: path.into(), message: message.into() });
    }

    /// Takes the value, or notes why there is none.
    pub(crate) fn take<T, E: fmt::Display>(
        &mut self,
        place: Place,
        path: impl Into<String>,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|why| self.add(place, path, why.to_string())).ok()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The value, if nothing was noted.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Problems> {
        if self.0.is_empty() { Ok(value) } else { Err(self.into_problems()) }
    }

    /// What was noted, in the order of the lines.
    pub(crate) fn into_problems(mut self) -> Problems {
        self.0.sort();
        Problems(self.0)
    }
}
