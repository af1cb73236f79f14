//! Templates of `-o jsonpath=…`: text with paths in braces, `{"…"}` for a text with escapes, and
//! `{range PATH}…{end}` for what is written for each value.

use serde_json::Value;

use super::path::Path;

/// The longest template in bytes: people type them, or put them into scripts.
const MAX_TEMPLATE_BYTES: usize = 16 * 1024;

/// How deep `{range}` may be nested: nothing that is listed has more levels of lists.
const MAX_RANGES: usize = 8;

/// Text with paths in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Path(Path),
    Range(Path, Vec<Part>),
}

impl Template {
    /// Reads a template. Without braces all of it is one path.
    ///
    /// # Errors
    /// What is wrong and where, as human-readable text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_TEMPLATE_BYTES {
            let found = text.len();
            return Err(format!(
                "found a template of {found} bytes, expected at most {MAX_TEMPLATE_BYTES}"
            ));
        }
        if !text.contains('{') {
            return Ok(Self { parts: vec![Part::Path(Path::parse(text)?)] });
        }
        // The parts of the template, and of each range that is open.
        let mut open: Vec<(Option<Path>, Vec<Part>)> = vec![(None, Vec::new())];
        let mut rest = text;
        while !rest.is_empty() {
            let at = text[..text.len() - rest.len()].chars().count() + 1;
            let part = match rest.strip_prefix('{') {
                None => {
                    let end = rest.find('{').unwrap_or(rest.len());
                    let (plain, after) = rest.split_at(end);
                    rest = after;
                    Some(Part::Text(plain.to_owned()))
                }
                Some(inside) => {
                    let end = closing(inside)
                        .ok_or_else(|| format!("character {at}: found {{ without }} after it"))?;
                    rest = &inside[end + 1..];
                    let placed = |message: String| format!("character {at}: {message}");
                    braces(inside[..end].trim(), &mut open).map_err(placed)?
                }
            };
            if let (Some(part), Some((_, parts))) = (part, open.last_mut()) {
                parts.push(part);
            }
        }
        match open.pop() {
            Some((None, parts)) => Ok(Self { parts }),
            Some((Some(path), _)) => {
                Err(format!("found {{range {}}} without {{end}} after it", path.source()))
            }
            None => Ok(Self { parts: Vec::new() }),
        }
    }

    /// The text for a value. What is not there is left out.
    pub(crate) fn render(&self, root: &Value) -> String {
        let mut text = String::new();
        render(&self.parts, root, root, &mut text);
        text
    }

    /// The first path with which nothing at all is found, of those outside of ranges.
    pub(crate) fn finds_nothing(&self, root: &Value) -> Option<&str> {
        let paths = self.parts.iter().filter_map(|part| match part {
            Part::Path(path) | Part::Range(path, _) => Some(path),
            Part::Text(_) => None,
        });
        let mut empty = paths.filter(|path| path.find(root, root).is_empty());
        empty.next().map(Path::source)
    }
}

/// Reads what is in a pair of braces: a part, or the beginning or end of a range.
fn braces(inside: &str, open: &mut Vec<(Option<Path>, Vec<Part>)>) -> Result<Option<Part>, String> {
    if inside == "end" {
        return match (open.len(), open.pop()) {
            (2.., Some((Some(path), parts))) => Ok(Some(Part::Range(path, parts))),
            _ => Err("found {end} without {range} before it".to_owned()),
        };
    }
    if let Some(path) =
        inside.strip_prefix("range").filter(|rest| rest.starts_with([' ', '.', '[']))
    {
        if open.len() > MAX_RANGES {
            return Err(format!("found {{range}} more than {MAX_RANGES} deep"));
        }
        open.push((Some(Path::parse(path)?), Vec::new()));
        return Ok(None);
    }
    match inside.chars().next() {
        Some(quote @ ('"' | '\'')) => literal(inside, quote).map(|text| Some(Part::Text(text))),
        Some(_) | None => Path::parse(inside).map(|path| Some(Part::Path(path))),
    }
}

