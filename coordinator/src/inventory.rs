//! The hosts that a person works with: `hosts:` of a configuration, of the same shape as in a fleet file.

use std::collections::BTreeMap;
use std::path::Path;

use pipewright_api::client::Endpoint;
use serde::Deserialize;

use crate::check::read_hosts;
use crate::file::{self, FileError};
use crate::fleet::Host;
use crate::name::Name;
use crate::place::{At, Notes, Problems};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inventory {
    #[serde(default)]
    hosts: BTreeMap<String, At<Host>>,
}

/// What is wrong with an inventory.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its names or endpoints are wrong.
    #[error("{}", problems.in_file(name))]
    Problems {
        /// What the file is called.
        name: String,
        /// All of them.
        problems: Problems,
    },
}

/// Reads the hosts of a file.
///
/// # Errors
/// [`InventoryError`].
pub fn read(path: &Path) -> Result<BTreeMap<Name, Endpoint>, InventoryError> {
    parse(&file::text(path)?, &path.display().to_string())
}

/// Reads the hosts of a text; `name` is what errors call it.
///
/// # Errors
/// [`InventoryError`].
pub fn parse(text: &str, name: &str) -> Result<BTreeMap<Name, Endpoint>, InventoryError> {
    let inventory: Inventory = file::parse(text, name)?;
    let mut notes = Notes::default();
    let hosts = read_hosts(&inventory.hosts, &mut notes);
    notes.finish(hosts).map_err(|problems| InventoryError::Problems { name: name.to_owned(), problems })
}
