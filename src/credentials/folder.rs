//! Reads `DIR/NAME/{for.yaml,ca.pem,cert.pem,key.pem,token}`.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::error::CredentialsError;
use crate::run::Digest;

/// The file of a name that says what it is for.
const RULES: &str = "for.yaml";

/// The most names in a folder of credentials: one for each registry, platform and cluster of a large site.
const MAX_NAMES: usize = 1_000;

/// The largest file of a name, in bytes: a chain of certificates has a few kilobytes, a bundle of authorities some
/// hundreds.
const MAX_FILE: u64 = 1024 * 1024;

/// The most origins of a name.
const MAX_ORIGINS: usize = 100;

/// What credentials are for. They are used for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// For agents.
    Agent,
    /// For platforms that tell which agents a cluster has.
    Platform,
    /// For OCI registries, and the servers that give tokens for them.
    Registry,
    /// For the server itself.
    Server,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct For {
    #[serde(rename = "use")]
    used: Use,
    #[serde(default)]
    origins: Vec<String>,
}

/// The credentials of one name.
#[derive(Clone)]
pub struct Credential {
    /// The name of its folder.
    pub name: String,
    /// What it is for.
    pub used: Use,
    /// Certificates that are trusted, in PEM.
    pub ca: Option<Vec<u8>>,
    /// Certificates and key that prove who we are, in PEM.
    pub identity: Option<Vec<u8>>,
    /// The text of `token`, without white space around it.
    pub token: Option<String>,
    origins: Vec<String>,
    file: PathBuf,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, used, origins, .. } = self;
        write!(f, "Credential({name}, {used:?}, {origins:?})")
    }
}

impl Credential {
    /// Its origins if it is for `used`; otherwise none.
    ///
    /// # Errors
    /// One of them is no origin.
    pub fn origins_as<T: FromStr<Err = String>>(
        &self,
        used: Use,
    ) -> Result<Vec<T>, CredentialsError> {
        if self.used != used {
            return Ok(Vec::new());
        }
        let read = |text: &String| text.parse().map_err(|error| self.bad_origin(error));
        self.origins.iter().map(read).collect()
    }

    fn bad_origin(&self, error: String) -> CredentialsError {
        self.bad(format!("`origins`: {error}"))
    }

    /// Something about them is not as expected.
    pub(super) fn bad(&self, message: String) -> CredentialsError {
        CredentialsError::bad(&self.file, message)
    }

    /// What `for.yaml` names as origins.
    pub(super) fn origins(&self) -> &[String] {
        &self.origins
    }

    /// Digest of everything. It never leaves the process: there are secrets in what it is of.
    pub(super) fn content(&self) -> Digest {
        let Self { name: _, used, ca, identity, token, origins, file: _ } = self;
        let parts = [ca.as_deref(), identity.as_deref(), token.as_deref().map(str::as_bytes)];
        let mut all = format!("{used:?}{origins:?}").into_bytes();
        for part in parts {
            // No two contents run together.
            all.extend(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            all.extend(part.unwrap_or_default());
        }
        Digest::of(&all)
    }
}

/// A folder of credentials. It is read when it is needed, so that what is put there counts at once.
#[derive(Clone, Debug)]
pub struct Credentials {
    folder: PathBuf,
}

impl Credentials {
    /// The credentials in a folder.
    ///
    /// # Errors
    /// It can't be read, or something in it is not as expected: a server does not start with that.
    pub fn open(folder: &Path) -> Result<Self, CredentialsError> {
        let opened = Self { folder: folder.to_owned() };
        for name in opened.names()? {
            opened.read(&name)?;
        }
        Ok(opened)
    }

    /// All of one use, in the order of their names. Names that can't be read are passed over and returned as errors,
    /// so that one of them does not spoil the others.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn all(
        &self,
        used: Use,
    ) -> Result<(Vec<Credential>, Vec<CredentialsError>), CredentialsError> {
        let (mut found, mut broken) = (Vec::new(), Vec::new());
        for name in self.names()? {
            match self.read(&name) {
                Ok(credential) if credential.used == used => found.push(credential),
                Ok(_) => {}
                Err(error) => broken.push(error),
            }
        }
        Ok((found, broken))
    }

    /// A digest of the names and of what is in their `for.yaml`. Nothing secret is in it, so that nobody can try out which
    /// secret fits it. A name whose `for.yaml` can't be read counts as one without it.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn sum(&self) -> Result<Digest, CredentialsError> {
        let mut text = String::new();
        for name in self.names()? {
            let rules = bytes(&self.folder.join(&name).join(RULES)).ok().flatten();
            let rules = rules.map(|rules| Digest::of(&rules).to_string()).unwrap_or_default();
            // No name of a folder has this character in it.
            text.push_str(&format!("{name}\0{rules}\n"));
        }
        Ok(Digest::of(text.as_bytes()))
    }

    pub(super) fn names(&self) -> Result<Vec<String>, CredentialsError> {
        let failed = |source| CredentialsError::file(&self.folder, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Kubernetes keeps what it mounts in folders whose names begin so.
            if name.starts_with('.') || !entry.path().is_dir() {
                continue;
            }
            names.push(name);
            if names.len() > MAX_NAMES {
                let message = format!("expected at most {MAX_NAMES} names");
                return Err(CredentialsError::bad(&self.folder, message));
            }
        }
        names.sort();
        Ok(names)
    }

    pub(super) fn read(&self, name: &str) -> Result<Credential, CredentialsError> {
        let folder = self.folder.join(name);
        let file = folder.join(RULES);
        let text = text(&file)?.ok_or_else(|| {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            CredentialsError::file(&file, missing)
        })?;
        let about: For = serde_yaml::from_str(&text).map_err(|error| {
            let expected = "expected `use: agent, platform, registry or server` and `origins: […]`";
            CredentialsError::bad(&file, format!("{error}; {expected}"))
        })?;
        if about.origins.len() > MAX_ORIGINS {
            let found = about.origins.len();
            let message = format!("found {found} origins, expected at most {MAX_ORIGINS}");
            return Err(CredentialsError::bad(&file, message));
        }
        let token = text_of(&folder.join("token"))?;
        let identity = identity(&folder)?;
        let ca = bytes(&folder.join("ca.pem"))?;
        let For { used, origins } = about;
        Ok(Credential { name: name.to_owned(), used, ca, identity, token, origins, file })
    }
}

