//! A registry as others make them: Debian's `docker-registry`, in a folder of its own. `make test-registry` installs
//! it, and `skopeo`, which is another client.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

const HINT: &str = "`make test-registry` installs it";

/// The registry. It ends when this is dropped, with everything in it.
pub(crate) struct Registry {
    /// Host and port.
    pub(crate) host: String,
    child: Child,
    folder: TempDir,
}

impl Registry {
    /// Starts a registry on a free port.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.yml");
        let data = folder.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{ level: info }}\nstorage: {{ filesystem: {{ rootdirectory: '{}' }} }}\n\
             http: {{ addr: '127.0.0.1:0' }}\n",
            data.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("docker-registry: {error}; {HINT}"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let host = lines.find_map(|line| {
            let line = line.ok()?;
            let rest = line.split("listening on ").nth(1)?;
            Some(rest.split(['"', ' ']).next()?.to_owned())
        });
        // Whoever writes to a pipe that nobody reads stands still.
        std::thread::spawn(move || lines.for_each(drop));
        let host = host.expect("docker-registry should say where it listens");
        Self { host, child, folder }
    }

    /// A reference in this registry.
    pub(crate) fn reference(&self, rest: &str) -> String {
        format!("oci://{}/{rest}", self.host)
    }

    /// Runs `skopeo copy`, without encryption, from one place to another.
    pub(crate) fn skopeo(&self, from: &str, to: &str) -> Output {
        let output = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--preserve-digests"])
            .args(["--src-tls-verify=false", "--dest-tls-verify=false", from, to])
            .stdin(Stdio::null())
            .output();
        output.unwrap_or_else(|error| panic!("skopeo: {error}; {HINT}"))
    }

    /// The same with all that a list names. skopeo writes the list anew, so its digest is another one.
    pub(crate) fn skopeo_all(&self, from: &str, to: &str) -> Output {
        let output = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--all"])
            .args(["--src-tls-verify=false", "--dest-tls-verify=false", from, to])
            .stdin(Stdio::null())
            .output();
        output.unwrap_or_else(|error| panic!("skopeo: {error}; {HINT}"))
    }

    /// A manifest or a list as it is in the registry.
    pub(crate) fn raw(&self, place: &str) -> Vec<u8> {
        let output = Command::new("skopeo")
            .args(["inspect", "--raw", "--tls-verify=false", place])
            .stdin(Stdio::null())
            .output();
        let output = output.unwrap_or_else(|error| panic!("skopeo: {error}; {HINT}"));
        copied(&output);
        output.stdout
    }

    /// A folder that goes with the registry.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs skopeo and fails the test if that fails.
pub(crate) fn copied(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skopeo failed:\n{said}");
}
