//! Writes digests of plugins into the text of a playbook, and leaves every other byte as it is.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Value, json};

use super::read::parse_playbook;
use crate::ids::Digest;

/// Why no digest could be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plugin {name:?}: {why}; write `digest: {digest}` by hand")]
pub struct PinError {
    /// The name of the plugin in the document.
    pub name: String,
    /// What was found.
    pub why: &'static str,
    /// What should be written.
    pub digest: Digest,
}

/// The text of a playbook with these digests, by the names of the plugins. A digest that is there already is
/// replaced; of other plugins nothing changes.
///
/// # Errors
/// The document is written in a way in which a digest can't be added without changing more.
///
/// # Example
/// ```
/// use std::collections::BTreeMap;
///
/// use replibook_core::ids::Digest;
/// use replibook_core::playbook::pin;
///
/// let text = "spec:\n  plugins:\n    drain:\n      source: file:drain.wasm  # ours\n";
/// let digest = Digest::of(b"drain");
/// let pinned = pin(text, &BTreeMap::from([("drain".to_owned(), digest.clone())]))?;
/// assert_eq!(pinned, format!("{text}      digest: {digest}\n"));
/// # Ok::<(), replibook_core::playbook::PinError>(())
/// ```
pub fn pin(text: &str, digests: &BTreeMap<String, Digest>) -> Result<String, PinError> {
    let places = find(text);
    let mut edits = Vec::new();
    for (name, digest) in digests {
        let refused = |why| PinError { name: name.clone(), why, digest: digest.clone() };
        let place = places.get(name).ok_or_else(|| refused("it is not written out here"))?;
        edits.push(edit(text, place, digest).ok_or_else(|| refused("its form is unusual"))?);
    }
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.from));
    let mut pinned = text.to_owned();
    for Edit { from, to, new } in edits {
        pinned.replace_range(from..to, &new);
    }
    match digests.iter().next() {
        Some((name, digest)) if !is_as_meant(text, &pinned, digests) => {
            Err(PinError { name: name.clone(), why: "its form is unusual", digest: digest.clone() })
        }
        Some(_) | None => Ok(pinned),
    }
}

/// Replaces the bytes in `from..to`.
struct Edit {
    from: usize,
    to: usize,
    new: String,
}

/// Where a plugin is declared.
#[derive(Clone, Debug, Default)]
struct Place {
    /// The key `source` and its value.
    key: Option<Word>,
    source: Option<Word>,
    /// The value of `digest`.
    digest: Option<Word>,
    /// Where the mapping with both begins.
    begins: Spot,
}

/// A line from 1 and a column from 0, in characters.
type Spot = (usize, usize);

/// A text in the document.
#[derive(Clone, Debug)]
struct Word {
    begins: Spot,
    style: ScalarStyle,
    value: String,
}

impl Word {
    /// Its bytes in the text, with quotes; `None` if it has several lines. The parser's own end may be that of a
    /// comment behind it.
    fn range(&self, text: &str) -> Option<(usize, usize)> {
        let from = offset(text, self.begins)?;
        let rest = &text[from..];
        let length = match self.style {
            ScalarStyle::Plain => rest.starts_with(&self.value).then_some(self.value.len())?,
            ScalarStyle::SingleQuoted => {
                let inner = rest.strip_prefix('\'')?.replace("''", "  ");
                inner.find('\'')? + 2
            }
            ScalarStyle::DoubleQuoted => {
                let inner = rest.strip_prefix('"')?;
                let mut escaped = false;
                let closes = |(_, c): &(usize, char)| {
                    let is_end = *c == '"' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    is_end
                };
                inner.char_indices().find(closes)?.0 + 2
            }
            ScalarStyle::Literal | ScalarStyle::Folded => return None,
        };
        (!rest[..length].contains('\n')).then_some((from, from + length))
    }
}

fn spot(span: Span) -> Spot {
    (span.start.line(), span.start.col())
}