/// What tells one state of the files of a name from another without reading them.
pub(super) type Stamp = Vec<Option<(SystemTime, u64, u64)>>;

/// A file that was changed this recently may have been changed again without a visible sign: file systems store times with
/// limited precision. So it is read again.
const FRESH: Duration = Duration::from_secs(3);

impl Credentials {
    /// What the files of a name look like from outside; `None` while one of them is new.
    pub(super) fn stamp(&self, name: &str) -> Option<Stamp> {
        let folder = self.folder.join(name);
        let files = [RULES, "ca.pem", "cert.pem", "key.pem", "token"];
        let stamp = files.map(|file| {
            let about = fs::metadata(folder.join(file)).ok()?;
            Some((about.modified().ok()?, about.len(), about.ino()))
        });
        let now = SystemTime::now();
        let is_fresh = |(changed, ..): &(SystemTime, u64, u64)| {
            now.duration_since(*changed).is_ok_and(|age| age <= FRESH) || *changed > now
        };
        (!stamp.iter().flatten().any(is_fresh)).then(|| stamp.to_vec())
    }
}

/// Certificate and key belong together.
fn identity(folder: &Path) -> Result<Option<Vec<u8>>, CredentialsError> {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    match (bytes(&cert)?, bytes(&key)?) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some([cert, b"\n".to_vec(), key].concat())),
        (Some(_), None) => Err(CredentialsError::bad(&cert, "expected a key.pem beside it")),
        (None, Some(_)) => Err(CredentialsError::bad(&key, "expected a cert.pem beside it")),
    }
}

fn text_of(path: &Path) -> Result<Option<String>, CredentialsError> {
    let text = text(path)?.map(|text| text.trim().to_owned());
    match &text {
        Some(text) if text.is_empty() || text.chars().any(char::is_control) => {
            Err(CredentialsError::bad(path, "expected one line that is not empty"))
        }
        Some(_) | None => Ok(text),
    }
}

fn text(path: &Path) -> Result<Option<String>, CredentialsError> {
    let Some(bytes) = bytes(path)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|_| CredentialsError::bad(path, "expected UTF-8"))
}

fn bytes(path: &Path) -> Result<Option<Vec<u8>>, CredentialsError> {
    let failed = |source| CredentialsError::file(path, source);
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(CredentialsError::bad(path, format!("expected at most {MAX_FILE} bytes")));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, name: &str, files: &[(&str, &str)]) {
        fs::create_dir_all(folder.join(name)).unwrap();
        for (file, text) in files {
            fs::write(folder.join(name).join(file), text).unwrap();
        }
    }

    #[test]
    fn credentials_are_found_by_their_use() {
        let folder = tempfile::tempdir().unwrap();
        let about = "use: registry\norigins: [https://registry.example.com]\n";
        put(folder.path(), "house", &[("for.yaml", about), ("token", "ada:hunter2\n")]);
        put(folder.path(), "agents", &[("for.yaml", "use: agent")]);
        put(folder.path(), "..data", &[]);
        let opened = Credentials::open(folder.path()).unwrap();
        let (found, broken) = opened.all(Use::Registry).unwrap();
        assert_eq!((found.len(), broken.len()), (1, 0));
        assert_eq!(found[0].token.as_deref(), Some("ada:hunter2"));
        assert!(!format!("{found:?}").contains("hunter2"));
        put(folder.path(), "house", &[("for.yaml", "use: registry\norigin: x")]);
        let (found, broken) = opened.all(Use::Registry).unwrap();
        assert_eq!((found.len(), broken.len()), (0, 1));
        assert!(broken[0].to_string().contains("for.yaml"), "{}", broken[0]);
    }

    #[test]
    fn what_is_not_as_expected_is_named() {
        let cases: [(&[(&str, &str)], &str); 6] = [
            (&[], "for.yaml"),
            (&[("for.yaml", "use: all")], "use: agent, platform, registry or server"),
            (&[("for.yaml", "use: server"), ("token", " \n")], "one line"),
            (&[("for.yaml", "use: server"), ("token", "a\nb")], "one line"),
            (&[("for.yaml", "use: server"), ("cert.pem", "x")], "a key.pem"),
            (&[("for.yaml", "use: server"), ("key.pem", "x")], "a cert.pem"),
        ];
        for (files, expected) in cases {
            let folder = tempfile::tempdir().unwrap();
            put(folder.path(), "x", files);
            let error = Credentials::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let long = "x".repeat(MAX_FILE as usize + 1);
        put(folder.path(), "x", &[("for.yaml", "use: server"), ("ca.pem", &long)]);
        let error = Credentials::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("at most 1048576 bytes"), "{error}");
        let many =
            format!("use: server\norigins: [{}]", vec!["https://a"; MAX_ORIGINS + 1].join(","));
        put(folder.path(), "x", &[("for.yaml", &many), ("ca.pem", "")]);
        let error = Credentials::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("at most 100"), "{error}");
    }
}
