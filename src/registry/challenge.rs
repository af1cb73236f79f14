//! Reads what a server says about how to log in: `WWW-Authenticate`.

use std::collections::BTreeMap;

/// The longest challenge that is read, in bytes.
const MAX_CHALLENGE: usize = 4 * 1024;

/// How a server wants to be told who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// By name and password, with each request.
    Basic,
    /// By a token, which another server gives.
    Bearer {
        /// Address of the server that gives tokens.
        realm: String,
        /// The name that it knows the registry by.
        service: Option<String>,
    },
}

/// Reads a header. The error is for people.
pub(super) fn read(header: &str) -> Result<Challenge, String> {
    if header.len() > MAX_CHALLENGE {
        return Err(format!("found {} bytes, expected at most {MAX_CHALLENGE}", header.len()));
    }
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Ok(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err("found neither Basic nor Bearer".to_owned());
    }
    let mut values = parameters(rest)?;
    let realm = values.remove("realm").ok_or("found no realm of Bearer")?;
    Ok(Challenge::Bearer { realm, service: values.remove("service") })
}

/// Reads `name="value", name=value …`; of a name that is there twice, the first counts.
fn parameters(mut rest: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Ok(found);
        }
        let (name, after) = rest.split_once('=').ok_or("found a parameter without a value")?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted).ok_or("found a quote that does not end")?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.entry(name.trim().to_ascii_lowercase()).or_insert(value);
        rest = after;
    }
}

/// The text up to the closing quote, and what follows it.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_registries_are_read() {
        let bearer = |realm: &str, service: Option<&str>| Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        };
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"a:b/c:pull\"";
        assert_eq!(
            read(hub),
            Ok(bearer("https://auth.docker.io/token", Some("registry.docker.io")))
        );
        assert_eq!(
            read("bearer  realm=https://a/t , service=x"),
            Ok(bearer("https://a/t", Some("x")))
        );
        assert_eq!(read("Bearer realm=\"a\\\"b\""), Ok(bearer("a\"b", None)));
        assert_eq!(read("Basic realm=\"here\""), Ok(Challenge::Basic));
        for bad in
            ["", "Negotiate", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"x", "Bearer realm"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&format!("Bearer realm=\"{}\"", "x".repeat(MAX_CHALLENGE))).is_err());
    }
}
