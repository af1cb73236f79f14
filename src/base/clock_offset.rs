//! A machine's clock that tests set, for a program as a whole. Only builds with the feature `faults` have it.

use std::path::PathBuf;
use std::sync::LazyLock;

/// A clock that is set back, for tests of the program as a whole.
#[derive(Debug)]
pub struct TestOffset;

impl TestOffset {
    /// Environment variable that names a file with the milliseconds that are added to the machine's
    /// clock at any time.
    pub const FILE: &str = "REPLIBOOK_CLOCK_OFFSET";

    pub(crate) fn read() -> i64 {
        static FILE: LazyLock<Option<PathBuf>> =
            LazyLock::new(|| std::env::var_os(TestOffset::FILE).map(PathBuf::from));
        let text = FILE.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        text.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
    }
}
