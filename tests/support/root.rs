//! Where the project is, for tests that belong to other crates than the root package.

use std::path::Path;

/// The folder of the whole project, which the folder of this crate is in.
pub(crate) fn root() -> &'static Path {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders.find(|folder| folder.join("Cargo.lock").is_file()).expect("a Cargo.lock above")
}
