//! An issuer of OpenID Connect as others make them: `oidc-provider`, on Node. `make test-issuer` installs it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const HINT: &str = "`make test-issuer` installs it, and needs Node 20 or later with npm";

/// The issuer. It ends when this is dropped.
pub(crate) struct Issuer {
    /// Its identifier.
    pub(crate) url: String,
    child: Child,
}

impl Issuer {
    /// Starts an issuer whose tokens count for so many seconds.
    pub(crate) fn start(seconds: u32) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/issuer/issuer.js");
        let child = Command::new("node")
            .arg(script)
            .env("SECONDS", seconds.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("node: {error}; {HINT}"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.find_map(|line| Some(line.ok()?.strip_prefix("listening on ")?.to_owned()));
        // Whoever writes to a pipe that nobody reads stands still.
        std::thread::spawn(move || lines.for_each(drop));
        let url = url.unwrap_or_else(|| panic!("the issuer of the tests does not start; {HINT}"));
        Self { url, child }
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