/// A text in quotes, with the escapes of JSON.
fn literal(quoted: &str, quote: char) -> Result<String, String> {
    let wrong = || format!("found {quoted}, expected a text such as \"\\n\" in quotes");
    let inner = quoted.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let inner = inner.ok_or_else(wrong)?;
    // Between single quotes, double quotes need no escape.
    let json = match quote {
        '\'' => inner.replace("\\'", "'").replace('"', "\\\""),
        _ => inner.to_owned(),
    };
    serde_json::from_str(&format!("\"{json}\"")).map_err(|_| wrong())
}

/// Where the brace that was opened before `text` is closed.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '}') => return Some(at),
            (None, _) => {}
        }
    }
    None
}

fn render(parts: &[Part], root: &Value, current: &Value, text: &mut String) {
    for part in parts {
        match part {
            Part::Text(plain) => text.push_str(plain),
            Part::Path(path) => {
                let found = path.find(root, current).into_iter().map(shown);
                text.push_str(&found.collect::<Vec<_>>().join(" "));
            }
            Part::Range(path, parts) => {
                for value in path.find(root, current) {
                    render(parts, root, value, text);
                }
            }
        }
    }
}

/// A value as a person sees it: a string as it is, anything else as JSON.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_filled_in() {
        let root = json!({"next": "n", "items": [
            {"id": "x", "counts": {"DONE": 2}, "tags": ["a", "b"]},
            {"id": "y", "counts": {}, "tags": []},
        ]});
        for (template, expected) in [
            ("{.items[*].id}", "x y"),
            (".items[*].id", "x y"),
            ("{.items[0].counts}", r#"{"DONE":2}"#),
            ("ids: {.items[*].id};", "ids: x y;"),
            (r#"{range .items[*]}{.id}={.counts.DONE}{"\n"}{end}"#, "x=2\ny=\n"),
            (r#"{range .items[*]}{@.id}{'\t'}{$.next}{" "}{end}"#, "x\tn y\tn "),
            ("{range .items[*]}{.id}:{range .tags[*]}{@},{end};{end}", "x:a,b,;y:;"),
            (r#"{"{}"}{'it\'s "so"'}"#, r#"{}it's "so""#),
            (r#"{.items[?(@.id=="}")].id}{.next}"#, "n"),
            ("{.absent}", ""),
        ] {
            let parsed = Template::parse(template).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(parsed.render(&root), expected, "{template}");
        }
        let nothing =
            |template| Template::parse(template).unwrap().finds_nothing(&root).map(str::to_owned);
        assert_eq!(nothing("{.next}{.things[*].id}"), Some(".things[*].id".to_owned()));
        assert_eq!(nothing("{range .items[*]}{.nope}{end}"), None);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (template, message) in [
            ("{.id", "character 1: found { without } after it"),
            ("ab{end}", "character 3: found {end} without {range} before it"),
            ("{range .items[*]}{.id}", "found {range .items[*]} without {end} after it"),
            ("é{.a[}", "character 2: found \".a[\", which is no path"),
            (r#"{"\q"}"#, "character 1: found \"\\q\", expected a text"),
            ("{\"a}", "character 1: found { without } after it"),
            ("{}", "character 1: found an empty path"),
            ("", "found an empty path"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.starts_with(message), "{template}: {error}");
        }
        let deep = "{range .a}".repeat(MAX_RANGES + 1) + &"{end}".repeat(MAX_RANGES + 1);
        let error = Template::parse(&deep).unwrap_err();
        assert!(error.contains("found {range} more than 8 deep"), "{error}");
        let error = Template::parse(&" ".repeat(MAX_TEMPLATE_BYTES + 1)).unwrap_err();
        assert!(error.starts_with("found a template of 16385 bytes"), "{error}");
    }
}
