//! Damage to the database itself that was met: it is kept and said, since a part of the history may be gone for good,
//! and every further write may make it worse.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::failure::reason;
use crate::contract::Result;
use crate::error::StoreError;

/// The first damage that was met since the database was opened.
pub(super) struct Met {
    directory: PathBuf,
    said: OnceLock<String>,
}

impl Met {
    /// None yet, in the database of this data directory.
    pub(super) fn none_in(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), said: OnceLock::new() }
    }

    /// Takes notice of what became of a call. The log hears of the first damage only.
    pub(super) fn look<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error @ StoreError::Broken { .. }) = &result {
            let mut is_first = false;
            let said = self.said.get_or_init(|| {
                is_first = true;
                let (at, why) = (self.directory.display(), reason(error));
                format!(
                    "the database in {at} is damaged ({why}); `replibook store check --data {at}` says where"
                )
            });
            if is_first {
                tracing::error!("{said}");
            }
        }
        result
    }

    /// What was met, and the command that finds all of it.
    pub(super) fn said(&self) -> Option<String> {
        self.said.get().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_damage_is_kept_and_other_failures_are_none() {
        let met = Met::none_in(Path::new("/data"));
        let fails = |error| met.look::<()>(Err(error)).unwrap_err();
        fails(StoreError::Unavailable { message: "full".to_owned(), source: None });
        fails(StoreError::Corrupt { what: "a run".to_owned(), source: "too deep".into() });
        assert_eq!(met.said(), None);
        for page in ["page 7", "page 8"] {
            fails(StoreError::Broken { doing: "read a run".to_owned(), source: page.into() });
        }
        let said = met.said().unwrap();
        assert!(said.contains("read a run") && said.contains("page 7"), "{said}");
        assert!(said.ends_with("`replibook store check --data /data` says where"), "{said}");
    }
}
