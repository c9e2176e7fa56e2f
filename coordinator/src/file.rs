//! Reading YAML that an operator wrote: within limits, and with the line in every error.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Largest file that is read, in bytes.
pub const FILE_MAX: u64 = 8 << 20;

/// A file that cannot be read as what it should be.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system says no.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Larger than [`FILE_MAX`].
    #[error("{} is too large: {FILE_MAX} bytes is the most", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not YAML, or not of this shape. Shows the line.
    #[error("{0}")]
    Shape(String),
}

/// The text of a file.
///
/// # Errors
/// [`FileError::Read`], [`FileError::TooLarge`].
pub(crate) fn text(path: &Path) -> Result<String, FileError> {
    let refuse = |source| FileError::Read { path: path.to_owned(), source };
    // `-f /dev/stdin` has no length, so the reader is limited and not the length asked for.
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(refuse)?;
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(refuse)?;
    let size = text.len() as u64;
    if size > FILE_MAX {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

/// Parses a text; `name` is what errors call it.
///
/// # Errors
/// [`FileError::Shape`].
pub(crate) fn parse<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, FileError> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| shape(&error, text, name))
}

/// `fleet.yaml:2:28: unknown field …`, and the line with a mark under the column.
fn shape(error: &serde_saphyr::Error, text: &str, name: &str) -> FileError {
    let options = serde_saphyr::render_options! {
        formatter: &serde_saphyr::UserMessageFormatter,
        snippets: serde_saphyr::SnippetMode::Off,
    };
    let message = error.render_with_options(options);
    let Some(location) = error.location() else {
        return FileError::Shape(format!("{name}: {message}"));
    };
    let (line, column) = (location.line(), location.column());
    let message = message.trim_end_matches(&format!(" at line {line}, column {column}")).to_owned();
    let message = match message.as_str() {
        "invalid u32" => "this is not a whole number".to_owned(),
        "expected mapping start" => "this is not a map of names to values: write `name: value`".to_owned(),
        "expected string scalar" => "this is not a text".to_owned(),
        "null is not allowed here" => "there is no value".to_owned(),
        _ => message,
    };
    let index = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    let shown: String = text.lines().nth(index).unwrap_or_default().chars().take(160).collect();
    let shown = shown.replace('\t', " ");
    let indent = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1).min(shown.chars().count());
    FileError::Shape(format!("{name}:{line}:{column}: {message}\n  | {shown}\n  | {:indent$}^", ""))
}

/// A budget that ten thousand attachments fit and a bomb of aliases does not.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: 16,
            max_nodes: 400_000,
            max_events: 800_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 50_000,
            max_merge_keys: 1_000,
            max_total_scalar_bytes: FILE_MAX as usize,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 8,
        },
        // `host: no` is Norway, not false; and a name such as `0123` stays as it is written.
        strict_booleans: true,
    }
}
