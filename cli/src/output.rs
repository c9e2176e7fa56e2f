//! What goes to standard output: a table, or the answer as JSON or YAML. Everything else goes to standard error.

use std::io::{self, Write};

use serde::Serialize;

use crate::args::Format;
use crate::explain::Failed;

/// Prints an answer: `table` makes the lines for people.
pub(crate) fn answer<T: Serialize>(
    format: Format,
    message: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<(), Failed> {
    let text = match format {
        Format::Table => table(message),
        Format::Json => json(message)?,
        Format::Yaml => yaml(message)?,
    };
    print(&text)
}

/// Prints one of many answers that follow each other: a line of JSON, a document of YAML, or a line for people.
pub(crate) fn item<T: Serialize>(
    format: Format,
    message: &T,
    line: impl FnOnce(&T) -> String,
) -> Result<(), Failed> {
    let text = match format {
        Format::Table => line(message),
        Format::Json => serde_json::to_string(message).map_err(unprintable)?,
        Format::Yaml => format!("---\n{}", yaml(message)?),
    };
    print(&text)
}

/// Prints text, with a newline at its end.
pub(crate) fn print(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).map_err(Failed::Output)?;
    if !text.is_empty() && !text.ends_with('\n') {
        out.write_all(b"\n").map_err(Failed::Output)?;
    }
    out.flush().map_err(Failed::Output)
}

/// Says something beside the answer.
pub(crate) fn note(text: &str) {
    // There is nowhere left to say that standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn json<T: Serialize>(message: &T) -> Result<String, Failed> {
    serde_json::to_string_pretty(message).map_err(unprintable)
}

fn yaml<T: Serialize>(message: &T) -> Result<String, Failed> {
    // By way of JSON, so that both have the same names and the same spelling of numbers.
    let value = serde_json::to_value(message).map_err(unprintable)?;
    serde_saphyr::to_string(&value).map_err(unprintable)
}

fn unprintable(why: impl std::fmt::Display) -> Failed {
    Failed::Because(format!("cannot print the answer: {why}"))
}
