//! Remembers and reports damage to the database itself, since a part of the history may be gone for good, and
//! every further write may make it worse.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::failure::reason;
use crate::contract::Result;
use crate::error::StoreError;

/// The first damage that was met since the database was opened, if any.
pub(super) struct Met {
    directory: PathBuf,
    said: OnceLock<String>,
}

impl Met {
    /// For the database in this data directory. No damage was met yet.
    pub(super) fn none_in(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), said: OnceLock::new() }
    }

    /// Looks at the result of a call, and returns it. Only the first damage is logged.
    pub(super) fn look<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error @ StoreError::Broken { .. }) = &result {
            let mut is_first = false;
            self.said.get_or_init(|| {
                is_first = true;
                let why = reason(error);
                format!("the database is damaged ({why}); `replibook store check` shows where")
            });
            if is_first {
                tracing::error!("{}", self.in_full(&reason(error)));
            }
        }
        result
    }

    /// The same for the log, with a command that can be typed in any directory.
    fn in_full(&self, why: &str) -> String {
        let directory = self.directory.canonicalize();
        let directory = directory.as_ref().unwrap_or(&self.directory).to_string_lossy();
        let typed = typed(&directory);
        format!(
            "the database in {typed} is damaged ({why}); `replibook store check --data {typed}` shows where"
        )
    }

    /// The damage that was met, for everyone who asks: it does not say where the file is.
    pub(super) fn said(&self) -> Option<String> {
        self.said.get().cloned()
    }
}

/// A path as it has to be typed in a shell.
fn typed(path: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@:,=".contains(c);
    match !path.is_empty() && path.chars().all(is_plain) {
        true => Cow::Borrowed(path),
        false => Cow::Owned(format!("'{}'", path.replace('\'', r"'\''"))),
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
        assert!(said.ends_with("`replibook store check` shows where"), "{said}");
        assert!(!said.contains("/data"), "{said}");
    }

    #[test]
    fn the_log_has_a_command_that_can_be_typed_anywhere() {
        let home = tempfile::tempdir().unwrap();
        let told = |name: &str| {
            std::fs::create_dir_all(home.path().join(name)).unwrap();
            Met::none_in(&home.path().join("x/..").join(name)).in_full("page 7")
        };
        std::fs::create_dir(home.path().join("x")).unwrap();
        let real = home.path().canonicalize().unwrap();
        let at = real.display();
        let expected = format!("`replibook store check --data {at}/data` shows where");
        assert!(told("data").ends_with(&expected), "{}", told("data"));
        let expected = format!(r"--data '{at}/ada'\''s data'` shows where");
        assert!(told("ada's data").ends_with(&expected), "{}", told("ada's data"));
    }
}
