//! Passwords in the `config.json` that docker, podman and skopeo write when somebody logs in.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use serde::Deserialize;

use super::login::{DOCKER_HUB, Login, Secret};
use super::origin::Origin;
use crate::credentials::CredentialsError;

/// The largest file that is read, in bytes: it has a few lines for each registry.
const MAX_FILE: u64 = 1024 * 1024;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize, Default)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// The login for a registry; `None` if the file has none. What a helper program keeps is not asked for.
pub(super) fn login(path: &Path, registry: &Origin) -> Result<Option<Login>, CredentialsError> {
    let bad = |message: String| CredentialsError::bad(path, message);
    let read = || -> std::io::Result<Vec<u8>> {
        if fs::metadata(path)?.len() > MAX_FILE {
            return Err(std::io::Error::other(format!("expected at most {MAX_FILE} bytes")));
        }
        fs::read(path)
    };
    let bytes = read().map_err(|source| CredentialsError::file(path, source))?;
    // The parser's message may quote the text, which holds passwords.
    let config: Config = serde_json::from_slice(&bytes)
        .map_err(|error| bad(format!("expected JSON with `auths` (line {})", error.line())))?;
    let mut fitting = config.auths.into_iter().filter(|(key, _)| is_for(key, registry));
    let Some((key, auth)) = fitting.next() else { return Ok(None) };
    let secret = secret(auth).map_err(|message| bad(format!("`auths` of {key:?}: {message}")))?;
    let name = format!("of {}", path.display());
    Ok(secret.map(|secret| Login { name, secret: Some(secret), ..Login::default() }))
}

/// Whether an entry is for a registry. Keys are hosts, or addresses of earlier versions of the protocol.
fn is_for(key: &str, registry: &Origin) -> bool {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = rest.split('/').next().unwrap_or_default();
    let is_hub = matches!(host, "index.docker.io" | "docker.io");
    host.eq_ignore_ascii_case(&registry.authority()) || (is_hub && registry.host() == DOCKER_HUB)
}

fn secret(auth: Auth) -> Result<Option<Secret>, &'static str> {
    if let Some(token) = auth.registrytoken.filter(|token| !token.is_empty()) {
        return Ok(Some(Secret::Token(token)));
    }
    if auth.identitytoken.is_some_and(|token| !token.is_empty()) {
        return Err("found an identitytoken, expected a name and a password");
    }
    if let (Some(user), Some(password)) = (auth.username, auth.password) {
        return Ok(Some(Secret::Password { user, password }));
    }
    let Some(encoded) = auth.auth.filter(|encoded| !encoded.is_empty()) else { return Ok(None) };
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let split = text.as_deref().and_then(|text| text.split_once(':'));
    let (user, password) = split.ok_or("expected NAME:PASSWORD in base64")?;
    let (user, password) = (user.to_owned(), password.trim_end_matches('\0').to_owned());
    Ok(Some(Secret::Password { user, password }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_found_by_host() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = r#"{"auths": {
            "registry.example.com:5000": {"auth": "YWRhOmh1bnRlcjI="},
            "https://index.docker.io/v1/": {"username": "bob", "password": "p:q"},
            "helped.example.com": {}, "broken.example.com": {"auth": "!"},
            "identity.example.com": {"auth": "YTpi", "identitytoken": "x"}}, "credsStore": "desktop"}"#;
        fs::write(file.path(), text).unwrap();
        let of = |origin: &str| login(file.path(), &origin.parse().unwrap());
        let password = |user: &str, password: &str| {
            Some(Secret::Password { user: user.to_owned(), password: password.to_owned() })
        };
        let found = of("https://registry.example.com:5000").unwrap().unwrap();
        assert_eq!(found.secret, password("ada", "hunter2"));
        let hub = of("https://registry-1.docker.io").unwrap().unwrap();
        assert_eq!(hub.secret, password("bob", "p:q"));
        for none in ["https://registry.example.com", "https://helped.example.com", "https://x"] {
            assert!(of(none).unwrap().is_none(), "{none}");
        }
        for bad in ["https://broken.example.com", "https://identity.example.com"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        fs::write(file.path(), r#"{"auths": "hunter2"}"#).unwrap();
        let error = of("https://x").unwrap_err().to_string();
        assert!(error.contains("expected JSON") && !error.contains("hunter2"), "{error}");
    }
}
