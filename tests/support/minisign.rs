//! Keys and signatures of Debian's `minisign`, which is started for each. `make minisign` gets it where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A key, and what signs with it.
pub(crate) struct Key {
    folder: tempfile::TempDir,
    /// The public key: the second line of its file.
    pub(crate) public: String,
}

impl Key {
    /// A new key, without a password.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &["-G", "-W", "-p", "key.pub", "-s", "key"]);
        let text = std::fs::read_to_string(folder.path().join("key.pub")).unwrap();
        let public = text.lines().nth(1).unwrap().to_owned();
        Self { folder, public }
    }

    /// A signature over a hash of the bytes, as minisign makes it today.
    pub(crate) fn sign(&self, bytes: &[u8]) -> String {
        self.sign_as("-H", bytes)
    }

    /// A signature over the bytes themselves, as earlier versions of minisign made it.
    #[allow(dead_code, reason = "each test binary uses a part of it")]
    pub(crate) fn sign_directly(&self, bytes: &[u8]) -> String {
        self.sign_as("-l", bytes)
    }

    /// A signature whose trusted comment says this.
    #[allow(dead_code, reason = "each test binary uses a part of it")]
    pub(crate) fn sign_saying(&self, comment: &str, bytes: &[u8]) -> String {
        self.sign_with("-H", comment, bytes)
    }

    fn sign_as(&self, form: &str, bytes: &[u8]) -> String {
        self.sign_with(form, "made by a test", bytes)
    }

    fn sign_with(&self, form: &str, comment: &str, bytes: &[u8]) -> String {
        let file = self.folder.path().join("x");
        std::fs::write(&file, bytes).unwrap();
        run(self.folder.path(), &["-S", form, "-s", "key", "-m", "x", "-t", comment]);
        std::fs::read_to_string(file.with_extension("minisig")).unwrap()
    }
}

fn run(folder: &Path, args: &[&str]) {
    let mut command = Command::new(program());
    let done = command.current_dir(folder).args(args).stdin(std::process::Stdio::null()).output();
    let done = done.expect("`make minisign` gets minisign, which signs in these tests");
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The one that `make minisign` has put into the user's cache folder, or that of the machine.
fn program() -> PathBuf {
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let caches = caches.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let own = caches.map(|caches| caches.join("replibook/tools/minisign"));
    own.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("minisign"))
}
