//! Paths into JSON, as kubectl takes them: `.status`, `.counts.DONE`, `{.items[*].id}`, `..id`, `['a.b']`. They become
//! JSONPath of RFC 9535, which has `$` at the beginning and quotes around unusual names.

use serde_json::Value;
use serde_json_path::JsonPath;

/// The longest path in bytes. Nobody types a longer one, and paths are read recursively.
const MAX_PATH_BYTES: usize = 512;

/// A path into JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    source: String,
    path: JsonPath,
    /// Whether it begins at the root, wherever it is used.
    is_absolute: bool,
}

impl Path {
    /// Reads a path, with or without braces around it.
    ///
    /// # Errors
    /// What is wrong, as human-readable text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let inner = trimmed.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let source = inner.unwrap_or(trimmed).trim();
        if source.is_empty() {
            return Err("found an empty path, expected one such as .status".to_owned());
        }
        if source.len() > MAX_PATH_BYTES {
            let found = source.len();
            return Err(format!(
                "found a path of {found} bytes, expected at most {MAX_PATH_BYTES}"
            ));
        }
        let is_absolute = source.starts_with('$');
        let rest = source.strip_prefix(['$', '@']).unwrap_or(source);
        let standard = format!("${}", standard(rest));
        match JsonPath::parse(&standard) {
            Ok(path) => Ok(Self { source: source.to_owned(), path, is_absolute }),
            Err(error) => {
                let at = error.position();
                let message = error.message();
                Err(format!(
                    "found {source:?}, which is no path such as .status or .items[*].id: read as {standard:?}, \
                     {message} (at its character {at})"
                ))
            }
        }
    }

    /// The path as it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// What is at the path, in order. A path begins at `current`, unless it is written to begin at the root.
    pub(crate) fn find<'v>(&self, root: &'v Value, current: &'v Value) -> Vec<&'v Value> {
        self.path.query(if self.is_absolute { root } else { current }).all()
    }
}

/// The path after `$`, with a dot at its beginning and with quotes around names that need them.
fn standard(source: &str) -> String {
    let mut standard = String::new();
    let mut rest = source;
    if !rest.is_empty() && !rest.starts_with(['.', '[']) {
        standard.push('.');
        let (name, after) = name_at(rest);
        member(&name, &mut standard);
        rest = after;
    }
    while let Some(c) = rest.chars().next() {
        match c {
            '[' => {
                let (bracket, after) = rest.split_at(bracket_length(rest));
                standard.push_str(bracket);
                rest = after;
            }
            '.' => {
                let dots = if rest.starts_with("..") { ".." } else { "." };
                standard.push_str(dots);
                rest = &rest[dots.len()..];
                if !rest.starts_with('[') {
                    let (name, after) = name_at(rest);
                    member(&name, &mut standard);
                    rest = after;
                }
            }
            other => {
                standard.push(other);
                rest = &rest[other.len_utf8()..];
            }
        }
    }
    standard
}

/// Adds a member's name to a path that ends with a dot.
fn member(name: &str, path: &mut String) {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let is_plain =
        name.starts_with(begins) && name.chars().all(|c| begins(c) || c.is_ascii_digit());
    // An empty name is an error that the parser reports.
    if is_plain || name.is_empty() || name == "*" {
        path.push_str(name);
        return;
    }
    if !path.ends_with("..") {
        path.pop();
    }
    // Strings of JSON are strings of paths too.
    path.push_str(&format!("[{}]", Value::from(name)));
}

/// The name at the beginning of `text`, in which a backslash takes the next character as it is, and what follows it.
fn name_at(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, next)| next)),
            other => name.push(other),
        }
    }
    (name, "")
}

/// How many bytes the brackets at the beginning of `text` take, with what is in them.
fn bracket_length(text: &str) -> usize {
    let (mut depth, mut quote, mut escaped) = (0_u32, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            (None, _) => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(path: &str) -> Result<Vec<Value>, String> {
        let value = json!({"id": "r", "since": {"at": 3}, "a.b": 1, "node-1": 2, "counts": {"DONE": 5},
            "items": [{"id": "x", "n": 1}, {"id": "y", "n": 2, "s": "]"}]});
        Ok(Path::parse(path)?.find(&Value::Null, &value).into_iter().cloned().collect())
    }

    #[test]
    fn paths_are_taken_as_kubectl_does() {
        for (path, expected) in [
            (".id", json!(["r"])),
            ("id", json!(["r"])),
            ("{.id}", json!(["r"])),
            ("{ id }", json!(["r"])),
            ("@.since.at", json!([3])),
            ("since.at", json!([3])),
            (".counts['DONE']", json!([5])),
            (".node-1", json!([2])),
            ("node-1", json!([2])),
            (r".a\.b", json!([1])),
            ("['a.b']", json!([1])),
            (".items[*].id", json!(["x", "y"])),
            (".items[-1].id", json!(["y"])),
            (".items[0:1].id", json!(["x"])),
            ("..id", json!(["r", "x", "y"])),
            (r#".items[?(@.n==2)].id"#, json!(["y"])),
            (r#".items[?@.s=="]"].id"#, json!(["y"])),
            (".items[*]['id','n']", json!(["x", 1, "y", 2])),
            (".since.*", json!([3])),
            (".absent", json!([])),
        ] {
            assert_eq!(found(path).map(Value::from), Ok(expected), "{path}");
        }
        let root = json!({"a": 1});
        let path = Path::parse("$.a").unwrap();
        assert_eq!(path.find(&root, &Value::Null), [&json!(1)]);
    }

    #[test]
    fn what_is_no_path_is_said_with_its_place() {
        for (path, message) in [
            ("", "found an empty path"),
            ("{}", "found an empty path"),
            (".items[", "read as \"$.items[\""),
            (".a..", "which is no path"),
            (".items[?(", "(at its character"),
            ("a b c[", "which is no path"),
        ] {
            let error = found(path).unwrap_err();
            assert!(error.contains(message), "{path}: {error}");
        }
        let error = found(&format!(".{}", "a".repeat(MAX_PATH_BYTES))).unwrap_err();
        assert_eq!(error, "found a path of 513 bytes, expected at most 512");
    }
}
