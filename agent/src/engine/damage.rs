//! A record store that cannot be read: set aside for whoever wants to look into it, and begun anew. What the kernel and Open
//! vSwitch show of the attachments becomes records again; see `adopt`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use crate::engine::records::{Loaded, Records, StoreError};

/// Folders of stores that were set aside begin with it.
const ASIDE: &str = "damaged-";

impl Records {
    /// Opens the store in a directory. One that is damaged is set aside in `damaged-SECONDS` there, and a new one is made.
    ///
    /// # Errors
    /// [`StoreError`], when it is in use, newer than we are, or the disk refuses; nothing is changed then.
    pub fn open_or_begin_anew(dir: &Path) -> Result<(Self, Loaded), StoreError> {
        match Self::open(dir) {
            Err(StoreError::Broken { dir: name, source }) if is_damage(&source) => {
                let aside = set_aside(dir)
                    .map_err(|error| StoreError::Broken { dir: name.clone(), source: error.into() })?;
                tracing::error!(
                    "state directory {name} cannot be read: {source}; it is set aside in {aside}, and the records are made \
                     anew of what is there. Answers to earlier requests are not known any more"
                );
                Self::open(dir)
            }
            opened => opened,
        }
    }
}

/// Whether it is the contents that are wrong: a disk that refuses may be well later, and a newer store is read by a newer agent.
fn is_damage(error: &fjall::Error) -> bool {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            // An empty file cannot be mapped (EINVAL).
            matches!(
                error.kind(),
                ErrorKind::UnexpectedEof
                    | ErrorKind::InvalidData
                    | ErrorKind::NotFound
                    | ErrorKind::InvalidInput
            )
        }
        fjall::Error::Storage(_)
        | fjall::Error::JournalRecovery(_)
        | fjall::Error::InvalidVersion(None)
        | fjall::Error::Decompress(_)
        | fjall::Error::InvalidTrailer
        | fjall::Error::InvalidTag(_)
        | fjall::Error::Unrecoverable => true,
        // The enum grows; what is not known is left alone.
        _ => false,
    }
}

fn set_aside(dir: &Path) -> std::io::Result<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let aside = dir.join(format!("{ASIDE}{}", now.as_secs()));
    fs::create_dir(&aside)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(ASIDE) {
            fs::rename(entry.path(), aside.join(entry.file_name()))?;
        }
    }
    Ok(aside.display().to_string())
}
