//! The user name and password for the database, from a file. Errors repeat nothing from the file.

use std::fmt;
use std::path::Path;

use mongodb::options::Credential;
use serde_yaml::Value;

use super::failure::unfit;
use super::tls::read_file;
use crate::contract::Result;

/// The most bytes of a file with credentials: far more than one needs.
const MAX_BYTES: u64 = 64 * 1024;

const EXPECTED: &str = "expected YAML or JSON with username, password and perhaps source, each of them \
                        text (a number in quotes)";

/// User name and password. [`Debug`](fmt::Debug) does not show the password.
#[derive(Clone)]
pub struct MongoCredentials {
    username: String,
    password: String,
    /// The database that knows the user; None stands for `admin`.
    source: Option<String>,
}

impl fmt::Debug for MongoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MongoCredentials({:?})", self.username)
    }
}

impl MongoCredentials {
    /// Reads credentials from a file: YAML or JSON with `username`, `password` and optionally `source`. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Unfit`](crate::StoreError::Unfit) when the file can't be read, or has another form. The error
    /// repeats nothing from the file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_file(path, MAX_BYTES)?;
        let text =
            String::from_utf8(bytes).map_err(|_| "found something that is not UTF-8".to_owned());
        text.and_then(|text| Self::parse(&text)).map_err(|found| {
            unfit(format!(
                "failed to read the credentials in {}: {found}, {EXPECTED}",
                path.display()
            ))
        })
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        // The parser's message may repeat what it found, so it is left out.
        let value: Value = serde_yaml::from_str(text).map_err(|error| match error.location() {
            Some(at) => format!("found invalid YAML at line {} column {}", at.line(), at.column()),
            None => "found invalid YAML".to_owned(),
        })?;
        let Value::Mapping(fields) = value else {
            return Err("found something without keys".to_owned());
        };
        let (mut username, mut password, mut source) = (None, None, None);
        for (key, value) in fields {
            let (name, field) = match key.as_str() {
                Some("username") => ("username", &mut username),
                Some("password") => ("password", &mut password),
                Some("source") => ("source", &mut source),
                Some(_) | None => return Err("found another key".to_owned()),
            };
            match value {
                Value::String(text) if !text.is_empty() => *field = Some(text),
                Value::String(_) | Value::Null => return Err(format!("found an empty {name}")),
                Value::Bool(_)
                | Value::Number(_)
                | Value::Sequence(_)
                | Value::Mapping(_)
                | Value::Tagged(_) => {
                    return Err(format!("found a {name} that is not text"));
                }
            }
        }
        let username = username.ok_or("found no username")?;
        let password = password.ok_or("found no password")?;
        Ok(Self { username, password, source })
    }

    pub(super) fn credential(&self) -> Credential {
        Credential::builder()
            .username(self.username.clone())
            .password(self.password.clone())
            .source(self.source.clone())
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_yaml_or_json() {
        for text in [
            "username: ada\npassword: 's3cret: @/'\nsource: people\n",
            r#"{"username": "ada", "password": "s3cret: @/", "source": "people"}"#,
        ] {
            let credentials = MongoCredentials::parse(text).unwrap();
            assert!(!format!("{credentials:?}").contains("s3cret"));
            let credential = credentials.credential();
            assert_eq!(credential.username.as_deref(), Some("ada"));
            assert_eq!(credential.password.as_deref(), Some("s3cret: @/"));
            assert_eq!(credential.source.as_deref(), Some("people"));
        }
        let without_source = MongoCredentials::parse("username: ada\npassword: x").unwrap();
        assert_eq!(without_source.credential().source, None);
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_of_the_file_is_repeated() {
        for (text, found) in [
            ("", "without keys"),
            ("s3cret", "without keys"),
            ("ada:s3cret", "without keys"),
            ("- username: ada\n- password: s3cret", "without keys"),
            ("username: ada", "no password"),
            ("password: s3cret", "no username"),
            ("username: ada\npassword:", "an empty password"),
            ("username: ''\npassword: s3cret", "an empty username"),
            ("username: ada\npassword: 123456", "a password that is not text"),
            ("username: ada\ns3cret: x\npassword: s3cret", "another key"),
            ("username: ada\npassword: 's3cret", "invalid YAML at line"),
            ("username: ada\npassword: s3cret\npassword: s3cret", "invalid YAML"),
        ] {
            let error = MongoCredentials::parse(text).unwrap_err();
            assert!(error.contains(found), "{text:?}: {error}");
            assert!(!error.contains("s3cret") && !error.contains("123456"), "{error}");
        }
    }

    #[test]
    fn a_file_that_can_not_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials.yaml");
        let error = |path: &Path| MongoCredentials::read(path).unwrap_err().to_string();
        assert!(error(&path).contains("credentials.yaml"), "{}", error(&path));
        std::fs::write(&path, b"username: \xff").unwrap();
        assert!(error(&path).contains("credentials.yaml: found something that is not UTF-8"));
        let long = usize::try_from(MAX_BYTES).unwrap() + 1;
        std::fs::write(&path, "#".repeat(long)).unwrap();
        assert!(error(&path).contains("at most 65536 bytes"), "{}", error(&path));
        std::fs::write(&path, "username: ada\npassword: s3cret").unwrap();
        assert!(MongoCredentials::read(&path).is_ok());
    }
}