/// The plugins that are written out, in block or flow style, in the first document of a text.
fn find(text: &str) -> BTreeMap<String, Place> {
    let mut found: BTreeMap<String, Place> = BTreeMap::new();
    let mut path: Vec<Level> = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        match event {
            Event::Scalar(value, style, ..) => {
                let value = value.to_string();
                let word = Word { begins: spot(span), style, value: value.clone() };
                match path.last_mut() {
                    Some(Level::Mapping(key @ None)) => {
                        *key = Some(value.clone());
                        note(&mut found, &path, |place| {
                            if value == "source" {
                                place.key = Some(word);
                            }
                        });
                        continue;
                    }
                    Some(Level::Mapping(Some(_)) | Level::Sequence) | None => {}
                }
                note(&mut found, &path, |place| match key_of(&path) {
                    Some("source") => place.source = Some(word),
                    Some("digest") => place.digest = Some(word),
                    Some(_) | None => {}
                });
                end_value(&mut path);
            }
            Event::Alias(_) => end_value(&mut path),
            Event::MappingStart(..) => {
                if let Some(name) = declared(&path) {
                    let place = Place { begins: spot(span), ..Place::default() };
                    found.insert(name.to_owned(), place);
                }
                path.push(Level::Mapping(None));
            }
            Event::SequenceStart(..) => path.push(Level::Sequence),
            Event::MappingEnd | Event::SequenceEnd => {
                path.pop();
                end_value(&mut path);
            }
            Event::DocumentEnd => break,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
        }
    }
    found
}

/// A collection that has not ended.
enum Level {
    Sequence,
    /// With the key whose value comes next.
    Mapping(Option<String>),
}

fn key_of(path: &[Level]) -> Option<&str> {
    match path.last()? {
        Level::Mapping(key) => key.as_deref(),
        Level::Sequence => None,
    }
}

/// The name of the plugin whose declaration is at this path.
fn declared(path: &[Level]) -> Option<&str> {
    let [Level::Mapping(Some(spec)), Level::Mapping(Some(plugins)), Level::Mapping(Some(name))] =
        path
    else {
        return None;
    };
    (spec == "spec" && plugins == "plugins").then_some(name)
}

/// Changes what is known of the plugin whose declaration is around this path.
fn note(found: &mut BTreeMap<String, Place>, path: &[Level], change: impl FnOnce(&mut Place)) {
    let around = path.split_last().filter(|(_, around)| around.len() == 3);
    let place = around.and_then(|(_, around)| found.get_mut(declared(around)?));
    place.map(change);
}

fn end_value(path: &mut [Level]) {
    if let Some(Level::Mapping(key)) = path.last_mut() {
        *key = None;
    }
}

/// What has to be changed for one plugin; `None` if its form is unusual.
fn edit(text: &str, place: &Place, digest: &Digest) -> Option<Edit> {
    if let Some(known) = &place.digest {
        let (from, to) = known.range(text)?;
        return Some(Edit { from, to, new: quoted(digest.as_str(), known.style)? });
    }
    let key = place.key.as_ref()?;
    let ((key_at, _), (_, end)) = (key.range(text)?, place.source.as_ref()?.range(text)?);
    let line = text[..key_at].rfind('\n').map_or(0, |at| at + 1);
    let before = &text[line..key_at];
    let is_first = before.chars().all(|c| c == ' ');
    let name = quoted("digest", key.style)?;
    let eol = if text[..end_of_line(text, line)].ends_with('\r') { "\r\n" } else { "\n" };
    if text[offset(text, place.begins)?..].starts_with('{') {
        let value = quoted(digest.as_str(), key.style)?;
        let gap = if is_first { format!(",{eol}{before}") } else { ", ".to_owned() };
        return Some(Edit { from: end, to: end, new: format!("{gap}{name}: {value}") });
    }
    if !is_first {
        return None;
    }
    let end = end_of_line(text, end);
    let line = format!("{before}{name}: {digest}");
    let (from, new) = match text[end..].starts_with('\n') {
        true => (end + 1, format!("{line}{eol}")),
        false => (end, format!("{eol}{line}")),
    };
    Some(Edit { from, to: from, new })
}

/// A word in the style of another one; `None` if that takes several lines.
fn quoted(word: &str, style: ScalarStyle) -> Option<String> {
    match style {
        ScalarStyle::Plain => Some(word.to_owned()),
        ScalarStyle::SingleQuoted => Some(format!("'{word}'")),
        ScalarStyle::DoubleQuoted => Some(format!("\"{word}\"")),
        ScalarStyle::Literal | ScalarStyle::Folded => None,
    }
}

/// The byte at a line and column.
fn offset(text: &str, (line, column): (usize, usize)) -> Option<usize> {
    let mut start = 0;
    for _ in 1..line {
        start += text[start..].find('\n')? + 1;
    }
    let mut places = text[start..].char_indices().map(|(at, _)| at).chain([text.len() - start]);
    places.nth(column).map(|at| start + at)
}

/// The line feed that ends the line with this byte, or the end of the text.
fn end_of_line(text: &str, from: usize) -> usize {
    text[from..].find('\n').map_or(text.len(), |at| from + at)
}

