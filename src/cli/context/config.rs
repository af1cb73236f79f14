//! The file of contexts.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::error::CliError;
use crate::cli::login::{Change, Login, LoginPlace};

/// The environment variable that names another file.
const VARIABLE: &str = "REPLIBOOK_CONFIG";

/// The largest file, in bytes: hundreds of contexts with a login each.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// All contexts of a user.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Name of the context that counts unless another one is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// The contexts by name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// A server, and how to prove to it who asks. It has secrets, so it has no text for debugging.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Base URL of the server.
    pub(crate) server: String,
    /// File with the certificates that the server is checked against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// File with the certificate and key of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<PathBuf>,
    /// File with a token, which is read each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// A token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// A login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<Login>,
}

/// Where contexts are kept.
#[derive(Clone, Debug)]
pub(crate) struct ContextFile {
    path: PathBuf,
}

impl ContextFile {
    /// The file of this user.
    ///
    /// # Errors
    /// The user has no home.
    pub(crate) fn of_user() -> Result<Self, CliError> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = variable(VARIABLE) {
            return Ok(Self { path: path.into() });
        }
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".config"));
        let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
        let folder = folder.ok_or_else(|| {
            CliError::Usage(format!("found no home for contexts: expected HOME, or {VARIABLE}"))
        })?;
        Ok(Self { path: folder.join("replibook").join("config.yaml") })
    }

    /// Path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file. Without one there are no contexts.
    ///
    /// # Errors
    /// It can't be read, others could read it, or it is not what this program writes.
    pub(crate) fn read(&self) -> Result<Config, CliError> {
        let wrong = |why: String| CliError::Usage(format!("{}: {why}", self.path.display()));
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Config::default()),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let kept = file.metadata().map_err(|error| wrong(error.to_string()))?;
        let mode = kept.permissions().mode() & 0o777;
        if kept.is_file() && mode & 0o077 != 0 {
            let expected = "expected 0600, since it has tokens; chmod 600 mends that";
            return Err(wrong(format!("found the mode {mode:04o}, {expected}")));
        }
        if kept.len() > MAX_BYTES {
            return Err(wrong(format!("found {} bytes, expected at most {MAX_BYTES}", kept.len())));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
        // The reader of YAML says what it found, which may be a token: only the place is told.
        serde_yaml::from_str(&text).map_err(|error| {
            let place =
                error.location().map(|at| format!("line {} column {}: ", at.line(), at.column()));
            wrong(format!(
                "{}expected contexts as `replictl context set` writes them",
                place.unwrap_or_default()
            ))
        })
    }

    /// Changes the file, while no other program does. Nothing is written if `change` fails.
    ///
    /// # Errors
    /// Those of reading, of `change`, and of the system.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Config) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let _lock = self.lock()?;
        let mut config = self.read()?;
        let done = change(&mut config)?;
        self.write(&config)?;
        Ok(done)
    }

    fn lock(&self) -> Result<File, CliError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(|error| self.failed(&error))?;
        let path = self.path.with_extension("yaml.lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(|error| self.failed(&error))?;
        file.lock().map_err(|error| self.failed(&error))?;
        Ok(file)
    }

    /// Writes the file beside itself and puts it in place, so that a crash leaves the old one or the new one.
    fn write(&self, config: &Config) -> Result<(), CliError> {
        let text = serde_yaml::to_string(config)
            .map_err(|error| CliError::Encode { format: "yaml", message: error.to_string() })?;
        let beside = self.path.with_extension("yaml.new");
        let write = || {
            // What a crash left may have other rights.
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &self.path)
        };
        write().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> CliError {
        CliError::Usage(format!("failed to write {}: {error}", self.path.display()))
    }
}

/// Where the login of a context is kept.
pub(crate) struct LoginOf<'a> {
    pub(crate) file: &'a ContextFile,
    pub(crate) context: &'a str,
}

impl LoginPlace for LoginOf<'_> {
    async fn change(
        &self,
        change: impl AsyncFnOnce(Option<Login>) -> Result<Change, CliError>,
    ) -> Result<Option<Login>, CliError> {
        let _lock = self.file.lock()?;
        let mut config = self.file.read()?;
        let Some(context) = config.contexts.get_mut(self.context) else {
            return Err(CliError::NotFound(format!("there is no context {:?}", self.context)));
        };
        match change(context.login.clone()).await? {
            Change::Stays(login) => Ok(login),
            Change::Becomes(login) => {
                context.login.clone_from(&login);
                self.file.write(&config)?;
                Ok(login)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path) -> ContextFile {
        ContextFile { path: folder.join("deep/replibook/config.yaml") }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_kept_is_read_back_and_is_for_its_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        assert!(file.read().unwrap().contexts.is_empty());
        file.change(|config| {
            let context = Context {
                server: "https://a".to_owned(),
                token: Some("t".to_owned()),
                ..Context::default()
            };
            config.contexts.insert("prod".to_owned(), context);
            config.current = Some("prod".to_owned());
            Ok(())
        })
        .unwrap();
        let read = file.read().unwrap();
        assert_eq!(
            (read.contexts["prod"].server.as_str(), read.current.as_deref()),
            ("https://a", Some("prod"))
        );
        assert_eq!(mode(file.path()), 0o600);
        assert_eq!(mode(file.path().parent().unwrap()), 0o700);
        let failed: Result<(), CliError> = file.change(|config| {
            config.contexts.clear();
            Err(CliError::Unfit("no".to_owned()))
        });
        assert!(failed.is_err() && file.read().unwrap().contexts.len() == 1);
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_odd_is_refused_without_a_word_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        file.change(|_| Ok(())).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        let error = file.read().err().unwrap().to_string();
        assert!(error.contains("found the mode 0644, expected 0600"), "{error}");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        for odd in
            ["contexts: [rpb_secret]", "rpb_secret", "contexts: { a: { rpb_secret: 1 } }", ": ]"]
        {
            fs::write(file.path(), odd).unwrap();
            let error = file.read().err().unwrap().to_string();
            assert!(
                error.contains("expected contexts") && !error.contains("rpb_"),
                "{odd}: {error}"
            );
        }
    }
}
