//! Secrets in a folder: one file for each, with the name of the secret, as systemd (`LoadCredential`) and Kubernetes
//! (volumes of secrets) mount them. A file is read each time its secret is used, so that a new value counts at once.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::client::Secrets;
use crate::playbook::{Destination, is_secret_name};
use crate::run::{Caller, Digest, MAX_SECRET_BYTES, SecretError, SecretText};

/// The most bytes of a file that are read: a secret that is as large as one may be, the line break after it, and one
/// byte more, by which a larger one is noticed.
const MAX_READ: u64 = MAX_SECRET_BYTES as u64 + 3;

/// Says what the policy lets plugins do with secrets.
#[async_trait]
pub trait SecretPolicy: Send + Sync {
    /// Whether the plugin of the caller may send this secret there.
    ///
    /// # Errors
    /// [`SecretError::Refused`] if it may not, and [`SecretError::Unjudged`] if that can't be found out now.
    async fn allowed(
        &self,
        caller: &Caller,
        name: &str,
        to: &Destination,
    ) -> Result<(), SecretError>;
}

/// Why there can be no secrets from a folder.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the folder of secrets {}", folder.display())]
pub struct FolderError {
    /// The folder.
    folder: PathBuf,
    #[source]
    source: io::Error,
}

/// Secrets in a folder.
pub struct SecretFolder {
    folder: PathBuf,
    policy: Arc<dyn SecretPolicy>,
}

impl SecretFolder {
    /// The secrets in a folder, about which this policy says where they may go.
    ///
    /// # Errors
    /// The folder can't be read: a server does not start without what was asked for.
    pub fn open(folder: &Path, policy: Arc<dyn SecretPolicy>) -> Result<Self, FolderError> {
        let failed = |source| FolderError { folder: folder.to_owned(), source };
        fs::read_dir(folder).map_err(failed)?;
        Ok(Self { folder: folder.to_owned(), policy })
    }

    /// A digest of the names of the secrets in a folder. Nothing of their values is in it, so that nobody can try out which
    /// value fits it.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn sum(folder: &Path) -> Result<Digest, FolderError> {
        let failed = |source| FolderError { folder: folder.to_owned(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            names.extend(name.to_str().filter(|name| is_secret_name(name)).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(Digest::of(names.join("\n").as_bytes()))
    }
}

#[async_trait]
impl Secrets for SecretFolder {
    async fn read(&self, name: &str) -> Result<SecretText, SecretError> {
        let unreadable = |why: String| SecretError::Unreadable { name: name.to_owned(), why };
        if !is_secret_name(name) {
            return Err(SecretError::Gone { name: name.to_owned() });
        }
        let path = self.folder.join(name);
        let content = tokio::task::spawn_blocking(move || content(&path)).await;
        match content.map_err(|error| unreadable(error.to_string()))? {
            Ok(content) => SecretText::read(name, &content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(SecretError::Gone { name: name.to_owned() })
            }
            Err(error) => Err(unreadable(error.to_string())),
        }
    }

    async fn allowed(
        &self,
        caller: &Caller,
        name: &str,
        to: &Destination,
    ) -> Result<(), SecretError> {
        self.policy.allowed(caller, name, to).await
    }
}

/// What a file has, up to the limit. A pipe or a device would keep whoever reads it waiting.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("found no file, expected one"));
    }
    let mut content = Vec::new();
    fs::File::open(path)?.take(MAX_READ).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Anything;

    #[async_trait]
    impl SecretPolicy for Anything {
        async fn allowed(&self, _: &Caller, _: &str, _: &Destination) -> Result<(), SecretError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_secret_is_a_file_that_is_read_when_it_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
        let secrets = SecretFolder::open(folder.path(), Arc::new(Anything)).unwrap();
        let gone = |name: &str| Err(SecretError::Gone { name: name.to_owned() });
        assert_eq!(secrets.read("pager").await, gone("pager"));
        put("pager", b"correct-horse\n");
        assert_eq!(secrets.read("pager").await.unwrap().expose(), "correct-horse");
        put("pager", b"battery-staple");
        assert_eq!(secrets.read("pager").await.unwrap().expose(), "battery-staple");
        // As Kubernetes mounts them.
        fs::create_dir(folder.path().join("..data")).unwrap();
        put("..data/db", b"in-a-volume");
        std::os::unix::fs::symlink("..data/db", folder.path().join("db")).unwrap();
        assert_eq!(secrets.read("db").await.unwrap().expose(), "in-a-volume");
        for name in ["..data/db", "../pager", "", "..data"] {
            assert_eq!(secrets.read(name).await, gone(name));
        }
    }

    #[tokio::test]
    async fn what_is_no_secret_is_an_error_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
        let secrets = SecretFolder::open(folder.path(), Arc::new(Anything)).unwrap();
        put("large", &[b'x'; MAX_SECRET_BYTES + 1]);
        put("full", &[&[b'x'; MAX_SECRET_BYTES][..], b"\r\n"].concat());
        put("endless", &vec![b'x'; 1024 * 1024]);
        put("short", b"1234567");
        put("binary", &[0xff; 20]);
        fs::create_dir(folder.path().join("folder")).unwrap();
        assert!(secrets.read("full").await.is_ok());
        for (name, code) in [
            ("large", "secret-too-large"),
            ("endless", "secret-too-large"),
            ("short", "secret-too-short"),
            ("binary", "secret-not-text"),
            ("folder", "secret-unreadable"),
        ] {
            let error = secrets.read(name).await.unwrap_err().to_string();
            assert!(error.starts_with(code), "{name}: {error}");
        }
        assert!(SecretFolder::open(&folder.path().join("none"), Arc::new(Anything)).is_err());
    }
}