/// Whether the new text says the same as the old one, with the digests. A text that is no playbook is compared as
/// far as its lines go.
fn is_as_meant(old: &str, new: &str, digests: &BTreeMap<String, Digest>) -> bool {
    let content = |text: &str| parse_playbook(text.as_bytes()).ok().map(|it| it.content());
    match (content(old), content(new)) {
        (Some(mut expected), Some(found)) => {
            for (name, digest) in digests {
                match expected.get_mut("spec").and_then(|spec| spec.get_mut("plugins")) {
                    Some(Value::Object(plugins)) => match plugins.get_mut(name) {
                        Some(Value::Object(plugin)) => {
                            plugin.insert("digest".to_owned(), json!(digest));
                        }
                        Some(_) | None => return false,
                    },
                    Some(_) | None => return false,
                }
            }
            expected == found
        }
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(plugins: &str) -> Result<String, PinError> {
        let digests = BTreeMap::from([("drain".to_owned(), Digest::of(b"drain"))]);
        pin(&document(plugins), &digests)
    }

    fn document(plugins: &str) -> String {
        format!(
            "# été\napiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {{ name: a, version: 1.0.0 }}\nspec:\n\
             {plugins}\n  stages: []\n"
        )
    }

    #[test]
    fn nothing_but_the_digest_changes() {
        let digest = Digest::of(b"drain");
        let other = Digest::of(b"other");
        let cases = [
            (
                "  plugins:\n    drain:\n      source: file:é.wasm   # ours\n      grants: {}".to_owned(),
                format!("  plugins:\n    drain:\n      source: file:é.wasm   # ours\n      digest: {digest}\n      grants: {{}}"),
            ),
            (
                "  plugins:\r\n    drain:\r\n        source: 'file:a b.wasm'\r\n    x: {source: file:x}\r".to_owned(),
                format!("  plugins:\r\n    drain:\r\n        source: 'file:a b.wasm'\r\n        digest: {digest}\r\n    x: {{source: file:x}}\r"),
            ),
            (
                "  plugins: { drain: { source: 'file:a.wasm', grants: {} } }".to_owned(),
                format!("  plugins: {{ drain: {{ source: 'file:a.wasm', digest: {digest}, grants: {{}} }} }}"),
            ),
            (
                "  plugins: {\"drain\": {\n    \"source\": \"file:a.wasm\"\n  }}".to_owned(),
                format!("  plugins: {{\"drain\": {{\n    \"source\": \"file:a.wasm\",\n    \"digest\": \"{digest}\"\n  }}}}"),
            ),
            (
                format!("  plugins:\n    drain:\n      digest: '{other}' # old\n      source: file:a.wasm"),
                format!("  plugins:\n    drain:\n      digest: '{digest}' # old\n      source: file:a.wasm"),
            ),
        ];
        for (plugins, expected) in cases {
            assert_eq!(pinned(&plugins).unwrap(), document(&expected));
        }
    }

    #[test]
    fn a_text_without_a_last_line_feed_gets_one_before_the_digest() {
        let digest = Digest::of(b"drain");
        let text = "spec:\n  plugins:\n    drain:\n      source: file:a.wasm";
        let digests = BTreeMap::from([("drain".to_owned(), digest.clone())]);
        assert_eq!(pin(text, &digests).unwrap(), format!("{text}\n      digest: {digest}"));
    }

    #[test]
    fn unusual_forms_are_left_alone() {
        for plugins in [
            "  plugins: { x: &x { source: file:a.wasm }, drain: *x }",
            "  plugins:\n    drain:\n      source: |-\n        file:a.wasm",
            "  plugins:\n    drain:\n      ? source\n      : file:a.wasm",
            "  plugins: {}",
        ] {
            let error = pinned(plugins).unwrap_err();
            assert!(error.to_string().contains("by hand"), "{plugins}: {error}");
        }
    }

    #[test]
    fn several_plugins_are_pinned_at_once() {
        let digests: BTreeMap<_, _> =
            ["a", "b"].map(|name| (name.to_owned(), Digest::of(name.as_bytes()))).into();
        let text =
            document("  plugins:\n    b:\n      source: file:b\n    a:\n      source: file:a");
        let pinned = pin(&text, &digests).unwrap();
        let lines: Vec<&str> = pinned.lines().collect();
        assert_eq!(lines.len(), text.lines().count() + 2);
        assert_eq!(lines[8].trim(), format!("digest: {}", Digest::of(b"b")));
    }
}
